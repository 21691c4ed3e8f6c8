"""Which conversations have certain words in their messages, errors and tool names."""

import re
import uuid

from django.db import connections
from django.db.models import QuerySet

from privacy import hits, masking

from ..access import agent_limits
from ..agentdb import normal_form, revision
from ..agentdb.search_terms import Term, terms, whole
from ..indexes import catalogue, state
from ..models import ChatMessage, Task
from ..problems import kinds
from .conditions import Condition

# To use its index, pg_trgm needs three letters of a word, or two at its beginning or end.
TRIGRAM = re.compile(r"[^\W_]{3}|[\W_][^\W_]{2}|[^\W_]{2}[\W_]")
# If there are more tools than this, all tasks are searched.
MOST_TOOLS = 1_000
NEXT_TOOL = "SELECT min(tool_uri) FROM tasks WHERE tool_uri > %s"


def message_contains(text: str, everywhere: bool, named: tuple[uuid.UUID, ...] = ()) -> Condition:
    """
    A message or, with `everywhere`, an error or a tool's name contains all words of the text; or
    the conversation is one of `named`.
    """
    sources = [with_hits(ChatMessage.objects.all(), "content", text)]
    indexed = state.is_ready(catalogue.TRIGRAMS.name) and any(map(TRIGRAM.search, terms(text)))
    if everywhere:
        for kind in kinds.with_words():
            failing = kind.rows().annotate(words=kind.words.as_said())
            sources.append(with_hits(failing, "words", text))
            indexed = indexed and state.is_ready(kind.words_index_name)
        calls, by_name = tool_calls(text)
        sources.append(calls)
        indexed = indexed and by_name
    return Condition(lambda: tuple(sources), indexed, named=named)


def with_hits(rows: QuerySet, field: str, text: str) -> QuerySet:
    """
    Rows that contain all words of the text. For users who do not see personal data, hits inside
    masked text do not count.
    """
    words = terms(text)
    if not words:
        return rows.none()
    found = rows.filter(**{f"{field}__holds": words})
    if masking.is_active():
        found = found.filter(**{f"{field}__holds_openly": countings(text)})
    return found


def countings(text: str) -> list[list[str]]:
    """
    Lists of regular expressions; a row counts if it matches all of one list. One list has the words
    and the other the whole text, because a known phone number may consist of several words.
    """
    return [[hits.pattern(term) for term in found] for found in (terms(text), [whole(text)])]


def holds(name: str, text: str) -> bool:
    """The same as with_hits(), for a text that has been read."""
    found = terms(text)
    normal = normal_form.normalised(masking.raw(name))
    if not found or not all(term in normal for term in found):
        return False
    return not masking.is_active() or any(
        all(has_counting_hit(masking.raw(name), term) for term in each)
        for each in (found, [whole(text)])
    )


def has_counting_hit(name: str, term: Term) -> bool:
    return any(hits.counts(name, *span) for span in normal_form.spans(name, [term]))


def tool_uris() -> list[str] | None:
    """
    The tools that tasks have called; None if there are more than MOST_TOOLS. Each takes one step in
    the runtime's index. A recursive query would do, but on a sharded database it would have to name
    a session.
    """
    found = [""]
    # No user sees these. Without an agent limit, each tool takes a single step.
    with agent_limits.lifted(), connections[Task.objects.db].cursor() as cursor:
        while len(found) <= MOST_TOOLS:
            cursor.execute(NEXT_TOOL, [found[-1]])
            [name] = cursor.fetchone()
            if name is None:
                return found[1:]
            found.append(masking.raw(name))
    return None


def tool_calls(text: str) -> tuple[QuerySet, bool]:
    """(calls of tools whose name contains the text, whether the runtime's index finds them)"""
    if not revision.has_task_order():
        return with_hits(Task.objects.filter(node_type="tool_call"), "name", text), False
    uris = tool_uris()
    if uris is None:
        return with_hits(Task.objects.all(), "tool_uri", text), False
    return Task.objects.filter(tool_uri__in=[uri for uri in uris if holds(uri, text)]), True
