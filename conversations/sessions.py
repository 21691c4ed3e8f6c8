"""
Sessions as Python values, as the original system returned them in JSON.

Ids are `uuid.UUID`, times aware datetimes, durations float seconds, payloads decoded JSON. Fields
that this revision of the agent database lacks are None.
"""

import dataclasses
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypedDict, TypeVar

from django.db.models import Model
from django.utils import timezone

from backoffice import time_zones

from .models import ChatMessage, Run, Session, Task


@dataclass(frozen=True)
class SessionSummary:
    session_id: uuid.UUID
    agent_id: uuid.UUID
    agent_name: str
    external_id: str | None
    runs_count: int
    tasks_count: int
    messages_count: int
    first_message: str | None
    last_message: str | None
    errors_count: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class TaskSummary:
    id: uuid.UUID
    agent_id: uuid.UUID | None
    session_id: uuid.UUID
    run_id: uuid.UUID
    inputs: Any
    output: Any
    name: str | None
    node_type: str | None
    prompt: str | None
    errors: Any
    duration_seconds: float | None
    seq: int | None
    parent_task_name: str | None
    tool_uri: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class RunSummary:
    id: uuid.UUID
    session_id: uuid.UUID
    input_data: Any
    output_data: Any
    context: Any
    tasks_count: int
    duration_seconds: float | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class ChatMessageSummary:
    id: uuid.UUID
    agent_id: uuid.UUID
    session_id: uuid.UUID
    run_id: uuid.UUID | None
    role: str
    content: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class SessionDetails:
    session_id: uuid.UUID
    messages: list[ChatMessageSummary]
    runs: list[RunSummary]
    tasks: list[TaskSummary]


class SessionsResponse(TypedDict):
    sessions: list[SessionSummary]
    total_count: int


_Summary = TypeVar("_Summary", SessionSummary, TaskSummary, RunSummary, ChatMessageSummary)


def _summary(summary_type: type[_Summary], row: Model, **more: Any) -> _Summary:
    names = (field.name for field in dataclasses.fields(summary_type) if field.name not in more)
    return summary_type(**{name: getattr(row, name) for name in names}, **more)


def _moment(value: date | datetime, *, end: bool = False) -> datetime:
    """
    A date means its first moment or, as an end, its last moment in the current time zone. If a time
    occurs twice, an end means the later one.
    """
    if not isinstance(value, datetime):
        value = datetime.combine(value, datetime.max.time() if end else datetime.min.time())
    if timezone.is_aware(value):
        return value
    zone, later = timezone.get_current_timezone(), end or bool(value.fold)
    try:
        return time_zones.in_utc(value.replace(fold=0), zone, later=later)
    except OverflowError:
        # At the ends of the calendar, the time may not exist in UTC.
        return value.replace(tzinfo=zone)


def get_sessions_summary(
    agent_id: uuid.UUID | str | None = None,
    search: str | None = None,
    external_id: str | None = None,
    start_date: date | datetime | None = None,
    end_date: date | datetime | None = None,
    limit: int = 50,
    offset: int = 0,
) -> SessionsResponse:
    """
    Sessions by last activity, newest first, and the exact number of matching sessions.

    `search` is a case-insensitive substring of any message, `external_id` a prefix. The dates bound
    `created_at`, inclusively, and are in the current time zone unless they name one.
    `first_message` and `last_message` are complete, or None without messages. Raises ValueError if
    `agent_id` is not a UUID, or if limit or offset is negative.
    """
    if limit < 0 or offset < 0:
        raise ValueError("limit and offset must not be negative.")
    sessions = Session.objects.all()
    if agent_id is not None:
        sessions = sessions.filter(agent_id=uuid.UUID(str(agent_id)))
    if search:
        sessions = sessions.search(search)
    if external_id:
        sessions = sessions.with_external_id_prefix(external_id)
    if start_date is not None:
        sessions = sessions.filter(created_at__gte=_moment(start_date))
    if end_date is not None:
        sessions = sessions.filter(created_at__lte=_moment(end_date, end=True))
    total_count = sessions.count()
    # PostgreSQL rejects an offset of more than 64 bits, and past the end there is nothing to read.
    page = []
    if offset < total_count:
        last = min(offset + limit, total_count)
        page = sessions.with_summary(preview=None).newest_first()[offset:last]
    return {
        "sessions": [_summary(SessionSummary, row, session_id=row.id) for row in page],
        "total_count": total_count,
    }


def get_session_details(session_id: uuid.UUID | str) -> SessionDetails:
    """
    Everything recorded about a session: messages and runs by time, tasks in order, run after run.

    An unknown id gives empty lists; an id that is not a UUID raises ValueError.
    """
    session_id = uuid.UUID(str(session_id))
    messages = ChatMessage.objects.filter(session_id=session_id).oldest_first()
    runs = Run.objects.filter(session_id=session_id).oldest_first()
    tasks = Task.objects.filter(session_id=session_id).by_run()
    task_rows = [_summary(TaskSummary, task) for task in tasks]
    tasks_of_run = Counter(task.run_id for task in task_rows)
    return SessionDetails(
        session_id=session_id,
        messages=[_summary(ChatMessageSummary, message) for message in messages],
        runs=[_summary(RunSummary, run, tasks_count=tasks_of_run[run.id]) for run in runs],
        tasks=task_rows,
    )
