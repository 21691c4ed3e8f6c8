"""
What the rollup reads of conversations: a few statements for any number of them, by the runtime's
indexes on sessions.
"""

import uuid
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import BigIntegerField, QuerySet, Value

from conversations import prices
from conversations.agentdb import revision
from conversations.agentdb.compiled import tuples
from conversations.agentdb.sql import COLUMN, Template, with_columns
from conversations.agentdb.step_names import IS_TOOL_CALL, MODEL_NAME, TASK_NAME
from conversations.models import Run
from conversations.problems import kinds

from ..percentiles import bin_sql
from ..quarters import SECONDS, microseconds_sql, quarter_sql, starts_of

COMPLETED = "completed"
# Seconds that something may take: neither negative nor NaN, which PostgreSQL sorts last.
DURATION = """
    CASE WHEN {duration_seconds} BETWEEN 0 AND 1e9
    THEN round({duration_seconds} * 1000000)::bigint END
"""
MESSAGES = f"""
    SELECT session_id, {quarter_sql("created_at")}, count(*),
        max({microseconds_sql("created_at")})
    FROM chat_messages WHERE session_id = ANY(%(ids)s)
    GROUP BY 1, 2
"""  # noqa: S608
TASKS = """
    SELECT session_id, {quarter}, count(*) {problems}
    FROM tasks WHERE session_id = ANY(%(ids)s)
    GROUP BY 1, 2
"""
CALLS_OF_SESSIONS = """
    SELECT session_id, {quarter}, {model}, {values}
    FROM model_call_stats WHERE session_id = ANY(%(ids)s)
"""
# The agent is the session's: a task may have lost its own.
TASKS_OF_QUARTERS = """
    SELECT agent_id, starts, is_tool, name, {bin}, count(*), count(*) FILTER (WHERE is_error),
        count(microseconds), coalesce(sum(microseconds), 0) {counts}
    FROM (
        SELECT sessions.agent_id, {quarter} AS starts,
            {is_tool} AS is_tool, coalesce({name}, '') AS name,
            {microseconds} AS microseconds, {is_error} AS is_error {flags}
        FROM tasks JOIN sessions ON sessions.id = tasks.session_id
        WHERE tasks.session_id = ANY(%(ids)s)
        AND tasks.created_at >= %(since)s AND tasks.created_at < %(until)s
    ) AS task
    WHERE starts = ANY(%(quarters)s) GROUP BY 1, 2, 3, 4, 5
"""
CALLS_OF_QUARTERS = """
    SELECT agent_id, {quarter}, {model}, {microseconds}, {values}
    FROM model_call_stats WHERE created_at >= %(since)s AND created_at < %(until)s
    AND {quarter} = ANY(%(quarters)s)
"""


def read(statement: str, **values: Any) -> list[tuple]:
    with connections["agents"].cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


class RunRead(NamedTuple):
    session_id: uuid.UUID
    id: uuid.UUID
    # When it began, in microseconds since 1970; None if that is not counted.
    began: int | None
    status: str
    # How long it took; None if it has not ended, or not at a time that can be.
    microseconds: int | None

    @property
    def ended(self) -> int | None:
        if self.began is None or self.microseconds is None:
            return None
        return self.began + self.microseconds

    @property
    def is_answered(self) -> bool:
        return self.status == COMPLETED


def of_table(template: str, table: str) -> str:
    """SQL with its {column}s filled in, for a statement with parameters."""
    return COLUMN.sub(rf"{table}.\1", template).replace("%", "%%")


def with_statuses(session_ids) -> QuerySet:
    runs = Run.objects.filter(session_id__in=session_ids).order_by().with_status()
    duration = Value(None, output_field=BigIntegerField())
    if revision.has_run_durations():
        duration = Template(DURATION, BigIntegerField())
    began = Template(microseconds_sql("{created_at}"), BigIntegerField())
    runs = runs.annotate(began=began, microseconds=duration)
    return runs.values_list("session_id", "id", "began", "status", "microseconds")


def runs(ids: list[uuid.UUID]) -> list[RunRead]:
    return [RunRead._make(row) for row in tuples(with_statuses, session_ids=ids)]


def messages(ids: list[uuid.UUID]) -> list[tuple]:
    """(session, quarter or None, how many, when the last one was written in microseconds)"""
    return read(MESSAGES, ids=ids)


def task_problems() -> dict[str, str]:
    """{kind: SQL that says whether a task is one}"""
    return {
        kind.name: f"coalesce(({of_table(kind.predicate, 'tasks')}), false)"
        for kind in kinds.problems("Task")
    }


def tasks(ids: list[uuid.UUID]) -> list[tuple]:
    """(session, quarter or None, how many, kinds of problem among them)"""
    problems = task_problems()
    statement = TASKS.format(
        quarter=quarter_sql("created_at"),
        problems="".join(f", bool_or({sql})" for sql in problems.values()),
    )
    return [
        (*row[:3], [name for name, has in zip(problems, row[3:], strict=True) if has])
        for row in read(statement, ids=ids)
    ]


def calls(ids: list[uuid.UUID]) -> list[tuple]:
    """(session, quarter or None, model, values as in conversations.prices.Calls)"""
    if not revision.has_model_call_links():
        return []
    values = ", ".join(prices.values_sql())
    statement = CALLS_OF_SESSIONS.format(
        quarter=quarter_sql("created_at"), model=with_columns(MODEL_NAME), values=values
    )
    return [(*row[:3], row[3:]) for row in read(statement, ids=ids)]


def window(quarters: list[int]) -> dict[str, Any]:
    return {
        "quarters": quarters,
        "since": starts_of(min(quarters)),
        "until": starts_of(max(quarters) + SECONDS),
    }


def tasks_of_quarters(ids: list[uuid.UUID], quarters: list[int]) -> list[tuple]:
    """
    (agent, quarter, whether it is a tool call, name, bin or None, how many, how many with an error,
    how many with a duration, microseconds, {kind of problem: how many})
    """
    problems = task_problems()
    statement = TASKS_OF_QUARTERS.format(
        bin=bin_sql("microseconds"),
        counts="".join(f", count(*) FILTER (WHERE is_{name})" for name in problems),
        quarter=quarter_sql("tasks.created_at"),
        is_tool=of_table(IS_TOOL_CALL, "tasks"),
        name=of_table(TASK_NAME, "tasks"),
        microseconds=of_table(DURATION, "tasks"),
        is_error=" OR ".join(problems.values()),
        flags="".join(f", {sql} AS is_{name}" for name, sql in problems.items()),
    )
    return [
        (*row[:9], dict(zip(problems, row[9:], strict=True)))
        for row in read(statement, ids=ids, **window(quarters))
    ]


def calls_of_quarters(quarters: list[int]) -> list[tuple]:
    """
    (agent or None, quarter, model, microseconds or None, values as in conversations.prices.Calls)
    """
    statement = CALLS_OF_QUARTERS.format(
        quarter=quarter_sql("created_at"),
        model=with_columns(MODEL_NAME),
        microseconds=of_table(DURATION, "model_call_stats"),
        values=", ".join(prices.values_sql()),
    )
    return [(*row[:4], row[4:]) for row in read(statement, **window(quarters))]
