"""
Explains what a run did: one sentence per task, filled with excerpts of the task's payloads.

The sentences know the payloads that the runtime writes; payloads of another shape are quoted as
they are.
"""

import json
import re
import uuid
from dataclasses import dataclass
from typing import NamedTuple

from django.db.models import Case, When
from django.db.models.functions import Left

from backoffice.json_text import tokens
from privacy import masking, personal_data

from ..agentdb.sql import cut_text, payload_text
from ..models import ChatMessage, Run, Task
from ..problems import kinds
from .json_words import one_line, readable, unquoted

EXCERPT = 300
NAME_LENGTH = 80

BRANCHING = ("switch", "if")
ENDS = ("start", "end")
# Pieces that often repeat the customer's message.
MAY_REPEAT_MESSAGE = ("prompt_text", "inputs_text", "query")
MESSAGES_READ = 20
# A shorter message may occur in a prompt by coincidence.
LONG_MESSAGE = 12
# What without_said() leaves of a text that is only a message, perhaps with its key.
ONLY_SAID = re.compile(r"(?:(?:\w+: )?…)?")
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
# What the runtime stores in place of a payload that is too large; jsonb sorts keys by length.
TOO_LARGE = re.compile(r'\{"bytes": (\d+), "preview": (".*)', re.DOTALL)


class Part(NamedTuple):
    """Part of a sentence. Kind "text" is written by us; all other kinds come from the database."""

    kind: str
    text: str

    def without_stop(self) -> "Part":
        """For use before more text in the same sentence."""
        return Part(self.kind, self.text.removesuffix("."))

    def cut(self, length: int) -> "Part":
        text = self.text
        return self if len(text) <= length else Part(self.kind, f"{text[:length].rstrip('…')}…")


@dataclass(frozen=True, slots=True)
class Step:
    """One task's sentence in parts; `depth` as in `tasks.nested`."""

    pk: uuid.UUID
    name: str
    node_type: str | None
    depth: int
    failed: bool
    parts: tuple[Part, ...]


def read(run: Run, tasks: list[Task]) -> dict[uuid.UUID, dict]:
    """
    Return {task id: what its sentence is made of}, without tasks that were erased meanwhile.

    Two queries; payloads are cut in SQL. `answers` are the agent's messages in this run and `said`
    all others, each on one line.
    """
    annotations = excerpts()
    flags = [kind.flag for kind in kinds.problems("Task")]
    rows = (
        Task.objects.filter(session_id=run.session_id, run_id=run.id)
        .filter(pk__in=[task.pk for task in tasks])
        .with_problems()
        .annotate(**annotations)
        .values("pk", *flags, *annotations)
    )
    found = {row["pk"]: row for row in rows}
    messages: dict[str, list[str]] = {"said": [], "answers": []}
    if found:
        of_run = ChatMessage.objects.filter(session_id=run.session_id, run_id=run.id)
        of_run = of_run.annotate(text=cut_text("content", EXCERPT + 1)).oldest_first()
        for role, words in of_run.values_list("role", "text")[:MESSAGES_READ]:
            by = messages["answers" if role == "assistant" else "said"]
            by.append(one_line(masking.raw(words) or ""))
    return {pk: row | messages for pk, row in found.items()}


def excerpts(columns=("inputs", "output", "errors"), pieces=tuple(PIECES)) -> dict:
    # One character more than is shown, to see whether the text goes on.
    length = EXCERPT + 1
    cut = {"prompt_text": Left("prompt", length)}
    for column in columns:
        cut[f"{column}_text"] = payload_text(column, length)
        cut[f"{column}_text_large"] = payload_text(column, len("true"), "truncated")
    for piece in pieces:
        column, key, node_types = PIECES[piece]
        # Only for node types that have it: each access to a large payload decompresses it again.
        cut[piece] = Case(When(node_type__in=node_types, then=payload_text(column, length, key)))
    return cut


def step(task: Task, row: dict) -> Step:
    parts = SENTENCES.get(task.node_type, tell_other)(task, row)
    if row["is_task_error"]:
        # A sentence that ends in a quote has no full stop, which would look like part of the quote.
        stop = "" if parts[-1].text.endswith(".") and parts[-1].kind == "text" else "."
        parts += [text(f"{stop} An error was recorded: "), *quoted(row, "errors_text", "error")]
    return Step(
        pk=task.pk,
        name=name_of(task).text,
        node_type=task.node_type,
        depth=task.depth,
        failed=any(row[kind.flag] for kind in kinds.problems("Task")),
        parts=tuple(parts),
    )


def adds_nothing(task: Task, row: dict) -> bool:
    """Whether the task is a start or an end with nothing beyond what the transcript shows."""
    if task.node_type not in ENDS or row["is_task_error"]:
        return False
    for piece in ("prompt_text", "inputs_text", "output_text"):
        source = masking.raw(row[piece]) or ""
        words = readable(source[:EXCERPT], cut=len(source) > EXCERPT)
        if not ONLY_SAID.fullmatch(without_said(words, [*row["said"], *row["answers"]])):
            return False
    return True


# The sentences


def tell_model(task: Task, row: dict) -> list[Part]:
    if task.node_type == "llm":
        opening = [text("Asked the model ("), name_of(task), text(")")]
    else:
        opening = [text("Asked the agent "), name_of(task)]
    return [
        *opening,
        *with_input(row),
        *with_result(row, "output_text", "answered ", "no answer", bare=True),
    ]


def tell_branching(task: Task, row: dict) -> list[Part]:
    if row["expr"] is None and row["taken"] is None:
        return tell_other(task, row)
    nothing_matched = row["matched"] == "false"
    chosen = quoted(row, "taken", "name")
    parts = [text("Chose the default, " if nothing_matched else "Chose "), *chosen]
    if row["expr"] is None:
        given = quoted(row, "inputs_text")
        return [*parts, *([text(", given "), *given] if given else [text(", no reason recorded.")])]
    because = ", because " if nothing_matched else " because "
    parts = [*parts, text(because)] if chosen else [text("No next step was recorded: ")]
    value = quoted(row, "value", "value")
    was = [text(" was "), *value] if value else [text(" had no value")]
    end = text(" and nothing matched." if nothing_matched else ".")
    return [*parts, *quoted(row, "expr", "name"), *was, end]


def tell_parallel(task: Task, row: dict) -> list[Part]:
    names = branch_names(masking.raw(row["branches"]) or "")
    if not names:
        return tell_other(task, row)
    parts = [text("Ran "), names[0]]
    for name in names[1:-1]:
        parts += [text(", "), name]
    if names[1:]:
        parts += [text(" and "), names[-1], text(" in parallel")]
    return [*parts, text(".")]


def tell_tool_call(task: Task, row: dict) -> list[Part]:
    arguments = "inputs_text" if row["args"] is None else "args"
    parts = [text("Called "), name_of(task), *with_arguments(row, arguments)]
    if task.parent_task_name and not task.depth:
        parts += [text(" for "), Part("name", shortened(task.parent_task_name))]
    if row["is_tool_error"]:
        return [*parts, text(" → "), *quoted(row, "result", "error")]
    outcome = "output_text" if row["result"] is None else "result"
    return [*parts, *with_result(row, outcome, "", "no result")]


def tell_function(task: Task, row: dict) -> list[Part]:
    parts = [text("Called "), name_of(task), *with_arguments(row, "inputs_text")]
    if task.tool_uri:
        parts += [text(" using "), Part("name", shortened(task.tool_uri))]
    return [*parts, *with_result(row, "output_text", "", "no result")]


def tell_rag_query(task: Task, row: dict) -> list[Part]:
    if row["query"] is None:
        return tell_other(task, row)
    parts = [text("Searched "), *(quoted(row, "collection", "name") or [text("the documents")])]
    parts += [text(" for "), *quoted(row, "query")]
    if "[]" in (row["hits"], row["output_text"]):
        return [*parts, text(" → found nothing.")]
    outcome = "content" if row["content"] else "output_text"
    return [*parts, *with_result(row, outcome, "found ", "nothing")]


def tell_start(task: Task, row: dict) -> list[Part]:
    given = quoted(row, "inputs_text", bare=True)
    return [text("The run began with "), *given] if given else [text("The run began.")]


def tell_end(task: Task, row: dict) -> list[Part]:
    result = quoted(row, "output_text", bare=True)
    return [text("The run ended with "), *result] if result else [text("The run ended.")]


def tell_other(task: Task, row: dict) -> list[Part]:
    parts = [text("The step "), name_of(task)]
    if task.node_type:
        parts += [text(" ("), Part("name", shortened(task.node_type)), text(")")]
    parts += [text(" ran"), *with_input(row)]
    return [*parts, *with_result(row, "output_text", "", "")] if row["output_text"] else parts


SENTENCES = {
    "start": tell_start,
    "end": tell_end,
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
    """name(arguments) → result, each cut to `length` characters."""
    arguments = "inputs_text" if row["args"] is None else "args"
    result = "output_text" if row["result"] is None else "result"
    words = quoted(row, result, "value", bare=True) or [text("its result was not recorded")]
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


def with_input(row: dict) -> list[Part]:
    """The prompt, or the inputs if no prompt was recorded."""
    if row["prompt_text"]:
        return [text(": "), *quoted(row, "prompt_text")]
    given = quoted(row, "inputs_text")
    return [text(", given "), *given] if given else []


def with_arguments(row: dict, piece: str) -> list[Part]:
    arguments = quoted(row, piece, "value")
    if not arguments:
        return [text(" (no arguments were recorded)")]
    return [text("()")] if row[piece] == "{}" else [text("("), *arguments, text(")")]


def with_result(
    row: dict, piece: str, verb: str, nothing: str, *, bare: bool = False
) -> list[Part]:
    outcome = quoted(row, piece, bare=bare)
    if not outcome:
        return [text(f" → {nothing} was recorded.")]
    return [text(f" → {verb}"), *outcome]


def quoted(row: dict, piece: str, kind: str = "quote", *, bare: bool = False) -> list[Part]:
    """A piece in words, empty if it was not recorded; `bare` as in `readable`."""
    if row[piece] is None:
        return []
    # Turn JSON into words before masking, because cut JSON is no longer JSON.
    source = masking.raw(row[piece])
    large = row.get(f"{piece}_large") == "true" and TOO_LARGE.match(source)
    if large:
        words = [text(f"a value too large to record ({int(large[1]):,} bytes)")]
        began = one_line(masked(readable(unquoted(large[2]), cut=True), cut=True))
        return [*words, text(", which began "), Part(kind, f"{began}…")] if began else words
    is_cut = len(source) > EXCERPT
    words = readable(source[:EXCERPT], cut=is_cut, bare=bare)
    if piece in MAY_REPEAT_MESSAGE:
        words = without_said(words, row.get("said", []))
        if words == "…":
            return [text("the message")]
    words = one_line(masked(words, cut=is_cut))
    if not words:
        return [text("an empty value")]
    if is_cut:
        words = f"{words.removesuffix(personal_data.CUT).removesuffix('…')}…"
    return [Part(kind, words)]


def without_said(words: str, said: list[str]) -> str:
    """The words, with "…" in place of messages, which the transcript already shows."""
    words = one_line(words)
    for message in said:
        if len(message) < LONG_MESSAGE:
            if words == message or words.endswith((f": {message}", f":{message}")):
                words = f"{words.removesuffix(message)}…"
        elif message in words:
            words = words.replace(message, "…")
        # The excerpt may end within the message.
        elif (place := words.find(message[:LONG_MESSAGE])) >= 0 and message.startswith(
            words[place:]
        ):
            words = f"{words[:place]}…"
    return words


def masked(words: str, *, cut: bool) -> str:
    return masking.mask(words, cut_end=cut) if masking.is_active() else words


def branch_names(source: str) -> list[Part]:
    """The names in a JSON list of strings; empty if it is anything else."""
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
