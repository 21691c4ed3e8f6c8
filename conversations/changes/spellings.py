"""
Finds words in a text however they are spelled: in any case and normal form, with any spaces and
dashes, and with letters escaped as in JSON, HTML or URLs, at any depth.

A text is searched as it is, and again each time its escapes have been decoded one level further.
Each hit is traced back to a span of the original text that contains whole escapes only.
"""

import html
import json
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from html.entities import html5
from itertools import accumulate, pairwise
from urllib.parse import unquote

from ..agentdb import normal_form
from ..agentdb.conventions import REDACTED

# JSON inside JSON doubles its backslashes each time, so even megabytes have fewer levels.
MOST_LEVELS = 16
MOST_QUERY_LEVELS = 3

HEX = "[0-9a-fA-F]"
ESCAPE = re.compile(
    rf"""
    \\ (?: u[dD][89abAB]{HEX}{{2}}\\u[dD][c-fC-F]{HEX}{{2}} | u{HEX}{{4}} | ["\\/bfnrt] )
    | & (?: \#[0-9]{{1,7}} | \#[xX]{HEX}{{1,6}} | [A-Za-z][A-Za-z0-9]{{1,31}} ) ;
    # One letter of UTF-8
    | %[0-7]{HEX} | %[cdCD]{HEX}%[89abAB]{HEX} | %[eE]{HEX}(?:%[89abAB]{HEX}){{2}}
    | %[fF][0-7](?:%[89abAB]{HEX}){{3}}
    """,
    re.VERBOSE,
)
SHORT = {rf"\{name}": each for name, each in zip('"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True)}
JSON_ESCAPE = re.compile(
    rf"\\(?:u[dD][89abAB]{HEX}{{2}}\\u[dD][c-fC-F]{HEX}{{2}}|u{HEX}{{4}}|.)", re.DOTALL
)
# A value in a form or query string, where a plus stands for a space.
QUERY_VALUE = re.compile(r"(?<=[\w\]]=)[^\s&\"'<>\\]+")

# Treated as equal beyond the normal form: dashes, and full-width letters.
DASHES = "\u058a\u05be\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\ufe58\ufe63\uff0d"
ALIKE = {
    **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)},
    **{ord(dash): "-" for dash in DASHES},
}

# A number, perhaps with letters, which people write in groups of any size.
NUMBER = re.compile(r"[+(]*[0-9a-z][0-9a-z ./()-]*")
FEWEST_DIGITS, MOST_LETTERS = 6, 64
JOINT = r"[ ./()-]{0,3}"

# Whether a text may spell ASCII letters and digits differently from how they look: in another
# shape, with ignored characters in between, or escaped. Most letters, marks and emoji are harmless.
HARMLESS = (
    r"00[ace-f]|00b|00d[0-9a-e]|01[0125-6]|014[0-8a-f]|013[2-9a-f]|017[0-9a-e]|04|05[0-57]"
    r"|20[13ab]|202[0-7]|21[013-9]|2[2-9a-f]|3|[4-8]|9|ac|ad|a[ef]|[bc]|d[0-7]|d83[cde]|d[c-f]"
)
MAY_HIDE = re.compile(
    rf"\\u(?!(?i:{HARMLESS}))|\\u00[aA][dD]|&#|&[a-zA-Z]{{2,31}};"
    r"|%(?i:2[356]|3\d|[46][1-9a-f]|[57][0-9a]|5c|[c-f])"
    rf"|[{normal_form.DROPPED}\u0130\u0131\u0307\u212a\uff01-\uff5e]|{normal_form.RARE}"
)
# Characters that the normal form drops or writes with several letters.
MAY_SHIFT = re.compile(rf"[{normal_form.DROPPED}\u0130\u0307]|{normal_form.RARE}")
PIECE = 4_000
BETWEEN_WORDS = re.compile(r"[A-Za-z0-9](?=[ ,:;\"][A-Za-z0-9])")
LOOSE_JOINT = r"(?>[^0-9A-Za-z\\]|\\[bfnrt]?)*+"
RUN = re.compile(r"[0-9a-z]+")
LETTERS = re.compile(r"[^\W_]+")
UNICODE_ESCAPE = re.compile(rf"\\+u({HEX}{{4}})")


def decoded(escape: str) -> str:
    """What an escape stands for; the text itself if it is not an escape."""
    if len(escape) == 2:
        return SHORT.get(escape, escape)
    if escape[0] == "\\":
        return json.loads(f'"{escape}"').encode("utf-8", "replace").decode()
    if escape[0] == "&":
        return html.unescape(escape) if escape[1] == "#" else html5.get(escape[1:], escape)
    try:
        return unquote(escape, errors="strict")
    except UnicodeDecodeError:
        return escape


class Step:
    """A text with some parts replaced, and a mapping of positions before and after."""

    def __init__(self, text: str, parts: Iterable[tuple[int, int, str]]):
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.after_starts: list[int] = []
        self.after_ends: list[int] = []
        pieces, done, length = [], 0, 0
        for start, end, by in parts:
            pieces += [text[done:start], by]
            length += start - done
            self.starts.append(start)
            self.ends.append(end)
            self.after_starts.append(length)
            length += len(by)
            self.after_ends.append(length)
            done = end
        self.before, self.after = text, "".join([*pieces, text[done:]])

    @classmethod
    def decoding(cls, text: str) -> "Step":
        """Decodes each escape once."""
        if not any(mark in text for mark in "\\&%"):
            return cls(text, ())
        parts = ((*found.span(), decoded(found[0])) for found in ESCAPE.finditer(text))
        return cls(text, (part for part in parts if part[2] and part[2] != text[slice(*part[:2])]))

    @classmethod
    def of_string(cls, content: str) -> "Step":
        """Decodes each escape of a JSON string, given the source between its quotes."""
        found = JSON_ESCAPE.finditer(content)
        return cls(content, ((*each.span(), decoded(each[0])) for each in found))

    @classmethod
    def of_queries(cls, text: str) -> "Step":
        values = QUERY_VALUE.finditer(text) if "+" in text and "=" in text else ()
        return cls(
            text,
            (
                (value.start() + plus.start(), value.start() + plus.end(), " ")
                for value in values
                for plus in re.finditer(r"\+", value[0])
            ),
        )

    def whole(self, start: int, end: int) -> tuple[int, int] | None:
        """
        The span, extended over an escape such as \\n that it begins or ends in: it may not be an
        escape at all, as in C:\\new. None if the span cuts an escape that nobody writes by chance.
        """
        for place in (start, end):
            index = bisect_left(self.starts, place) - 1
            if index >= 0 and place < self.ends[index]:
                if self.before[self.starts[index] : self.ends[index]] not in SHORT:
                    return None
                start, end = min(start, self.starts[index]), max(end, self.ends[index])
        return start, end

    def forward(self, start: int, end: int) -> tuple[int, int]:
        """The span's position after the step, if the span cuts no replaced part."""
        return self._moved(start), self._moved(end)

    def _moved(self, place: int) -> int:
        index = bisect_right(self.starts, place) - 1
        if index < 0:
            return place
        if place < self.ends[index]:
            return self.after_starts[index]
        return self.after_ends[index] + place - self.ends[index]

    def back(self, start: int, end: int) -> tuple[int, int]:
        """The part of the text before the step that a span after the step comes from."""
        first = bisect_right(self.after_starts, start) - 1
        last = bisect_left(self.after_starts, end) - 1
        if first >= 0:
            within = start < self.after_ends[first]
            start = self.starts[first] if within else start + self._shift(first)
        if last >= 0:
            end = max(self.ends[last], end + self._shift(last))
        return start, end

    def _shift(self, index: int) -> int:
        return self.ends[index] - self.after_ends[index]


def steps(text: str) -> list[Step]:
    """Decodes the text level by level until nothing is escaped."""
    found: list[Step] = []
    while len(found) < MOST_LEVELS:
        step = Step.decoding(found[-1].after if found else text)
        if not step.starts:
            break
        found.append(step)
    return found


def decodings(text: str) -> Iterator[tuple[list[Step], int]]:
    """
    (steps, the number of them whose text was seen before): first plain decoding, then decoding with
    each plus in a query string read as a space, once for each level that may hold a query string.
    """
    down = steps(text)
    yield down, 0
    for level in range(min(len(down), MOST_QUERY_LEVELS) + 1):
        query = Step.of_queries(down[level - 1].after if level else text)
        if query.starts:
            yield [*down[:level], query, *steps(query.after)], level + 1


def plain(text: str) -> str:
    """The text with all escapes decoded."""
    found = steps(text)
    return found[-1].after if found else text


def normalised(text: str) -> str:
    return alike(normal_form.normalised(text))


def alike(normal: str) -> str:
    return normal if normal.isascii() else normal.translate(ALIKE)


def quickly_normalised(text: str) -> str:
    """The normal form as far as letters go, for texts in which MAY_HIDE finds nothing."""
    if "\\u" in text:
        text = UNICODE_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    text = text.lower()
    return text if text.isascii() else unicodedata.normalize("NFC", text).replace("ς", "σ")


def forms(words: str) -> Iterator[str]:
    """The words in normal form, as they are and, if they are escaped, decoded."""
    yield normalised(words).strip()
    for step in steps(words):
        # Then a backslash before a letter was probably not meant as an escape.
        if any(letter < " " for letter in set(step.after) - set(step.before)):
            return
        yield normalised(step.after).strip()


def number_letters(normal: str) -> str:
    """The letters and digits of a number; empty if the text is not a number."""
    letters = "".join(RUN.findall(normal)) if NUMBER.fullmatch(normal) else ""
    is_number = sum(map(str.isdigit, letters)) >= FEWEST_DIGITS and len(letters) <= MOST_LETTERS
    return letters if is_number else ""


def number_pattern(normal: str) -> re.Pattern:
    """Finds the number with any grouping, unless it is part of a longer one."""
    letters = number_letters(normal)
    sign = "[+(]{0,2}" if normal[0] in "+(" else ""
    before, after = ("0-9" if letters[place].isdigit() else "0-9a-z" for place in (0, -1))
    return re.compile(rf"{sign}(?<![{before}]){JOINT.join(letters)}(?![{after}])")


class Words:
    """The texts to look for."""

    def __init__(self, texts: Iterable[str]):
        literals = {form for text in texts for form in forms(text) if form}
        self.literals = sorted(literals, key=len, reverse=True)
        numbers = [form for form in literals if number_letters(form)]
        self.patterns = [number_pattern(form) for form in numbers]
        # Each text that contains the words contains one of these, unless MAY_HIDE matches it.
        self.runs = [max(LETTERS.findall(form), key=len, default="") for form in self.literals]
        self.loose = [
            re.compile(LOOSE_JOINT.join(number_letters(form)), re.IGNORECASE) for form in numbers
        ]
        # The words may include punctuation that stands between JSON strings.
        self.may_cross = any(set(form) & set('"{}[],:') for form in literals)

    def may_be_in(self, text: str) -> bool:
        """A quick check; True if in doubt."""
        if not self.literals:
            return False
        if not all(self.runs):
            return True
        if MAY_HIDE.search(text):
            return True
        quick = quickly_normalised(text)
        return any(run in quick or max(run) > "\uffff" for run in self.runs) or any(
            pattern.search(text) for pattern in self.loose
        )

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where the words are: in order, not overlapping, never part of an escape or [redacted]."""
        if not self.may_be_in(text):
            return []
        found = {
            traced
            for down, first in decodings(text)
            for level in range(first, len(down) + 1)
            for span in self.spans_at(down[level - 1].after if level else text)
            if (traced := trace(span, down, level))
        }
        return merged(span for span in found if not is_in_redacted(text, *span))

    def spans_at(self, text: str) -> Iterator[tuple[int, int]]:
        """Hits in a text without decoding it further."""
        form = Normal(text)
        yield from map(form.span, self.places(form.normal))

    def places(self, normal: str) -> Iterator[tuple[int, int]]:
        """Hits in a text that is in normal form."""
        for literal in self.literals:
            yield from occurrences(normal, literal)
        for pattern in self.patterns:
            yield from (found.span() for found in pattern.finditer(normal))


class Normal:
    """A text's normal form, mapped back to the text; pieces without a hit are read only once."""

    def __init__(self, text: str):
        self.text = text
        cuts = [0]
        # Cut only where no characters combine across the cut.
        while found := BETWEEN_WORDS.search(text, cuts[-1] + PIECE):
            cuts.append(found.end())
        self.cuts = [*cuts, len(text)]
        pieces = [text[each:end] for each, end in pairwise(self.cuts)]
        normal = [normal_form.normalised(piece) for piece in pieces]
        # Pieces whose positions are the same in text and normal form.
        self.are_level = [*map(is_level, pieces, normal)]
        self.starts = [0, *accumulate(map(len, normal))]
        self.normal = alike("".join(normal))
        self.known: dict[tuple[int, ...], normal_form.Positions] = {}

    def span(self, place: tuple[int, int]) -> tuple[int, int]:
        first = bisect_right(self.starts, place[0]) - 1
        last = max(bisect_left(self.starts, place[1]), first + 1)
        begins, ends = (each - self.starts[first] for each in place)
        if not all(self.are_level[first:last]):
            begins, ends = self.positions(first, last).span(begins, ends)
        return self.cuts[first] + begins, self.cuts[first] + ends

    def positions(self, *pieces: int) -> normal_form.Positions:
        if pieces not in self.known:
            first, last = (self.cuts[each] for each in pieces)
            self.known[pieces] = normal_form.Positions(self.text[first:last])
        return self.known[pieces]


def is_level(text: str, normal: str) -> bool:
    """Whether the characters of text and normal form correspond one to one."""
    if len(text) != len(normal) or "\\u" in text:
        return False
    return text.isascii() or (unicodedata.is_normalized("NFC", text) and not MAY_SHIFT.search(text))


def occurrences(text: str, part: str) -> Iterator[tuple[int, int]]:
    place = text.find(part)
    while place >= 0:
        yield place, place + len(part)
        place = text.find(part, place + len(part))


def trace(span: tuple[int, int], down: list[Step], level: int) -> tuple[int, int] | None:
    """
    The span of the text that a span at this level comes from. Escapes of deeper levels stay whole
    too: half of one would remain where its JSON is read.
    """
    for step in down[level:]:
        if not (whole := step.whole(*span)):
            return None
        span = step.forward(*whole)
    for step in reversed(down):
        span = step.back(*span)
    return span


def merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def is_in_redacted(text: str, start: int, end: int) -> bool:
    """Whether the span is part of an earlier [redacted], but not all of it."""
    length = len(REDACTED)
    if end - start >= length:
        return False
    place = text.find(REDACTED, max(end - length, 0), start + length)
    return 0 <= place <= start and end <= place + length
