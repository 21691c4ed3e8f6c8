"""Keeps the runtime from writing to conversations during a change; tells if it may still write."""

import uuid
from datetime import timedelta

from django.db import connections
from django.db.models import Q
from django.db.models.functions import Now

from backoffice.databases.time_limits import TimeBudget, time_limit

from ..agentdb import revision
from ..agentdb.conventions import INTERRUPTED_AFTER
from ..models import ChatMessage, ModelCall, Run, Task

# How long a page waits for the runtime's transactions, in all.
LOCK_SECONDS = 3
# Time limit of a page's change once its conversations are locked.
CHANGE_SECONDS = 30
# A model call is written when it has ended, which may be after its run.
LATE = timedelta(minutes=1)

# Which rows belong to the sessions; all use the runtime's indexes.
OF_RUNS = "ARRAY(SELECT id FROM runs WHERE session_id = ANY(%(ids)s))"
OF_SESSIONS = {
    "chat_messages": "session_id = ANY(%(ids)s)",
    "runs": "session_id = ANY(%(ids)s)",
    "tasks": "session_id = ANY(%(ids)s)",
    "model_call_stats": f"session_id = ANY(%(ids)s) OR run_id = ANY({OF_RUNS})",
}
# FOR UPDATE: a weaker lock of the session does not wait for a message that is being inserted.
LOCKED = "SELECT id FROM {} WHERE {} ORDER BY id FOR UPDATE"


def lock(ids: list[uuid.UUID]):
    """
    Hold all rows of these conversations until the transaction on agents_write ends: nothing is
    added to them meanwhile but model calls, which have no foreign key. Raises OperationalError
    after LOCK_SECONDS; of many conversations only waiting counts, since reading them takes time.
    """
    seconds = LOCK_SECONDS if len(ids) == 1 else CHANGE_SECONDS
    with (
        time_limit("agents_write", TimeBudget(seconds)),
        connections["agents_write"].cursor() as cursor,
    ):
        cursor.execute(f"SET LOCAL lock_timeout = {int(LOCK_SECONDS * 1000)}")
        cursor.execute(LOCKED.format("sessions", "id = ANY(%(ids)s)"), {"ids": ids})
        for table, condition in OF_SESSIONS.items():
            if table != "model_call_stats" or revision.has_model_call_links():
                cursor.execute(LOCKED.format(table, condition), {"ids": ids})


def may_be_written(ids: list[uuid.UUID], using: str) -> bool:
    """Whether the runtime may still write to one of these conversations, from what it remembers."""
    models = [Run, Task, ChatMessage]
    if revision.has_model_call_links():
        models.append(ModelCall)

    def written_within(age: timedelta) -> bool:
        recent = Q(created_at__gt=Now() - age) | Q(updated_at__gt=Now() - age)
        rows = (model.objects.using(using).filter(session_id__in=ids) for model in models)
        return any(each.filter(recent).exists() for each in rows)

    unfinished = Run.objects.using(using).filter(session_id__in=ids, output_data__has_value=False)
    if revision.has_run_durations():
        unfinished = unfinished.filter(duration_seconds__isnull=True)
    return written_within(LATE) or (unfinished.exists() and written_within(INTERRUPTED_AFTER))
