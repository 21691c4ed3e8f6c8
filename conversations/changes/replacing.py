"""
Replaces words in a text so that JSON stays JSON. In a document, or a document inside a text or a
string, only strings change, and a number with a hit becomes a string. All else stays the same to
the byte.
"""

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from backoffice import json_text

from ..agentdb.conventions import REDACTED
from .spellings import Step, Words, merged


@dataclass(frozen=True, order=True)
class Edit:
    """Replace text[start:end] with `by`."""

    start: int
    end: int
    by: str = REDACTED


def replaced(text: str, words: Words, *, is_json: bool) -> tuple[str, int]:
    """(the text without the words, the number of places where they were)"""
    found = edits(text, words, is_json=is_json)
    return applied(text, found), len(found)


def applied(text: str, found: list[Edit]) -> str:
    pieces, done = [], 0
    for edit in found:
        pieces += [text[done : edit.start], edit.by]
        done = edit.end
    return "".join([*pieces, text[done:]])


def edits(text: str, words: Words, *, is_json: bool = False) -> list[Edit]:
    """In order, not overlapping. `is_json`: the text is one JSON document and must stay one."""
    rest = deque(words.spans(text))
    if not rest:
        return []
    found: list[Edit] = []
    for start, end in [(0, len(text))] if is_json else documents(text):
        inside = []
        while rest and rest[0][0] < end:
            begins, ends = rest.popleft()
            if ends <= start or (begins <= start and end <= ends and not is_json):
                found.append(Edit(begins, ends))
                continue
            if begins < start:
                found.append(Edit(begins, start))
            inside.append((max(begins, start), min(ends, end)))
            if ends > end:
                rest.appendleft((end, ends))
                break
        if inside:
            found += document_edits(text, start, end, inside, words)
    return sorted([*found, *(Edit(*span) for span in rest)])


def documents(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of the text if it is JSON, else of each JSON document inside it that is not just
    a list of numbers."""
    start = len(text) - len(text.lstrip())
    if text[start : start + 1] in ("{", "[", '"') and json_text.is_json(text):
        yield start, len(text.rstrip())
        return
    yield from json_text.within(text)


@dataclass
class Key:
    start: int
    end: int
    found: list[Edit] = field(default_factory=list)


def document_edits(text, start, end, spans, words) -> Iterator[Edit]:
    """Edits for the document's strings and numbers that overlap with the spans."""
    keys: list[list[Key]] = [[]]
    place, at = start, 0
    # The last string, until the next token shows whether it is a key.
    string: Key | None = None
    while place < end and (token := json_text.TOKEN.match(text, place)):
        kind, place = token.lastgroup, token.end()
        begins = token.start(kind)
        if kind == "open":
            keys.append([])
        elif kind == "close":
            yield from unlike(text, keys.pop() if len(keys) > 1 else [])
        elif kind == "separator" and token[kind] == ":" and string:
            keys[-1].append(string)
            string = None
        if string:
            yield from string.found
            string = None
        if kind not in ("string", "number"):
            continue
        while at < len(spans) and spans[at][1] <= begins:
            at += 1
        touched, index = [], at
        while index < len(spans) and spans[index][0] < place:
            touched.append((max(spans[index][0], begins), min(spans[index][1], place)))
            index += 1
        if kind == "number":
            if touched:
                parts = [Edit(first - begins, last - begins) for first, last in touched]
                yield Edit(begins, place, json.dumps(applied(text[begins:place], parts)))
            continue
        string = Key(begins, place)
        if touched:
            crossing = words.may_cross and [
                span for span in touched if span[0] == begins or span[1] == place
            ]
            string.found = string_edits(text, begins + 1, place - 1, crossing or [], words)
    if string:
        yield from string.found
    for rest in reversed(keys):
        yield from unlike(text, rest)


def string_edits(text, start, end, crossing, words) -> list[Edit]:
    """Edits inside a string's quotes; `crossing` are parts of spans that go beyond the quotes."""
    step = Step.of_string(text[start:end])
    found = []
    for edit in edits(step.after, words):
        begins, ends = step.back(edit.start, edit.end)
        found.append(Edit(start + begins, start + ends, json.dumps(edit.by)[1:-1]))
    for begins, ends in crossing:
        whole = step.whole(max(begins, start) - start, min(ends, end) - start)
        if whole and whole[0] < whole[1]:
            found.append(Edit(start + whole[0], start + whole[1]))
    if not crossing:
        return found
    by = {(edit.start, edit.end): edit.by for edit in found}
    spans = merged((edit.start, edit.end) for edit in found)
    return [Edit(*span, by.get(span, REDACTED)) for span in spans]


def unlike(text: str, keys: list[Key]) -> Iterator[Edit]:
    """Edits for an object's keys that keep them different: equal keys would become one."""
    if not any(key.found for key in keys):
        return
    names = {
        Step.of_string(text[key.start + 1 : key.end - 1]).after for key in keys if not key.found
    }
    for key in keys:
        if not key.found:
            continue
        moved = [Edit(e.start - key.start, e.end - key.start, e.by) for e in key.found]
        source = applied(text[key.start : key.end], moved)
        name = Step.of_string(source[1:-1]).after
        number, other = 1, name
        while other in names:
            number += 1
            other = f"{name} {number}"
        names.add(other)
        yield from key.found[:-1]
        last = key.found[-1]
        suffix = "" if other == name else f" {number}"
        if suffix and last.end < key.end - 1:
            # Goes to the end of the name, which is not part of any edit.
            yield last
            yield Edit(key.end - 1, key.end - 1, suffix)
        else:
            yield Edit(last.start, last.end, last.by + suffix)
