"""Why a row matches a search, which the list shows below its summary: passages, and ids."""

import uuid
from dataclasses import dataclass

from django.db import connections
from django.urls import reverse

from backoffice.databases.errors import timeouts_ignored
from backoffice.databases.time_limits import time_limit
from backoffice.words import external_id_label
from privacy import masking, personal_data

from ..agentdb import normal_form, revision
from ..agentdb.lookups import holds_sql, is_utf8, openly_sql
from ..agentdb.normal_form import spans
from ..agentdb.search_terms import Term, terms, whole
from ..display.marks import as_plain_text
from ..display.readable import letters, readable, spells_letters
from ..models import Session
from ..problems import kinds
from ..selection.conditions import countings
from ..selection.named import Named

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


# The text around all that was typed or else a term's first hit. A text whose normal form may have
# another length is read in pieces that overlap by more than a term: the first that holds the term.
HITS = """
    SELECT session.id, hit.id, hit.label, left(words, {begin}), excerpt, cut_before, cut_after
    FROM (SELECT id FROM sessions WHERE id = ANY(%s)) AS session,
    LATERAL (
        SELECT id, label, words
        FROM (SELECT id, {label} AS label, {words} AS words, created_at
              FROM {table} WHERE session_id = session.id AND ({condition}) OFFSET 0) AS hits
        WHERE {holds}
        ORDER BY created_at, id LIMIT {limit}
    ) AS hit,
    LATERAL (
        SELECT substr(words, greatest(at - {before}, 1), {length}) AS excerpt,
               at > {before} + 1 AS cut_before,
               length(words) >= greatest(at - {before}, 1) + {length} AS cut_after
        FROM (SELECT coalesce(nullif(strpos(lower(words), %s), 0), strpos(lower(words), %s)) AS at)
            AS place
        WHERE {is_plain}
        UNION ALL
        (SELECT piece, number > 0, length(words) > number * {step} + {piece}
         FROM generate_series(0, length(words) / {step}) AS number,
         LATERAL (SELECT substr(words, number * {step} + 1, {piece}) AS piece OFFSET 0) AS pieces
         WHERE NOT {is_plain} AND strpos({normal_piece}, %s) > 0 LIMIT 1)
    ) AS around
"""
# Enough to tell whether a message is JSON.
BEGIN = 20
STEP = 8_000
# A term of 200 letters may be spelled in as many escapes.
PIECE = STEP + 2_500


def snippets(ids: list, text: str, everywhere: bool, query: str) -> dict[uuid.UUID, list[Snippet]]:
    """
    {session id: the first places that hold the text}; some may be missing if time runs out.

    `query` is the list's query string: it leads back from a message.
    """
    found: dict[uuid.UUID, list[Snippet]] = {}
    connection = connections[Session.objects.db]
    words = terms(text)
    term = longest(words)
    holds, params = holds_sql(connection, "words", words)
    if masking.is_active():
        counts, patterns = openly_sql(connection, "words", countings(text))
        holds, params = f"{holds} AND {counts}", [*params, *patterns]
    utf8 = is_utf8(connection)
    options = {
        "holds": holds,
        "is_plain": normal_form.is_plain_sql("words") if utf8 else "true",
        "normal_piece": normal_form.sql("piece") if utf8 else "piece",
        "before": BEFORE + MARGIN,
        "length": BEFORE + AFTER + 2 * MARGIN + len(text),
        "begin": BEGIN,
        "limit": SNIPPETS,
        "step": STEP,
        "piece": PIECE,
    }
    list_url = reverse("conversations:list")
    for name, place in places(everywhere):
        sql = HITS.format(**options, **place)
        rows = read(sql, [ids, *params, whole(text), term, term])
        for session_id, row_id, label, begin, excerpt, cut_before, cut_after in rows:
            of_session = found.setdefault(session_id, [])
            if len(of_session) < SNIPPETS:
                excerpt = masking.raw(excerpt)
                if name == "message":
                    excerpt = readable_part(excerpt, masking.raw(begin), label)
                html = marked_excerpt(excerpt, text, cut_before, cut_after)
                # Not reverse(), which takes a tenth of the list's time for 150 snippets.
                url = (
                    f"{list_url}{session_id}/?{query}&m={row_id}"
                    if name == "message"
                    else payload_url(name, session_id, row_id)
                )
                of_session.append(Snippet(label, html, url))
    return found


def named_by(row: Session, named: Named, text: str, query: str) -> list[Snippet]:
    """The ids by which the search names the row's conversation."""
    found = []
    if hit := named.by_id.get(row.pk):
        kind, row_id = hit
        url = named_address(row.pk, kind, row_id, query)
        found.append(Snippet(f"{kind} id", as_plain_text(str(row_id), text), url))
    if row.pk in named.by_external_id:
        url = named_address(row.pk, "session", row.pk, query)
        shown = as_plain_text(row.external_id or "", text)
        found.append(Snippet(external_id_label(), shown, url))
    return found


def named_address(session_id, kind: str, row_id, query: str) -> str:
    """Where the page of a conversation shows the row that has this id."""
    if kind == "task":
        return reverse("conversations:task", args=[session_id, row_id])
    place = {"run": f"run={row_id}", "message": f"m={row_id}"}.get(kind)
    asked = "&".join(filter(None, [query, place]))
    return f"{reverse('conversations:detail', args=[session_id])}{asked and '?'}{asked}"


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
                "words": kind.words.said_sql().replace("%", "%%"),
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


def readable_part(excerpt: str, begin: str, role: str) -> str:
    """A part of a message as people read it; `begin` is the message's beginning."""
    if excerpt.startswith(begin):
        return readable(excerpt, role)
    return letters(excerpt) if spells_letters(begin, role) else excerpt


def marked_excerpt(excerpt: str, text: str, cut_before: bool, cut_after: bool) -> str:
    """What stands around the first hit, with all hits in it marked."""
    start, end = first_hit(excerpt, text)
    first, last = max(start - BEFORE - MARGIN, 0), end + AFTER + MARGIN
    cut_before, cut_after = cut_before or first > 0, cut_after or last < len(excerpt)
    shown, start, end = excerpt[first:last], start - first, end - first
    if masking.is_active():
        shown = masking.cut(shown, len(shown) + (not cut_after), cut_start=cut_before)
        start, end = first_hit(shown, text)
    first, last = max(start - BEFORE, 0), end + AFTER
    line = " ".join(shown[first:last].split())
    before = "…" if (cut_before or first) and not line.startswith(personal_data.CUT) else ""
    return as_plain_text(f"{before}{line}{'…' if last < len(shown) else ''}", text)


def longest(words: tuple[Term, ...]) -> Term:
    """The one that says most: an excerpt shows its first hit."""
    return max(words, key=len)


def first_hit(excerpt: str, text: str) -> tuple[int, int]:
    """Of all that was typed, else of the longest word, else of any; (0, 0) if there is none."""
    words = terms(text)
    for wanted in ([whole(text)], [longest(words)], words):
        if found := spans(excerpt, wanted):
            return found[0]
    return 0, 0


def read(sql: str, values: list) -> list[tuple]:
    """The rows; none if that takes too long: a page without them is better than no page."""
    alias = Session.objects.db
    with timeouts_ignored(), time_limit(alias, SECONDS), connections[alias].cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()
    return []
