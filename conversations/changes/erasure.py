"""
Erasing conversations: their rows go, their model calls keep nothing but numbers.

The runtime's foreign keys take runs, tasks and messages along with their session. Model calls have
none: as the runtime's own purge does, their payloads are blanked and their token counts stay.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime

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
    # None before 0005, where a model call does not say which conversation it was for.
    model_calls: int | None

    def as_details(self) -> dict:
        return {**self.going, "model_calls_blanked": self.model_calls}


def count(ids: list[uuid.UUID], using: str) -> Counts:
    """What erasing these conversations would take, as the database `using` has it now."""
    with connections[using].cursor() as cursor:

        def number(statement):
            return cursor.execute(statement, {"ids": ids}).fetchone()[0]

        going = {name: number(statement) for name, statement in GOING.items()}
        return Counts(
            going,
            number(CALLS.format(of_calls=OF_CALLS)) if revision.has_model_call_links() else None,
        )


def erase(ids: list[uuid.UUID], before: datetime | None = None) -> Counts:
    """
    Needs a transaction on agents_write. Ids that are unknown or gone by now count for nothing, nor
    do conversations that went on at or after `before`.
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
