"""The passages and ids that match a search, shown below each row of the list."""

import uuid
from dataclasses import dataclass, replace

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
from ..display.marks import as_plain_text, hits
from ..display.readable import letters, readable, spells_letters
from ..display.without_markdown import without_markdown
from ..models import Session
from ..problems import kinds
from ..selection.named import Named
from ..selection.words import countings

SECONDS = 1
SNIPPETS = 3
BEFORE, AFTER = 50, 130
MARGIN = 40
# This many characters of a preview are in view even on a telephone.
IN_VIEW = 30


@dataclass(frozen=True)
class Snippet:
    """A match: its source, the passage as safe HTML with the match marked, and its page."""

    label: str
    html: str
    url: str
    # Whether the row's preview of the first or the last message shows the same passage.
    is_repeated: bool = False


# The text around the whole search if it occurs, or else around the first hit of its longest term.
# If the normal form of a text may differ in length, positions cannot be used. Then the text is read
# in pieces that overlap by more than a term, and the first piece with the term is taken.
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
        SELECT CASE WHEN is_plain THEN substr(words, greatest(at - {before}, 1), {length})
                    ELSE piece END AS excerpt,
               CASE WHEN is_plain THEN at > {before} + 1 ELSE number > 0 END AS cut_before,
               CASE WHEN is_plain THEN length(words) >= greatest(at - {before}, 1) + {length}
                    ELSE length(words) > number * {step} + {piece} END AS cut_after
        FROM (SELECT {is_plain} AS is_plain OFFSET 0) AS spelling,
        LATERAL (
            SELECT CASE WHEN is_plain THEN
                coalesce(nullif(strpos(lower(words), %s), 0), strpos(lower(words), %s))
            END AS at OFFSET 0
        ) AS place,
        generate_series(0, CASE WHEN is_plain THEN 0 ELSE length(words) / {step} END) AS number,
        LATERAL (
            SELECT CASE WHEN NOT is_plain THEN substr(words, number * {step} + 1, {piece}) END
                AS piece OFFSET 0
        ) AS pieces
        WHERE is_plain OR strpos({normal_piece}, %s) > 0 LIMIT 1
    ) AS around
"""
# Enough to tell whether a message is JSON.
BEGIN = 20
STEP = 8_000
# The overlap has room for a term of 200 letters with each letter spelled as an escape.
PIECE = STEP + 2_500


def snippets(ids: list, text: str, everywhere: bool, query: str) -> dict[uuid.UUID, list[Snippet]]:
    """
    {session id: the first passages with the text}. Some may be missing if time runs out.

    `query` is the list's query string, for the way back from a message to the list.
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
                # reverse() would take a tenth of the list's time for 150 snippets.
                url = (
                    f"{list_url}{session_id}/?{query}&m={row_id}"
                    if name == "message"
                    else payload_url(name, session_id, row_id)
                )
                of_session.append(Snippet(label, html, url))
    return found


def named_by(row: Session, named: Named, text: str, query: str) -> list[Snippet]:
    """The row's ids that the search contains."""
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
    """The URL where this run, task, message or conversation is shown."""
    if kind == "task":
        return reverse("conversations:task", args=[session_id, row_id])
    place = {"run": f"run={row_id}", "message": f"m={row_id}"}.get(kind)
    asked = "&".join(filter(None, [query, place]))
    return f"{reverse('conversations:detail', args=[session_id])}{asked and '?'}{asked}"


def places(everywhere: bool):
    """(kind of page that shows a hit, parameters of HITS) for each place that is searched."""
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
    """A part of a message as people read it. `begin` is the beginning of the message."""
    if excerpt.startswith(begin):
        return readable(excerpt, role)
    return letters(excerpt) if spells_letters(begin, role) else excerpt


def marked_excerpt(excerpt: str, text: str, cut_before: bool, cut_after: bool) -> str:
    """The text around the first hit, with all hits in it marked."""
    start, end = first_hit(excerpt, text)
    first, last = max(start - BEFORE - MARGIN, 0), end + AFTER + MARGIN
    cut_before, cut_after = cut_before or first > 0, cut_after or last < len(excerpt)
    shown, start, end = excerpt[first:last], start - first, end - first
    if masking.is_active():
        shown = masking.cut(shown, len(shown) + (not cut_after), cut_start=cut_before)
        start, end = first_hit(shown, text)
    first, last = max(start - BEFORE, 0), end + AFTER
    line = " ".join(in_plain_words(shown[first:last], text).split())
    before = "…" if (cut_before or first) and not line.startswith(personal_data.CUT) else ""
    return as_plain_text(f"{before}{line}{'…' if last < len(shown) else ''}", text)


def in_plain_words(excerpt: str, text: str) -> str:
    """Remove Markdown's signs, unless the search is for these signs."""
    plain = without_markdown(excerpt)
    if plain == excerpt or len(hits(plain, text)) >= len(hits(excerpt, text)):
        return plain
    return excerpt


def marked_in_previews(row: Session, found: list[Snippet], text: str) -> list[Snippet]:
    """If a preview shows the same words as a snippet, mark the term there, and the repetition."""
    for name in ("first_message", "last_message"):
        words = " ".join((getattr(row, name) or "").split())
        if not any(end <= IN_VIEW for _, end in hits(words, text)):
            continue
        preview = as_plain_text(words, text)
        repeated = [each for each in found if each.html.strip("…") in preview]
        if repeated:
            setattr(row, name, preview)
            found = [
                replace(each, is_repeated=each.is_repeated or each in repeated) for each in found
            ]
    return found


def longest(words: tuple[Term, ...]) -> Term:
    """The longest term says most, so excerpts show its first hit."""
    return max(words, key=len)


def first_hit(excerpt: str, text: str) -> tuple[int, int]:
    """
    (start, end) of the first hit of the whole search, else of its longest word, else of any word;
    (0, 0) if there is none.
    """
    words = terms(text)
    for wanted in ([whole(text)], [longest(words)], words):
        if found := spans(excerpt, wanted):
            return found[0]
    return 0, 0


def read(sql: str, values: list) -> list[tuple]:
    """The rows, or none if that takes too long: a page without them is better than no page."""
    alias = Session.objects.db
    with timeouts_ignored(), time_limit(alias, SECONDS), connections[alias].cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()
    return []
