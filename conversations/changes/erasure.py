"""
Erases conversations: deletes their rows, and keeps only the numbers of their model calls.

The runtime's foreign keys delete runs, tasks and messages together with their session. Model calls
have none: like the runtime's own purge, we blank their payloads and keep their token counts.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connections

from ..agentdb import revision
from .locking import lock_rows, of_sessions
from .telling import tell

BLANKED = """
    UPDATE model_call_stats SET request_data = NULL, response_data = NULL
    WHERE ({of_calls}) AND (request_data IS NOT NULL OR response_data IS NOT NULL)
"""
LOCKED = """
    SELECT id FROM sessions
    WHERE id = ANY(%(ids)s) AND updated_at < coalesce(%(before)s, 'infinity'::timestamptz)
    ORDER BY id FOR UPDATE
"""
DELETED = "DELETE FROM sessions WHERE id = ANY(%(ids)s)"
GOING = {
    "conversations": "SELECT count(*) FROM sessions WHERE id = ANY(%(ids)s)",
    "messages": "SELECT count(*) FROM chat_messages WHERE session_id = ANY(%(ids)s)",
    "runs": "SELECT count(*) FROM runs WHERE session_id = ANY(%(ids)s)",
    "tasks": "SELECT count(*) FROM tasks WHERE session_id = ANY(%(ids)s)",
}
CALLS = "SELECT count(*) FROM model_call_stats WHERE {of_calls}"


@dataclass(frozen=True)
class Counts:
    """How many rows are deleted, by kind, and how many model calls lose their payloads."""

    going: dict[str, int]
    # None before revision 0005, in which model calls do not name their conversation.
    model_calls: int | None
    ids: list[uuid.UUID]

    def as_details(self) -> dict:
        return {**self.going, "model_calls_blanked": self.model_calls}


def count(ids: list[uuid.UUID], using: str) -> Counts:
    """What erasing these conversations would affect at the moment, in the database `using`."""
    with connections[using].cursor() as cursor:

        def number(statement):
            return cursor.execute(statement, {"ids": ids}).fetchone()[0]

        going = {name: number(statement) for name, statement in GOING.items()}
        model_calls = None
        if revision.has_model_call_links():
            model_calls = number(CALLS.format(of_calls=of_sessions("model_call_stats")))
        return Counts(going, model_calls, ids)


def erase(ids: list[uuid.UUID], before: datetime | None = None) -> Counts:
    """
    Needs a transaction on agents_write. Skips ids that do not exist (any more), and conversations
    whose last activity was at or after `before`.
    """
    using = "agents_write"
    with connections[using].cursor() as cursor:
        ids = [session_id for (session_id,) in lock_rows(cursor, LOCKED, ids, before=before)]
        counts = count(ids, using)
        if counts.model_calls:
            of_calls = of_sessions("model_call_stats")
            cursor.execute(BLANKED.format(of_calls=of_calls), {"ids": ids})
        cursor.execute(DELETED, {"ids": ids})
    tell(ids, erased=True)
    return counts


# Model calls that the runtime wrote while their conversation was being erased, or later.

LATE = """
    model_call_stats.session_id = ANY(%(ids)s)
    AND (request_data IS NOT NULL OR response_data IS NOT NULL)
    AND NOT EXISTS (SELECT FROM sessions WHERE sessions.id = model_call_stats.session_id)
"""
LATE_COUNTED = f"SELECT session_id, count(*) FROM model_call_stats WHERE {LATE} GROUP BY 1"  # noqa: S608
LATE_BLANKED = f"UPDATE model_call_stats SET request_data = NULL, response_data = NULL WHERE {LATE}"  # noqa: S608
# Follows the runtime's index on created_at. Recent calls are skipped: a run may take long, and its
# session may be committed after its calls.
STEP = """
    SELECT created_at, id, session_id, request_data IS NOT NULL OR response_data IS NOT NULL
    FROM model_call_stats
    WHERE created_at >= %(after)s AND (created_at, id) > (%(after)s, %(id)s)
    AND created_at < now() - interval '1 hour'
    ORDER BY created_at, id LIMIT %(limit)s
"""
STEP_ROWS = 5_000


def sessions_of_old_calls(using: str) -> Iterator[list[uuid.UUID]]:
    """The conversations of old model calls that still hold a payload, in batches."""
    after, last_id = datetime.min.replace(tzinfo=UTC), uuid.UUID(int=0)
    while True:
        with connections[using].cursor() as cursor:
            values = {"after": after, "id": last_id, "limit": STEP_ROWS}
            rows = cursor.execute(STEP, values).fetchall()
        if not rows:
            return
        after, last_id, *_ = rows[-1]
        if ids := {session_id for _, _, session_id, said in rows if said and session_id}:
            yield list(ids)


def late_calls(ids: list[uuid.UUID], using: str) -> dict[uuid.UUID, int]:
    """{conversation: number of its model calls with a payload}, for erased conversations only."""
    with connections[using].cursor() as cursor:
        return dict(cursor.execute(LATE_COUNTED, {"ids": ids}).fetchall())


def blank_late_calls(ids: list[uuid.UUID]) -> int:
    """Needs a transaction on agents_write. Skips conversations that still exist."""
    with connections["agents_write"].cursor() as cursor:
        return cursor.execute(LATE_BLANKED, {"ids": ids}).rowcount
