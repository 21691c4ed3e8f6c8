"""The passages that match a search, which a row of the list shows below its summary."""

import re
import uuid
from dataclasses import dataclass

from django.db import connections
from django.urls import reverse

from backoffice.databases.errors import timeouts_ignored
from backoffice.databases.time_limits import time_limit
from privacy import hits, masking, personal_data

from ..agentdb import revision
from ..display.marks import as_plain_text
from ..display.readable import letters, shown
from ..models import Session
from ..problems import kinds

SECONDS = 1
SNIPPETS = 3
BEFORE, AFTER = 50, 130
MARGIN = 40


@dataclass(frozen=True)
class Snippet:
    """A match of the search term: whose words, as safe HTML with the term marked, and its page."""

    label: str
    html: str
    url: str


HITS = """
    SELECT session.id, hit.id, hit.label,
           substr(hit.words, greatest(hit.at - {before}, 1), {length}), hit.at
    FROM (SELECT id FROM sessions WHERE id = ANY(%(ids)s)) AS session,
    LATERAL (
        SELECT id, label, words, strpos(lower(words), lower(%(text)s)) AS at
        FROM (SELECT id, {label} AS label, {words} AS words, created_at
              FROM {table} WHERE session_id = session.id AND ({condition})) AS hits
        WHERE words ILIKE %(pattern)s
              AND (%(counts)s IS NULL OR words !~ %(may_hold)s OR words ~* %(counts)s)
        ORDER BY created_at, id LIMIT {limit}
    ) AS hit
"""


def snippets(ids: list, text: str, everywhere: bool, query: str) -> dict[uuid.UUID, list[Snippet]]:
    """
    {session id: the first places that hold the text}; some may be missing if time runs out.

    `query` is the list's query string: it leads back from a message.
    """
    found: dict[uuid.UUID, list[Snippet]] = {}
    pattern = f"%{connections[Session.objects.db].ops.prep_for_like_query(text)}%"
    counts = hits.pattern(text) if masking.is_active() else None
    values = {"ids": ids, "text": text, "pattern": pattern, "counts": counts}
    values["may_hold"] = hits.MAY_HOLD
    list_url = reverse("conversations:list")
    for name, options in places(everywhere):
        length = BEFORE + AFTER + 2 * MARGIN + len(text)
        sql = HITS.format(before=BEFORE + MARGIN, length=length, limit=SNIPPETS, **options)
        for session_id, row_id, label, excerpt, at in read(sql, values):
            of_session = found.setdefault(session_id, [])
            if len(of_session) < SNIPPETS:
                begins_within = at > BEFORE + MARGIN + 1
                # What an agent said may be a piece of JSON.
                read_as = letters if label == "assistant" else str
                excerpt = shown(excerpt, length, cut_start=begins_within, read_as=read_as)
                html = marked_excerpt(excerpt, text, begins_within)
                # Not reverse(), which takes a tenth of the list's time for 150 snippets.
                url = (
                    f"{list_url}{session_id}/?{query}&m={row_id}"
                    if name == "message"
                    else payload_url(name, session_id, row_id)
                )
                of_session.append(Snippet(label, html, url))
    return found


def places(everywhere: bool):
    """(kind of page that shows it, parameters of HITS) for all that is searched."""
    messages = {"table": "chat_messages", "label": "role", "words": "content", "condition": "true"}
    yield "message", messages
    if not everywhere:
        return
    for kind in kinds.with_words():
        yield (
            "model-call" if kind.model == "ModelCall" else "task",
            {
                "table": kind.table,
                "label": f"'{kind.noun} ' || coalesce({kind.words.who_sql()}, '')",
                "words": kind.words.whole_sql().replace("%", "%%"),
                "condition": kind.where.replace("%", "%%"),
            },
        )
    tool = "tool_uri" if revision.has_task_order() else "name"
    called = "node_type = 'tool_call'"
    yield "task", {"table": "tasks", "label": "'tool'", "words": tool, "condition": called}


def payload_url(name: str, session_id, row_id) -> str:
    if name == "task":
        return reverse("conversations:task", args=[session_id, row_id])
    args = [session_id, "model-calls", row_id, "response_data"]
    return reverse("conversations:payload", args=args)


def marked_excerpt(excerpt: str, text: str, cut_before: bool) -> str:
    """The excerpt around the term; slightly off if lowercasing changes the text's length."""
    found = re.search(re.escape(text), excerpt, re.IGNORECASE)
    start = max(found.start() - BEFORE, 0) if found else 0
    end = start + BEFORE + AFTER + len(text)
    words, term = (" ".join(each.split()) for each in (excerpt[start:end], text))
    before = "…" if (cut_before or start) and not words.startswith(personal_data.CUT) else ""
    return as_plain_text(f"{before}{words}{'…' if end < len(excerpt) else ''}", term)


def read(sql: str, values: dict) -> list[tuple]:
    """The rows; none if that takes too long: a page without them is better than no page."""
    alias = Session.objects.db
    with timeouts_ignored(), time_limit(alias, SECONDS), connections[alias].cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()
    return []
