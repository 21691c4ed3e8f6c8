"""Reads the problems of a period and lets PostgreSQL group them."""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connections
from django.db.models import F, Func, QuerySet, TextField
from django.db.models.expressions import RawSQL

from backoffice.databases.errors import timeouts_ignored
from backoffice.databases.time_limits import TimeBudget, time_limit
from privacy import masking

from ..agentdb import revision
from ..indexes import state
from ..models import Agent, Session
from ..problems import kinds
from ..problems.kinds import Kind
from ..problems.messages import ANY_WHO, LENGTH, marked, message, sentence
from ..selection.conditions import Period
from ..selection.look_back import widen
from .periods import Shown

GROUPS = 100
# Some orders depend on facts that are only known for groups that were read, so read this many.
CANDIDATES = 1_000
ORDERS = {"count": "number DESC", "rising": "number DESC", "new": "first DESC", "last": "last DESC"}
# How many names (such as models) a group opens into.
NAMES = 20
AGENTS = 3
# How many problems of each kind are read. If all texts are long and different, normalising and
# grouping this many of three kinds takes a second.
NEWEST = 10_000

# The share of the time in which the indexes must answer; then we look back without them.
INDEXED_SHARE = 0.7
FIRST_SEEN_SECONDS = 1
# How many conversations the first pass reads.
FIRST_LOOK = 200
# A conversation's updated_at may be slightly older than its last rows.
SLACK = timedelta(days=1)

Sql = tuple[str, list]
# A kind, SQL to follow FROM that defines `failure` and its `session`, and the SQL's parameters.
Source = tuple[Kind, str, list]


class Row(NamedTuple):
    """
    A row of GROUPED. level "group": a group. "name": what failed, within a group that counts
    several names together; `total` is how many names there are. "kind": a summary of the rows read
    for one kind; `total` is how many were read.
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


# OFFSET 0 makes PostgreSQL look up each session by primary key. The planner expects more problems
# than there are, and used to read all sessions, a million of them in 0.2 s. The LIMIT is outside,
# since model calls outlive their conversations: those must not take the place of others.
WITH_SESSION = """
    ({rows}) AS failure,
    LATERAL (SELECT agent_id FROM sessions WHERE id = failure.session_id OFFSET 0) AS session
    ORDER BY failure.created_at DESC LIMIT {newest}
"""
# Citus refuses OFFSET in such a subquery.
WITH_DISTRIBUTED_SESSION = """
    ({rows}) AS failure
    JOIN (SELECT id AS pk, agent_id FROM sessions) AS session ON session.pk = failure.session_id
    ORDER BY failure.created_at DESC LIMIT {newest}
"""
# OFFSET 0 makes it read the problems of one session after another, never a hash of whole tables.
OF_SESSIONS = """
    ({sessions}) AS session, LATERAL ({rows} OFFSET 0) AS failure
    ORDER BY failure.created_at DESC LIMIT {newest}
"""


def from_indexes(
    asked: list[Kind], sessions: QuerySet | None, shown: Shown, order: str, seconds: float
) -> list[Row] | None:
    """
    The rows of GROUPED; None if that takes too long. For problems with error texts, the period
    before is not read: earlier() counts them in an index.
    """
    sources = []
    with_session = WITH_DISTRIBUTED_SESSION if revision.is_distributed() else WITH_SESSION
    for kind in asked:
        rows = failures_of(kind, shown.since if kind.words else shown.before.since, shown.until)
        if sessions is not None:
            rows = rows.filter(session_id__in=sessions.values("pk"))
        rows_sql, params = compiled(rows)
        sources.append((kind, with_session.format(rows=rows_sql, newest=NEWEST), params))
    with timeouts_ignored(), time_limit(Session.objects.db, seconds):
        return grouped(sources, shown, order)
    return None


def look_back(
    asked: list[Kind], sessions: QuerySet, shown: Shown, order: str, budget: TimeBudget
) -> tuple[list[Row], datetime | None]:
    """
    (rows of GROUPED, how far back they go if that is not as far as the period before).

    Each pass starts again with the newest conversation: what earlier passes read is cached, and the
    database has to group everything at once anyway.
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
    """session_id, created_at and the columns of the error text for each problem."""
    rows = kind.rows() if kind.words else kind.rows_without_reason()
    rows = rows.filter(created_at__gte=since, created_at__lt=until)
    if not kind.words:
        return rows.order_by().values("session_id", "created_at")
    parts = {f"its_{name}": as_it_is(name) for name in kind.words.columns}
    if masking.is_active():
        parts["its_id"] = as_it_is("id")
    return rows.order_by().annotate(**parts).values("session_id", "created_at", *parts)


def as_it_is(name: str) -> Func:
    """The plain column: Django would cast jsonb to text."""
    return Func(F(name), template="%(expressions)s", output_field=TextField())


def failure_columns(kind: Kind) -> dict[str, str]:
    """SQL on a `failure`: what failed, its whole error text and, if masking, its id."""
    if not kind.words:
        return {"who": "NULL", "said": "NULL", "id": "NULL"}
    parts = {name: f"failure.its_{name}" for name in kind.words.columns}
    found = {"who": kind.words.name_sql(**parts), "said": kind.words.said_sql(**parts)}
    return found | {"id": "failure.its_id" if masking.is_active() else "NULL"}


def compiled(queryset: QuerySet) -> Sql:
    sql, params = queryset.query.get_compiler(queryset.db).as_sql()
    return sql, list(params)


# A session has one agent, so counts per agent can be added up. Kinds with `any_who` count equal
# texts together, whatever failed; `names` has a row for each thing that failed. The rows at the end
# say how many problems of each kind were read and how far back they go. OFFSET 0 makes PostgreSQL
# read and parse each text only once.
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
        FAILURES.format(kind=kind.name, source=source, **failure_columns(kind))
        for kind, source, _ in sources
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


# Model calls outlive their conversations. LIMIT 1 looks up one session at a time, never all.
EARLIER = """
    SELECT {who}, {words}, (SELECT created_at FROM {same} ORDER BY created_at LIMIT 1),
           (SELECT count(*) FROM {same} AND created_at >= %(since)s AND created_at < %(until)s)
    {wanted}
"""
SAME = """
    {table} WHERE ({condition}) AND {message} = {words}{same_who} AND coalesce((
        SELECT true FROM sessions WHERE id = {table}.session_id{of_agent} LIMIT 1), false)
"""
ALL_AT_ONCE = {
    "who": "wanted.who",
    "words": "wanted.words",
    "wanted": "FROM unnest(%(who)s::text[], %(words)s::text[]) AS wanted (who, words)",
}
# For Citus, which does not run a subquery for each of some values.
ONE_BY_ONE = {"who": "%(who)s::text", "words": "%(words)s::text", "wanted": ""}


def earlier(rows: list[Row], agent: Agent | None, before: Period) -> dict[tuple, tuple]:
    """
    {(kind, who, words): (first seen, number in the period before)}, as far as our indexes give it
    in time. The indexes hold normalised texts, so nothing has to be parsed again.
    """
    alias = Session.objects.db
    found = {}
    for kind in kinds.with_words():
        wanted = [tuple(map(masking.raw, row[2:4])) for row in rows if row.kind == kind.name]
        if not wanted or not state.is_ready(kind.message_index_name):
            continue
        parts = ONE_BY_ONE if revision.is_distributed() else ALL_AT_ONCE
        who_sql = kind.words.name_sql()
        same = SAME.format(
            table=kind.table,
            condition=kind.where,
            message=kind.words.message_sql(),
            words=parts["words"],
            same_who="" if kind.words.any_who else f" AND {who_sql} = {parts['who']}",
            of_agent=" AND agent_id = %(agent)s" if agent else "",
        )
        asked = wanted if revision.is_distributed() else [map(list, zip(*wanted, strict=True))]
        values = {"since": before.since, "until": before.until}
        values |= {"agent": agent.pk} if agent else {}
        with (
            timeouts_ignored(),
            time_limit(alias, TimeBudget(FIRST_SEEN_SECONDS)),
            connections[alias].cursor() as cursor,
        ):
            sql = EARLIER.format(same=same, **parts).replace("%", "%%").replace("%%(", "%(")
            for who, words in asked:
                cursor.execute(sql, {**values, "who": who, "words": words})
                for name, text, moment, count in cursor:
                    found[kind.name, masking.raw(name), masking.raw(text)] = moment, count
    return found
