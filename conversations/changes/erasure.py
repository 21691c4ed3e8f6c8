"""
Erasing conversations: their rows go, their model calls keep nothing but numbers.

The runtime's foreign keys delete runs, tasks and messages with their session. Model calls have
none: like the runtime's own purge, we blank their payloads and keep their token counts.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connections

from ..agentdb import revision
from .locking import OF_SESSIONS

OF_CALLS = OF_SESSIONS["model_call_stats"]
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
    """How many rows go, by kind, and how many model calls stay without their payloads."""

    going: dict[str, int]
    # None before 0005, when a model call does not name its conversation.
    model_calls: int | None
    ids: list[uuid.UUID]

    def as_details(self) -> dict:
        return {**self.going, "model_calls_blanked": self.model_calls}


def count(ids: list[uuid.UUID], using: str) -> Counts:
    """What erasing these conversations would affect now, in the database `using`."""
    with connections[using].cursor() as cursor:

        def number(statement):
            return cursor.execute(statement, {"ids": ids}).fetchone()[0]

        going = {name: number(statement) for name, statement in GOING.items()}
        return Counts(
            going,
            number(CALLS.format(of_calls=OF_CALLS)) if revision.has_model_call_links() else None,
            ids,
        )


def erase(ids: list[uuid.UUID], before: datetime | None = None) -> Counts:
    """
    Needs a transaction on agents_write. Skips ids that are unknown or gone by now, and
    conversations last active at or after `before`.
    """
    using = "agents_write"
    with connections[using].cursor() as cursor:
        cursor.execute(LOCKED, {"ids": ids, "before": before})
        ids = [session_id for (session_id,) in cursor.fetchall()]
        counts = count(ids, using)
        if counts.model_calls:
            cursor.execute(BLANKED.format(of_calls=OF_CALLS), {"ids": ids})
        cursor.execute(DELETED, {"ids": ids})
    return counts


# Model calls that the runtime wrote while their conversation was erased, or afterwards.

LATE = """
    model_call_stats.session_id = ANY(%(ids)s)
    AND (request_data IS NOT NULL OR response_data IS NOT NULL)
    AND NOT EXISTS (SELECT FROM sessions WHERE sessions.id = model_call_stats.session_id)
"""
LATE_COUNTED = f"SELECT session_id, count(*) FROM model_call_stats WHERE {LATE} GROUP BY 1"  # noqa: S608
LATE_BLANKED = f"UPDATE model_call_stats SET request_data = NULL, response_data = NULL WHERE {LATE}"  # noqa: S608
# By the runtime's index on created_at. A run may last, and a session be committed after its calls.
STEP = """
    SELECT created_at, id, session_id, request_data IS NOT NULL OR response_data IS NOT NULL
    FROM model_call_stats
    WHERE created_at >= %(after)s AND (created_at, id) > (%(after)s, %(id)s)
    AND created_at < now() - interval '1 hour'
    ORDER BY created_at, id LIMIT %(limit)s
"""
STEP_ROWS = 5_000


def sessions_of_old_calls(using: str) -> Iterator[list[uuid.UUID]]:
    """Which conversations model calls were for that still hold a payload, some at a time."""
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
    """{conversation: how many of its model calls hold a payload} of those that are erased."""
    with connections[using].cursor() as cursor:
        return dict(cursor.execute(LATE_COUNTED, {"ids": ids}).fetchall())


def blank_late_calls(ids: list[uuid.UUID]) -> int:
    """Needs a transaction on agents_write. Conversations that still exist are left alone."""
    with connections["agents_write"].cursor() as cursor:
        return cursor.execute(LATE_BLANKED, {"ids": ids}).rowcount
