"""
What a run did, in plain words: fixed sentences, filled with excerpts of its tasks' payloads.

It knows the shapes that the runtime's engine writes, and quotes anything else as it is.
"""

import json
import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db.models import Case, When
from django.db.models.functions import Left

from backoffice.json_text import tokens, whole_part
from privacy import masking, personal_data

from ..agentdb.sql import payload_text
from ..models import Run, Task
from ..problems import kinds

STEPS_TOLD = 40
EXCERPT = 300
NAME_LENGTH = 80

BRANCHING = ("switch", "if")
# {piece: (column, key, node types that have it)}
PIECES = {
    "expr": ("inputs", "expr", BRANCHING),
    "value": ("inputs", "value", BRANCHING),
    "taken": ("output", "taken", BRANCHING),
    "matched": ("output", "matched", BRANCHING),
    "branches": ("output", "branches", ["parallel"]),
    "args": ("inputs", "args", ["tool_call"]),
    "result": ("output", "result", ["tool_call"]),
    "query": ("inputs", "query", ["rag_query"]),
    "collection": ("inputs", "collection", ["rag_query"]),
    "content": ("output", "content", ["rag_query"]),
    "hits": ("output", "hits", ["rag_query"]),
}
# What the runtime keeps of a payload that is too large; jsonb orders keys by length.
TOO_LARGE = re.compile(r'\{"bytes": (\d+), "preview": (".*)', re.DOTALL)


class Part(NamedTuple):
    """kind: "text" is ours; "name", "quote", "value" and "error" are the row's words."""

    kind: str
    text: str

    def without_stop(self) -> "Part":
        """For use in front of a colon."""
        return Part(self.kind, self.text.removesuffix("."))

    def cut(self, length: int) -> "Part":
        text = self.text
        return self if len(text) <= length else Part(self.kind, f"{text[:length].rstrip('…')}…")


@dataclass(frozen=True, slots=True)
class Step:
    """One task's sentence, in parts. Depth as in `tasks.nested`; duration in seconds."""

    pk: uuid.UUID
    name: str
    node_type: str | None
    depth: int
    failed: bool
    created_at: datetime
    duration: float | None
    parts: tuple[Part, ...]


def explain(run: Run, tasks: list[Task], rows: dict | None = None) -> list[Step]:
    """
    The first tasks of a run as steps, in the order given, which is that of `tasks.nested`.
    `rows`: what read() found of them.
    """
    shown = tasks[:STEPS_TOLD]
    found = read(run, shown) if rows is None else rows
    # A task erased between two queries has no row.
    return [step(task, found[task.pk]) for task in shown if task.pk in found]


def read(run: Run, tasks: list[Task]) -> dict[uuid.UUID, dict]:
    """{id: what the sentence of that task is made of}. One query; payloads are cut in SQL."""
    annotations = excerpts()
    flags = [kind.flag for kind in kinds.problems("Task")]
    rows = (
        Task.objects.filter(session_id=run.session_id, run_id=run.id)
        .filter(pk__in=[task.pk for task in tasks])
        .with_problems()
        .annotate(**annotations)
        .values("pk", *flags, *annotations)
    )
    return {row["pk"]: row for row in rows}


def excerpts(columns=("inputs", "output", "errors"), pieces=tuple(PIECES)) -> dict:
    # One character more than is shown tells whether there is more.
    length = EXCERPT + 1
    cut = {"prompt_text": Left("prompt", length)}
    for column in columns:
        cut[f"{column}_text"] = payload_text(column, length)
        cut[f"{column}_text_large"] = payload_text(column, len("true"), "truncated")
    for piece in pieces:
        column, key, node_types = PIECES[piece]
        # Only where it can be: each look into a large payload unpacks it again.
        cut[piece] = Case(When(node_type__in=node_types, then=payload_text(column, length, key)))
    return cut


def step(task: Task, row: dict) -> Step:
    parts = SENTENCES.get(task.node_type, tell_other)(task, row)
    if row["is_task_error"]:
        # A sentence that ends in the row's words has no full stop: it would look like theirs.
        stop = "" if parts[-1].text.endswith(".") and parts[-1].kind == "text" else "."
        parts += [text(f"{stop} An error was recorded: "), *told(row, "errors_text", "error")]
    return Step(
        pk=task.pk,
        name=name_of(task).text,
        node_type=task.node_type,
        depth=task.depth,
        failed=any(row[kind.flag] for kind in kinds.problems("Task")),
        created_at=task.created_at,
        duration=task.duration_seconds,
        parts=tuple(parts),
    )


# The sentences


def tell_model(task: Task, row: dict) -> list[Part]:
    if task.node_type == "llm":
        opening = [text("The model was asked ("), name_of(task), text(")")]
    else:
        opening = [text("The agent "), name_of(task), text(" worked on it")]
    return [*opening, *asked(row), *led_to(row, "output_text", "answered ", "no answer", bare=True)]


def tell_branching(task: Task, row: dict) -> list[Part]:
    if row["expr"] is None and row["taken"] is None:
        return tell_other(task, row)
    looked_at = told(row, "expr", "name") or told(row, "inputs_text")
    parts = [text("Looked at "), *(looked_at or [text("something that was not recorded")])]
    if row["expr"] is not None:
        value = told(row, "value")
        parts += [text(", which was "), *value] if value else [text(", which had no value")]
    fell_through = row["matched"] == "false"
    parts.append(text(": nothing matched, " if fell_through else ": "))
    if row["taken"] is None:
        return [*parts, text("and " if fell_through else ""), text("no next step was recorded.")]
    went_on = "so it went on with the default, " if fell_through else "went on with "
    return [*parts, text(went_on), *told(row, "taken", "name"), text(".")]


def tell_parallel(task: Task, row: dict) -> list[Part]:
    names = branch_names(masking.raw(row["branches"]) or "")
    if not names:
        return tell_other(task, row)
    parts = [text("Did "), names[0]]
    for name in names[1:-1]:
        parts += [text(", "), name]
    if names[1:]:
        parts += [text(" and "), names[-1], text(" side by side")]
    return [*parts, text(".")]


def tell_tool_call(task: Task, row: dict) -> list[Part]:
    arguments = "inputs_text" if row["args"] is None else "args"
    parts = [text("Called "), name_of(task), *with_arguments(row, arguments)]
    if row["is_tool_error"]:
        return [*parts, text(" → "), *told(row, "result", "error")]
    outcome = "output_text" if row["result"] is None else "result"
    return [*parts, *led_to(row, outcome, "", "no result")]


def tell_function(task: Task, row: dict) -> list[Part]:
    parts = [text("Called "), name_of(task), *with_arguments(row, "inputs_text")]
    if task.tool_uri:
        parts += [text(" by "), Part("name", shortened(task.tool_uri))]
    return [*parts, *led_to(row, "output_text", "", "no result")]


def tell_rag_query(task: Task, row: dict) -> list[Part]:
    if row["query"] is None:
        return tell_other(task, row)
    parts = [text("Searched "), *(told(row, "collection", "name") or [text("the documents")])]
    parts += [text(" for "), *told(row, "query")]
    if "[]" in (row["hits"], row["output_text"]):
        return [*parts, text(" → found nothing.")]
    outcome = "content" if row["content"] else "output_text"
    return [*parts, *led_to(row, outcome, "found ", "nothing")]


def tell_other(task: Task, row: dict) -> list[Part]:
    parts = [text("The step "), name_of(task)]
    if task.node_type:
        parts += [text(" ("), Part("name", shortened(task.node_type)), text(")")]
    parts += [text(" ran"), *asked(row)]
    return [*parts, *led_to(row, "output_text", "", "")] if row["output_text"] else parts


SENTENCES = {
    "start": lambda task, row: [text("The run began.")],
    "end": lambda task, row: [text("The run ended.")],
    "llm": tell_model,
    "agent": tell_model,
    "switch": tell_branching,
    "if": tell_branching,
    "parallel": tell_parallel,
    "tool_call": tell_tool_call,
    "function": tell_function,
    "rag_query": tell_rag_query,
}


def called(task: Task, row: dict, length: int) -> list[Part]:
    """name(arguments) → result, of the row's words so many characters each."""
    arguments = "inputs_text" if row["args"] is None else "args"
    result = "output_text" if row["result"] is None else "result"
    words = told(row, result, "value", bare=True) or [text("its result was not recorded")]
    parts = [name_of(task), *with_arguments(row, arguments), text(" → "), *words]
    return [part if part.kind == "text" else part.cut(length) for part in parts]


# Parts of sentences


def text(words: str) -> Part:
    return Part("text", words)


def shortened(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= NAME_LENGTH else f"{name[:NAME_LENGTH]}…"


def name_of(task: Task) -> Part:
    name = shortened(task.name or "")
    if not name and task.node_type == "tool_call":
        name = shortened(task.tool_uri or "")
    return Part("name", name) if name else text("(no name)")


def asked(row: dict) -> list[Part]:
    """The prompt, or the inputs if no prompt was recorded."""
    if row["prompt_text"]:
        return [text(": "), *told(row, "prompt_text")]
    given = told(row, "inputs_text")
    return [text(", given "), *given] if given else []


def with_arguments(row: dict, piece: str) -> list[Part]:
    arguments = told(row, piece, "value")
    if not arguments:
        return [text(" (no arguments were recorded)")]
    return [text("()")] if row[piece] == "{}" else [text("("), *arguments, text(")")]


def led_to(row: dict, piece: str, verb: str, nothing: str, *, bare: bool = False) -> list[Part]:
    outcome = told(row, piece, bare=bare)
    if not outcome:
        return [text(f" → {nothing} was recorded.")]
    return [text(f" → {verb}"), *outcome]


def told(row: dict, piece: str, kind: str = "quote", *, bare: bool = False) -> list[Part]:
    """The words of a piece, empty if it was not recorded; `bare` as in `readable`."""
    if row[piece] is None:
        return []
    # Turn JSON into words first, then mask: what is cut here is no longer JSON.
    source = masking.raw(row[piece])
    large = row.get(f"{piece}_large") == "true" and TOO_LARGE.match(source)
    if large:
        words = [text(f"something too large to keep: {int(large[1]):,} bytes")]
        began = one_line(masked(readable(unquoted(large[2]), cut=True), cut=True))
        return [*words, text("; it began "), Part(kind, f"{began}…")] if began else words
    is_cut = len(source) > EXCERPT
    words = one_line(masked(readable(source[:EXCERPT], cut=is_cut, bare=bare), cut=is_cut))
    if not words:
        return [text("an empty value")]
    return [Part(kind, f"{words.removesuffix(personal_data.CUT)}…" if is_cut else words)]


def masked(words: str, *, cut: bool) -> str:
    return masking.mask(words, cut_end=cut) if masking.is_active() else words


# JSON as words


def one_line(words: str) -> str:
    # JSON may hold, or be cut to, half a surrogate pair, which no page can encode.
    return " ".join(words.split()).encode(errors="replace").decode()


def unquoted(source: str) -> str:
    kind, source = next(tokens(source))
    return whole_part(source) if kind == "cut" else json.loads(source)


def readable(source: str, *, cut: bool, bare: bool = False) -> str:
    """
    JSON as "key: value, key: value"; any other text as it is.

    `bare` leaves out the key of an object that holds a single string, or an answer cut short.
    """
    if source[:1] not in ("{", "["):
        return source
    words = []
    position = depth = 0
    try:
        if not cut:
            json.loads(source)
        found = list(tokens(source))
        for kind, token in found:
            position = source.index(token, position) + len(token)
            if kind == "open":
                depth += 1
                words.append("(" if depth > 1 else "")
            elif kind == "close":
                words.append(")" if depth > 1 else "")
                depth -= 1
            elif kind == "separator":
                words.append(f"{token} ")
            elif kind in ("string", "cut"):
                words.append(
                    json.loads(token) if kind == "string" else whole_part(token) or token[1:]
                )
            else:
                words.append(token)
    except (ValueError, RecursionError):
        return source
    rest = source[position:].strip()
    if not any(word.startswith(rest) for word in ("true", "false", "null", "-")):
        # Text that only begins like JSON, such as "[Note] …".
        return source
    if bare and words[2:3] == [": "] and found[3:] and found[3][0] in ("string", "cut"):
        alone = words[1] == "agent_response" and len(found) == 4 if cut else len(found) == 5
        if alone:
            return words[3]
    return "".join(words)


def branch_names(source: str) -> list[Part]:
    """The names in a list of strings; nothing if it is anything else."""
    if not source.startswith("["):
        return []
    names = []
    for kind, token in tokens(source[1:]):
        if kind == "string":
            name = masked(json.loads(token), cut=False)
            names.append(Part("name", shortened(name) or "(no name)"))
        elif kind in ("number", "literal", "open"):
            return []
    return [*names, text("others")] if names and len(source) > EXCERPT else names
