"""Reads the problems of the last two weeks, grouped by PostgreSQL."""

from datetime import datetime, timedelta

from django.db import connections
from django.db.models import Exists, F, Func, OuterRef, QuerySet, TextField
from django.db.models.expressions import RawSQL

from backoffice.databases.errors import timeouts_ignored
from backoffice.databases.time_limits import TimeBudget, time_limit
from privacy import masking

from ..indexes import state
from ..models import Agent, Session
from ..problems import kinds
from ..problems.kinds import Kind
from ..problems.messages import LENGTH, marked, message, sentence
from ..selection.look_back import widen

DAYS = 14
GROUPS = 100
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
    asked: list[Kind], sessions: QuerySet | None, starts, seconds: float
) -> list | None:
    """The rows of GROUPED; None if that takes too long."""
    sources = []
    for kind in asked:
        rows = failures_of(kind, starts[0])
        if sessions is not None:
            rows = rows.filter(session_id__in=sessions.values("pk"))
        rows_sql, params = compiled(rows.order_by("-created_at")[:NEWEST])
        sources.append((kind, WITH_SESSION.format(rows=rows_sql), params))
    with timeouts_ignored(), time_limit(Session.objects.db, seconds):
        return grouped(sources, starts)
    return None


def look_back(
    asked: list[Kind], sessions: QuerySet, starts, budget: TimeBudget
) -> tuple[list, datetime | None]:
    """
    (the rows of GROUPED, how far back it looked if that was not far enough).

    Each look starts over with the newest conversation: what was read before is cached, and the
    database groups all of it at once.
    """
    newest = sessions.order_by("-updated_at").values_list("updated_at", flat=True)

    def look(number: int):
        ends = list(newest[number - 1 : number])
        oldest = max([starts[0] - SLACK, *ends])
        sources = [
            walked(kind, sessions.filter(updated_at__gte=oldest), starts[0]) for kind in asked
        ]
        return grouped(sources, starts), oldest if oldest in ends else None

    found: tuple[list, datetime | None] = [], None
    for found in widen(look, sessions.db, budget, first=FIRST_LOOK, again=True):
        if found[1] is None:
            break
    return found


def walked(kind: Kind, sessions: QuerySet, since: datetime) -> Source:
    sessions_sql, params = compiled(sessions.values("id", "agent_id"))
    rows_sql, row_params = compiled(
        failures_of(kind, since).filter(session_id=RawSQL("session.id", []))
    )
    sql = OF_SESSIONS.format(sessions=sessions_sql, rows=rows_sql, newest=NEWEST)
    return kind, sql, [*params, *row_params]


def failures_of(kind: Kind, since: datetime) -> QuerySet:
    """session_id, created_at and the columns of the words of each problem."""
    rows = kind.rows().filter(created_at__gte=since)
    if not kind.words:
        # A run with a problem that has words counts as that problem only.
        for reason in kinds.with_words():
            reasons = reason.rows().filter(session_id=OuterRef("session_id"), run_id=OuterRef("pk"))
            rows = rows.filter(~Exists(reasons))
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


# A session has one agent, so counts per agent add up. The rows without words say how many problems
# each kind has and how far back they go. OFFSET 0: each text is read, and taken apart, once.
GROUPED = """
    WITH failures AS MATERIALIZED (
        SELECT kind, who, {words} AS words, id, {is_cut} AS is_cut, session_id, created_at, agent_id
        FROM (SELECT *, {marked} AS marked FROM ({failures} OFFSET 0) AS failure OFFSET 0)
            AS failure
    ),
    by_agent AS (
        SELECT kind, who, words, agent_id, count(*) AS number,
               count(DISTINCT session_id) AS conversations,
               min(created_at) AS first, max(created_at) AS last,
               min(id) AS id, bool_or(is_cut) AS is_cut, {days}
        FROM (SELECT *, width_bucket(created_at, %s::timestamptz[]) AS day FROM failures) AS dated
        GROUP BY kind, who, words, agent_id
    )
    (SELECT kind, who, words, sum(number)::int AS number, sum(conversations)::int,
            min(first), max(last) AS last, count(*)::int,
            (array_agg(agent_id ORDER BY number DESC, agent_id))[:{agents}], ARRAY[{sums}]::int[],
            (count(*) OVER ())::int, min(id), bool_or(is_cut)
     FROM by_agent GROUP BY kind, who, words
     ORDER BY number DESC, last DESC, kind, who, words LIMIT {groups})
    UNION ALL
    (SELECT kind, NULL, NULL, count(*), 0, min(created_at), max(created_at), 0, NULL, NULL, 0, NULL,
            false
     FROM failures GROUP BY kind)
"""

FAILURES = """
    (SELECT '{kind}' AS kind, {who} AS who, {said} AS said, {id}::text AS id,
            failure.session_id, failure.created_at, session.agent_id
     FROM {source})
"""


def grouped(sources: list[Source], starts: list[datetime]) -> list[tuple]:
    """The rows of GROUPED."""
    each = (
        FAILURES.format(kind=kind.name, source=source, **told(kind)) for kind, source, _ in sources
    )
    numbers = range(1, DAYS + 1)
    is_cut = f"coalesce(length({sentence('marked')}) >= {LENGTH}, false)"
    sql = GROUPED.format(
        failures=" UNION ALL ".join(each),
        marked=marked("said").replace("%", "%%"),
        words=message("marked").replace("%", "%%"),
        is_cut=is_cut.replace("%", "%%") if masking.is_active() else "false",
        days=", ".join(f"count(*) FILTER (WHERE day = {n}) AS day_{n}" for n in numbers),
        sums=", ".join(f"sum(day_{n})" for n in numbers),
        agents=AGENTS,
        groups=GROUPS,
    )
    params = [param for _, _, params in sources for param in params]
    with connections[Session.objects.db].cursor() as cursor:
        cursor.execute(sql, [*params, starts])
        return cursor.fetchall()


FIRST_SEEN = """
    SELECT who, words, ({first}) FROM unnest(%s::text[], %s::text[]) AS wanted (who, words)
"""


def first_seen(rows: list[tuple], agent: Agent | None) -> dict[tuple[str, str, str], datetime]:
    """{(kind, who, words): when it was first seen}, as far as our indexes find it in time."""
    alias = Session.objects.db
    found = {}
    for kind in kinds.with_words():
        wanted = [tuple(map(masking.raw, row[1:3])) for row in rows if row[0] == kind.name]
        if not wanted or not state.is_ready(kind.message_index_name):
            continue
        same = kind.rows().annotate(who=kind.words.as_name(), words=kind.words.as_message())
        same = same.filter(who=RawSQL("wanted.who", []), words=RawSQL("wanted.words", []))
        if agent:
            same = same.filter(session_id__in=Session.objects.filter(agent=agent).values("pk"))
        first, params = compiled(same.order_by("created_at").values("created_at")[:1])
        with (
            timeouts_ignored(),
            time_limit(alias, FIRST_SEEN_SECONDS),
            connections[alias].cursor() as cursor,
        ):
            columns = map(list, zip(*wanted, strict=True))
            cursor.execute(FIRST_SEEN.format(first=first), [*params, *columns])
            for who, words, moment in cursor:
                if moment:
                    found[kind.name, masking.raw(who), masking.raw(words)] = moment
    return found
