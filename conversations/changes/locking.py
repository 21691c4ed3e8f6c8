"""Locks conversations against the runtime during a change, and says if it may still write."""

import uuid
from datetime import timedelta

from django.db import connections
from django.db.models import Q
from django.db.models.functions import Now

from backoffice.databases.time_limits import TimeBudget, time_limit

from ..agentdb import revision
from ..agentdb.conventions import INTERRUPTED_AFTER
from ..models import ChatMessage, ModelCall, Run, Task

# How long a page waits for the runtime's transactions, in total.
LOCK_SECONDS = 3
# The time limit for a page's change after its conversations are locked.
CHANGE_SECONDS = 30
# A model call is recorded when it ends, which may be after its run has ended.
LATE = timedelta(minutes=1)

# Conditions for rows that belong to the sessions; all use the runtime's indexes.
OF_RUNS = "ARRAY(SELECT id FROM runs WHERE session_id = ANY(%(ids)s))"
OF_SESSION = "session_id = ANY(%(ids)s)"
OF_CALLS = f"{OF_SESSION} OR run_id = ANY({OF_RUNS})"
TABLES = ("chat_messages", "runs", "tasks", "model_call_stats")
# FOR UPDATE, because weaker session locks do not wait for a message that is being inserted.
LOCKED = "SELECT id FROM {} WHERE {} ORDER BY id FOR UPDATE"


def of_sessions(table: str) -> str:
    """The SQL condition for rows that belong to the sessions `ids`."""
    # Citus locks rows only on one worker. There, each call has a session: its run's.
    is_whole = table != "model_call_stats" or revision.is_distributed()
    return OF_SESSION if is_whole else OF_CALLS


def lock(ids: list[uuid.UUID]):
    """
    Lock all rows of these conversations until the transaction on agents_write ends. Meanwhile,
    nothing but model calls can be added, because these have no foreign key. Raises OperationalError
    after LOCK_SECONDS; for many conversations, only time spent waiting counts.
    """
    seconds = LOCK_SECONDS if len(ids) == 1 else CHANGE_SECONDS
    with (
        time_limit("agents_write", TimeBudget(seconds)),
        connections["agents_write"].cursor() as cursor,
    ):
        cursor.execute(f"SET LOCAL lock_timeout = {int(LOCK_SECONDS * 1000)}")
        lock_rows(cursor, LOCKED.format("sessions", "id = ANY(%(ids)s)"), ids)
        for table in TABLES:
            if table != "model_call_stats" or revision.has_model_call_links():
                lock_rows(cursor, LOCKED.format(table, of_sessions(table)), ids)


def lock_rows(cursor, statement: str, ids: list[uuid.UUID], **values) -> list[tuple]:
    """Run a statement that locks rows of the sessions `ids`, and return them in order."""
    at_once = [[each] for each in sorted(ids)] if revision.is_distributed() else [ids]
    rows = []
    for some in at_once:
        cursor.execute(statement, {"ids": some, **values})
        rows += cursor.fetchall()
    return rows


def may_be_written(ids: list[uuid.UUID], using: str) -> bool:
    """Whether the runtime may still write to these conversations from what it has in memory."""
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
