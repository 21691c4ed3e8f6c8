"""
Finds which conversations have changed since the last pass.

The runtime marks neither what it changes nor what it deletes. What is recent is found by times,
with an overlap for what is committed late: sessions by their last activity, messages and model
calls by when they were made. Runs that may still end are remembered by their ids, and conversations
in which something happened lately are read again until nothing has happened for a while. The rest
(deleted, imported and late rows) is found by comparing all conversations to their facts, newest
first, some at a time.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db import connections
from django.db.models import Min

from conversations.agentdb import revision
from conversations.indexes import state
from conversations.models import Agent

from ..models import Activity, Cell, Fact
from ..quarters import DAY, EARLIEST, LATEST, QUARTER, quarter_sql, starts_of
from ..runs import statuses
from .reading import read

# What is committed so late, or written by a clock so wrong, is still found by its time; and so long
# does it take until a conversation in which nothing happens is left alone.
OVERLAP = QUARTER
# What is found by times is found for so long a time at once.
WINDOW = DAY
# How many conversations are compared to their facts at once.
WALKED = 1_000
# Runs without an end that are looked after: those of the newest conversations.
UNFINISHED = 5_000

SESSIONS = "SELECT id FROM sessions WHERE updated_at >= %(since)s AND updated_at < %(until)s"
BEGUN_BEFORE = f"{SESSIONS} AND created_at < %(before)s"
MESSAGES = """
    SELECT DISTINCT session_id FROM chat_messages
    WHERE created_at >= %(since)s AND created_at < %(until)s
"""
CALLS = """
    SELECT DISTINCT session_id FROM model_call_stats
    WHERE created_at >= %(since)s AND created_at < %(until)s AND session_id IS NOT NULL
"""
QUARTERS_OF_CALLS = f"""
    SELECT DISTINCT {quarter_sql("created_at")} FROM model_call_stats
    WHERE created_at >= %(since)s AND created_at < %(until)s
"""  # noqa: S608
FIRSTS = [
    f"SELECT min({column}) FROM {table} WHERE {column} >= %(since)s"  # noqa: S608
    for table, column in (("model_call_stats", "created_at"), ("sessions", "updated_at"))
]
# By revision 0002, the runtime has none: without it, each pass would read all messages.
IS_INDEXED = """
    SELECT EXISTS (
        SELECT FROM pg_index
        JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[1]
        WHERE indrelid = to_regclass('chat_messages') AND indisvalid AND attname = 'created_at'
    )
"""
# From the first number on, a conversation's rows; each is counted by an index alone.
PLACES = """
    SELECT id, updated_at, {counts} FROM sessions
    WHERE updated_at >= '0001-01-01' {after}
    ORDER BY updated_at DESC, id DESC LIMIT %(limit)s
"""
COUNT = "(SELECT count(*) FROM {table} WHERE {table}.session_id = sessions.id)"
AFTER = "AND updated_at <= %(updated_at)s AND (updated_at, id) < (%(updated_at)s, %(id)s)"


@dataclass(frozen=True)
class Place:
    """Of a conversation among all of them, by its last activity."""

    updated_at: datetime
    id: uuid.UUID


def now() -> datetime:
    """By the clock of the agent database."""
    [[moment]] = read("SELECT now()")
    return moment


def windows(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    while since < until:
        yield since, min(since + WINDOW, until)
        since += WINDOW


def known_active(since: datetime, until: datetime) -> set[uuid.UUID]:
    """Conversations whose facts say that something last happened in this time."""
    facts = Fact.unlimited.filter(last_activity__gte=since, last_activity__lt=until)
    return set(facts.values_list("pk", flat=True))


def recent(since: datetime, until: datetime, limit: int | None = None) -> set[uuid.UUID]:
    """
    Conversations of which a row says that it happened in this time; with a `limit`, at most so many
    by each kind of row.
    """
    found: set[uuid.UUID] = set()
    statements = [SESSIONS]
    if revision.has_model_call_links():
        statements.append(CALLS)
    values = {"since": since, "until": until}
    if state.is_ready("desk_chat_messages_created_at"):
        statements.append(MESSAGES)
    elif has_messages_by_agent():
        statements.append(f"{MESSAGES} AND agent_id = ANY(%(agents)s)")
        values["agents"] = list(Agent.objects.values_list("pk", flat=True))
    for statement in statements:
        if limit is not None:
            statement += f" LIMIT {limit}"
        found |= {session_id for (session_id,) in read(statement, **values)}
    return found


def begun_before(before: datetime, since: datetime, until: datetime) -> set[uuid.UUID]:
    """Conversations last active in this time."""
    found = read(BEGUN_BEFORE, before=before, since=since, until=until)
    return {session_id for (session_id,) in found}


def finds_messages() -> bool:
    """Whether messages are found by their times."""
    return state.is_ready("desk_chat_messages_created_at") or has_messages_by_agent()


def has_messages_by_agent() -> bool:
    [[is_indexed]] = read(IS_INDEXED)
    return is_indexed


def unfinished() -> list[uuid.UUID]:
    """Conversations with a run whose status is no longer what the fact says."""
    facts = Fact.unlimited.exclude(unfinished={}).order_by("-last_activity")
    known = dict(facts.values_list("pk", "unfinished")[:UNFINISHED])
    runs = [uuid.UUID(run_id) for of_session in known.values() for run_id in of_session]
    now = {str(run_id): status for run_id, status in statuses(runs).items()}
    return [
        session_id
        for session_id, of_session in known.items()
        if any(now.get(run_id) != status for run_id, status in of_session.items())
    ]


def quarters_of_calls(since: datetime, until: datetime) -> set[datetime]:
    """Model calls count without their conversation, too."""
    found = read(QUARTERS_OF_CALLS, since=since, until=until)
    return {starts_of(quarter) for (quarter,) in found if quarter is not None}


def quarters_of_cells(since: datetime, until: datetime) -> set[datetime]:
    """Those with which cells of quarters or days begin."""
    rows = Cell.unlimited.filter(starts__gte=since, starts__lt=until)
    return set(rows.values_list("starts", flat=True).distinct())


def active(since: datetime, until: datetime) -> set[uuid.UUID]:
    """Conversations that are known to have been active in this time."""
    rows = Activity.unlimited.filter(starts__gt=since - QUARTER, starts__lt=until)
    return set(rows.values_list("session_id", flat=True))


def beginning() -> datetime:
    """When the first thing that is counted happened, or earlier."""
    firsts = [moment for statement in FIRSTS for [moment] in read(statement, since=EARLIEST)]
    for rows in (Activity, Cell):
        firsts += rows.unlimited.aggregate(Min("starts")).values()
    return min((moment for moment in firsts if moment), default=LATEST)


def different(after: Place | None) -> tuple[set[uuid.UUID], Place | None]:
    """
    Compares the next conversations `after` a place to their facts: those that differ, and where to
    go on; None at the end.
    """
    rows = places(after)
    last = Place(*reversed(rows[-1][:2])) if len(rows) == WALKED else None
    found = {pk: (updated_at, count) for pk, updated_at, count in rows}
    known = {pk: (updated_at, count) for pk, updated_at, count in facts(after, last)}
    changed = {pk for pk in found.keys() | known.keys() if found.get(pk) != known.get(pk)}
    return changed, last


def places(after: Place | None) -> list[tuple]:
    tables = ["runs", "chat_messages", "tasks"]
    if revision.has_model_call_links():
        tables.append("model_call_stats")
    counts = " + ".join(COUNT.format(table=table) for table in tables)
    values = {"updated_at": after.updated_at, "id": after.id} if after else {}
    statement = PLACES.format(counts=counts, after=AFTER if after else "")
    return read(statement, limit=WALKED, **values)


def facts(after: Place | None, last: Place | None) -> list[tuple]:
    """Of the conversations between these places, the last one included."""
    where, values = ["true"], {}
    if after:
        where.append("(updated_at, session_id) < (%(after_at)s, %(after_id)s)")
        values |= {"after_at": after.updated_at, "after_id": after.id}
    if last:
        where.append("(updated_at, session_id) >= (%(last_at)s, %(last_id)s)")
        values |= {"last_at": last.updated_at, "last_id": last.id}
    with connections["default"].cursor() as cursor:
        statement = "SELECT session_id, updated_at, rows FROM overview_fact WHERE "
        cursor.execute(statement + " AND ".join(where), values)
        return cursor.fetchall()
