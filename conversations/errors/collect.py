"""Reads the problems of a period, grouped by PostgreSQL."""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connections
from django.db.models import F, Func, QuerySet, TextField
from django.db.models.expressions import RawSQL

from backoffice.databases.errors import timeouts_ignored
from backoffice.databases.time_limits import TimeBudget, time_limit
from privacy import masking

from ..indexes import state
from ..models import Agent, Session
from ..problems import kinds
from ..problems.kinds import Kind
from ..problems.messages import ANY_WHO, LENGTH, marked, message, sentence
from ..selection.conditions import Period
from ..selection.look_back import widen
from .periods import Shown

GROUPS = 100
# To sort by what is known only of groups that were read, this many are read.
CANDIDATES = 1_000
ORDERS = {"count": "number DESC", "rising": "number DESC", "new": "first DESC", "last": "last DESC"}
# Models that a group opens into.
NAMES = 20
AGENTS = 3
# Problems of each kind. To normalise and group the words of this many of three kinds takes a
# second if all are long and different.
NEWEST = 10_000

# The share of the time that the indexes may take before it looks back without them.
INDEXED_SHARE = 0.7
FIRST_SEEN_SECONDS = 1
# Conversations in the first look.
FIRST_LOOK = 200
# A conversation's updated_at may be a little older than its last rows.
SLACK = timedelta(days=1)

Sql = tuple[str, list]
# A kind, the SQL after FROM with a `failure` and its `session`, and its parameters.
Source = tuple[Kind, str, list]


class Row(NamedTuple):
    """
    Of GROUPED: a group; the number of one of the names in it, with how many there are as `total`;
    or what was read of a kind, with the number that was read as `total`.
    """

    level: str
    kind: str
    who: str | None
    words: str | None
    number: int
    conversations: int
    before: int
    first: datetime
    last: datetime
    agents_count: int
    agents: list
    bars: list[int]
    total: int
    id: str | None
    is_cut: bool


# OFFSET 0: looks up each session by primary key; the planner expects more problems than there
# are, and read all sessions, a million of them in 0.2 s.
WITH_SESSION = """
    ({rows}) AS failure,
    LATERAL (SELECT agent_id FROM sessions WHERE id = failure.session_id OFFSET 0) AS session
"""
# OFFSET 0: problems of one session after the other, never a hash of whole tables.
OF_SESSIONS = """
    ({sessions}) AS session, LATERAL ({rows} OFFSET 0) AS failure
    ORDER BY failure.created_at DESC LIMIT {newest}
"""


def from_indexes(
    asked: list[Kind], sessions: QuerySet | None, shown: Shown, order: str, seconds: float
) -> list[Row] | None:
    """
    The rows of GROUPED; None if that takes too long. Of problems with words, those of the period
    before are not read: earlier() counts them in an index.
    """
    sources = []
    for kind in asked:
        rows = failures_of(kind, shown.since if kind.words else shown.before.since, shown.until)
        if sessions is not None:
            rows = rows.filter(session_id__in=sessions.values("pk"))
        rows_sql, params = compiled(rows.order_by("-created_at")[:NEWEST])
        sources.append((kind, WITH_SESSION.format(rows=rows_sql), params))
    with timeouts_ignored(), time_limit(Session.objects.db, seconds):
        return grouped(sources, shown, order)
    return None


def look_back(
    asked: list[Kind], sessions: QuerySet, shown: Shown, order: str, budget: TimeBudget
) -> tuple[list[Row], datetime | None]:
    """
    (the rows of GROUPED, how far back it looked if that was not to the period before).

    Each look starts over with the newest conversation: what was read before is cached, and the
    database groups all of it at once.
    """
    newest = sessions.order_by("-updated_at").values_list("updated_at", flat=True)

    def look(number: int):
        ends = list(newest[number - 1 : number])
        oldest = max([shown.before.since - SLACK, *ends])
        sources = [walked(kind, sessions.filter(updated_at__gte=oldest), shown) for kind in asked]
        return grouped(sources, shown, order), oldest if oldest in ends else None

    found: tuple[list[Row], datetime | None] = [], None
    for found in widen(look, sessions.db, budget, first=FIRST_LOOK, again=True):
        if found[1] is None:
            break
    return found


def walked(kind: Kind, sessions: QuerySet, shown: Shown) -> Source:
    sessions_sql, params = compiled(sessions.values("id", "agent_id"))
    rows_sql, row_params = compiled(
        failures_of(kind, shown.before.since, shown.until).filter(
            session_id=RawSQL("session.id", [])
        )
    )
    sql = OF_SESSIONS.format(sessions=sessions_sql, rows=rows_sql, newest=NEWEST)
    return kind, sql, [*params, *row_params]


def failures_of(kind: Kind, since: datetime, until: datetime) -> QuerySet:
    """session_id, created_at and the columns of the words of each problem."""
    rows = kind.rows() if kind.words else kind.rows_without_reason()
    rows = rows.filter(created_at__gte=since, created_at__lt=until)
    if not kind.words:
        return rows.order_by().values("session_id", "created_at")
    parts = {f"its_{name}": as_it_is(name) for name in kind.words.columns}
    if masking.is_active():
        parts["its_id"] = as_it_is("id")
    return rows.order_by().annotate(**parts).values("session_id", "created_at", *parts)


def as_it_is(name: str) -> Func:
    """A bare column: Django would cast jsonb to text."""
    return Func(F(name), template="%(expressions)s", output_field=TextField())


def told(kind: Kind) -> dict[str, str]:
    """SQL of a `failure`: what failed, what it said and, for masking, its id."""
    if not kind.words:
        return {"who": "NULL", "said": "NULL", "id": "NULL"}
    parts = {name: f"failure.its_{name}" for name in kind.words.columns}
    found = {"who": kind.words.name_sql(**parts), "said": kind.words.said_sql(**parts)}
    return found | {"id": "failure.its_id" if masking.is_active() else "NULL"}


def compiled(queryset: QuerySet) -> Sql:
    sql, params = queryset.query.get_compiler(queryset.db).as_sql()
    return sql, list(params)


# A session has one agent, so counts per agent add up. Of a kind that counts what failed with the
# same words together, whatever it was, `names` has each of them. The rows without words say how
# many problems each kind has and how far back they go. OFFSET 0: each text is read, and taken
# apart, once.
GROUPED = """
    WITH failures AS MATERIALIZED (
        SELECT kind, who, {words} AS words, id, {is_cut} AS is_cut, session_id, created_at,
               agent_id, CASE WHEN kind = ANY(%s) THEN '{any_who}' ELSE who END AS grouped_who,
               width_bucket(created_at, %s::timestamptz[]) - 2 AS bar
        FROM (SELECT *, {marked} AS marked FROM ({failures} OFFSET 0) AS failure OFFSET 0)
            AS failure
    ),
    by_agent AS (
        SELECT kind, grouped_who, words, agent_id, count(*) FILTER (WHERE bar > 0) AS number,
               count(*) FILTER (WHERE bar = -1) AS before,
               count(DISTINCT session_id) FILTER (WHERE bar > 0) AS conversations,
               min(created_at) AS first, max(created_at) FILTER (WHERE bar > 0) AS last,
               min(id) AS id, bool_or(is_cut) AS is_cut, {bars}
        FROM failures GROUP BY kind, grouped_who, words, agent_id
    ),
    groups AS (
        SELECT kind, grouped_who, words, sum(number)::int AS number,
               sum(conversations)::int AS conversations, sum(before)::int AS before,
               min(first) AS first, max(last) AS last,
               count(*) FILTER (WHERE number > 0)::int AS agents_count,
               (array_agg(agent_id ORDER BY number DESC, agent_id)
                FILTER (WHERE number > 0))[:{agents}] AS agents,
               ARRAY[{sums}]::int[] AS bars, (count(*) OVER ())::int AS total,
               min(id) AS id, bool_or(is_cut) AS is_cut
        FROM by_agent GROUP BY kind, grouped_who, words HAVING sum(number) > 0
        ORDER BY {order}, number DESC, last DESC, kind, grouped_who, words LIMIT {groups}
    ),
    names AS (
        SELECT kind, who, words, count(*)::int AS number,
               count(DISTINCT session_id)::int AS conversations, max(created_at) AS last,
               min(id) AS id,
               row_number() OVER (PARTITION BY kind, words ORDER BY count(*) DESC, who) AS place,
               (count(*) OVER whole)::int AS total, sum(count(*)) OVER whole AS whole_number,
               min(min(created_at)) OVER whole AS whole_first,
               max(max(created_at)) OVER whole AS whole_last
        FROM failures WHERE kind = ANY(%s) AND bar > 0 GROUP BY kind, who, words
        WINDOW whole AS (PARTITION BY kind, words)
    )
    SELECT 'group', * FROM groups
    UNION ALL
    (SELECT 'name', kind, who, words, number, conversations, 0, NULL::timestamptz, last, 0,
            NULL::uuid[], NULL::int[], total, id, false
     FROM names WHERE place <= {names}
     ORDER BY whole_{order}, whole_number DESC, whole_last DESC, kind, words
     LIMIT {most_names})
    UNION ALL
    SELECT 'kind', kind, NULL, NULL, count(*) FILTER (WHERE bar > 0), 0, 0, min(created_at), NULL,
           0, NULL, NULL, count(*), NULL, false
    FROM failures GROUP BY kind
"""

FAILURES = """
    (SELECT '{kind}' AS kind, {who} AS who, {said} AS said, {id}::text AS id,
            failure.session_id, failure.created_at, session.agent_id
     FROM {source})
"""


def grouped(sources: list[Source], shown: Shown, order: str) -> list[Row]:
    each = (
        FAILURES.format(kind=kind.name, source=source, **told(kind)) for kind, source, _ in sources
    )
    numbers = range(1, len(shown.starts) + 1)
    is_cut = f"coalesce(length({sentence('marked')}) >= {LENGTH}, false)"
    sql = GROUPED.format(
        failures=" UNION ALL ".join(each),
        marked=marked("said").replace("%", "%%"),
        words=message("marked").replace("%", "%%"),
        is_cut=is_cut.replace("%", "%%") if masking.is_active() else "false",
        any_who=ANY_WHO,
        bars=", ".join(f"count(*) FILTER (WHERE bar = {n}) AS bar_{n}" for n in numbers),
        sums=", ".join(f"sum(bar_{n})" for n in numbers),
        order=ORDERS[order],
        agents=AGENTS,
        groups=CANDIDATES if order in ("rising", "new") else GROUPS,
        names=NAMES,
        most_names=(CANDIDATES if order in ("rising", "new") else GROUPS) * NAMES,
    )
    params = [param for _, _, params in sources for param in params]
    together = [kind.name for kind, _, _ in sources if kind.words and kind.words.any_who]
    bounds = [shown.before.since, shown.before.until, *shown.starts]
    with connections[Session.objects.db].cursor() as cursor:
        cursor.execute(sql, [together, bounds, *params, together])
        return [Row(*row) for row in cursor.fetchall()]


# Calls outlive their conversations. LIMIT 1: one session after the other, never all of them.
EARLIER = """
    SELECT who, words, (SELECT created_at FROM {same} ORDER BY created_at LIMIT 1),
           (SELECT count(*) FROM {same} AND created_at >= %(since)s AND created_at < %(until)s)
    FROM unnest(%(who)s::text[], %(words)s::text[]) AS wanted (who, words)
"""
SAME = """
    {table} WHERE ({condition}) AND {message} = wanted.words{same_who} AND coalesce((
        SELECT true FROM sessions WHERE id = {table}.session_id{of_agent} LIMIT 1), false)
"""


def earlier(rows: list[Row], agent: Agent | None, before: Period) -> dict[tuple, tuple]:
    """
    {(kind, who, words): (when it was first seen, how often in the period before)}, as far as our
    indexes find it in time. They hold the words, which are not taken apart again.
    """
    alias = Session.objects.db
    found = {}
    for kind in kinds.with_words():
        wanted = [tuple(map(masking.raw, row[2:4])) for row in rows if row.kind == kind.name]
        if not wanted or not state.is_ready(kind.message_index_name):
            continue
        same = SAME.format(
            table=kind.table,
            condition=kind.where,
            message=kind.words.message_sql(),
            same_who="" if kind.words.any_who else f" AND {kind.words.name_sql()} = wanted.who",
            of_agent=" AND agent_id = %(agent)s" if agent else "",
        )
        who, words = map(list, zip(*wanted, strict=True))
        values = {"who": who, "words": words, "since": before.since, "until": before.until}
        with (
            timeouts_ignored(),
            time_limit(alias, FIRST_SEEN_SECONDS),
            connections[alias].cursor() as cursor,
        ):
            sql = EARLIER.format(same=same).replace("%", "%%").replace("%%(", "%(")
            cursor.execute(sql, values | ({"agent": agent.pk} if agent else {}))
            for name, text, moment, count in cursor:
                found[kind.name, masking.raw(name), masking.raw(text)] = moment, count
    return found
