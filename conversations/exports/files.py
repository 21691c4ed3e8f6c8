"""
The list's conversations as files: which columns they have, and the one statement that reads them.

A file is a workbook for people, or for programs CSV, or JSON Lines with real types.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo

from django.conf import settings
from django.db.models import F
from django.utils import timezone
from psycopg import sql

from ..agentdb import revision
from ..agentdb.compiled import subqueries
from ..agentdb.conventions import ROLE_ORDER
from ..agentdb.sql import with_columns
from ..models import COUNTS, Session, Task
from ..prices import calls_of_session, cost
from ..problems import kinds, outcomes
from ..querysets import SessionQuerySet
from ..selection.matching import Matching
from .lines import BOM, SEPARATORS, Change, Column, CsvLines, JsonLines, Kind, Rewriting, Values
from .workbook import Workbook

FILES = ("conversations", "messages", "tasks")
FORMS = {
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl; charset=utf-8",
}
# COPY adds neither quotes nor escapes to JSON in which its delimiter and its quote do not occur.
JSON_LINES = r"FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02'"

# The order is the list's. NO_LIMIT: more rows than any table has, but in a form that PostgreSQL
# cannot evaluate before it plans. It then plans for the first tenth of the rows, which an index
# yields at once, and computes columns after sorting, not before.
NO_LIMIT = "LIMIT 1000000000000 + floor(random())::bigint"
# When their runs began is asked for those of one moment alone: a join takes half as long again.
MESSAGES = """
    ({sessions}) AS session,
    LATERAL (
        SELECT * FROM (
            SELECT *, count(*) OVER (PARTITION BY created_at) AS at_once FROM chat_messages
            WHERE session_id = session.id
        ) AS said
        ORDER BY created_at, {speaks}, CASE WHEN at_once > 1 THEN (
            SELECT created_at FROM runs
            WHERE runs.session_id = said.session_id AND runs.id = said.run_id
        ) END, run_id, id
    ) AS message
"""
TASKS = """
    ({sessions}) AS session,
    LATERAL (
        SELECT tasks.* FROM tasks
        JOIN runs ON runs.session_id = tasks.session_id AND runs.id = tasks.run_id
        WHERE tasks.session_id = session.id
        ORDER BY runs.created_at, runs.id, {seq} tasks.created_at, tasks.id
    ) AS task
"""
FINITE = "{}::text NOT IN ('NaN', 'Infinity', '-Infinity')"
AGENT_NAME = """
    CASE WHEN {row}.agent_id = session.agent_id THEN session.agent_name
    ELSE (SELECT name FROM agents WHERE agents.id = {row}.agent_id) END
"""


@dataclass(frozen=True)
class File:
    """A file's statement, its first line, and how a row that COPY gives becomes a line."""

    statement: str
    params: tuple
    head: bytes
    line: Callable[[memoryview], bytes]
    # That is made of the rows before anything is sent, and a statement that counts them, up to one
    # more than it may have.
    workbook: Workbook | None = None
    count: str = ""


def export_file(
    name: str,
    form: str,
    matching: Matching,
    *,
    site: str,
    payloads: bool = False,
    separator: str = "comma",
    change: Change | None = None,
) -> File:
    """
    The rows of the conversations that match, newest first.

    `site` is the absolute URL of the list. `payloads`: tasks with inputs, output and prompt.
    `separator`: one of SEPARATORS, for CSV. Dates are in the current time zone.
    """
    zone = timezone.get_current_timezone()
    if name == "conversations":
        columns, source, params = conversations(matching.queryset(), form, site, zone)
    elif name == "messages":
        columns, source, params = messages(matching.queryset(), zone)
    else:
        columns, source, params = tasks(matching.queryset(), payloads, zone)
    if form != "jsonl":
        columns = [json_as_text(column) for column in columns]
    columns.sort(key=lambda column: bool(column.compute))
    between = SEPARATORS[separator]
    # Without OFFSET 0 a column would be computed each time the outer query names it.
    select = ", ".join(f"{column.sql} AS {column.name}" for column in columns)
    rows = f"(SELECT {select} FROM {source} OFFSET 0) AS r"  # noqa: S608
    stored = ", ".join(f"r.{column.name}" for column in columns if not column.compute)
    given = "".join(f"r.{column.name}, " for column in columns if column.compute)
    workbook, count = None, ""
    line: Callable[[memoryview], bytes]
    if change or form == "xlsx":
        texts = ", ".join(f"r.{column.name}::text" for column in columns)
        query, options = f"SELECT json_build_array({texts}) FROM {rows}", JSON_LINES  # noqa: S608
    if form == "xlsx":
        most = settings.XLSX_MAX_ROWS
        workbook = Workbook(name, Values(columns, change), zone, site, most)
        line = workbook.write
        count = f"SELECT count(*) FROM (SELECT FROM {source} LIMIT {most + 1}) AS r"  # noqa: S608
    elif change:
        line = Rewriting(columns, form, change, between)
    elif form == "csv":
        query = f"SELECT {given}{stored} FROM {rows}"  # noqa: S608
        options = f"FORMAT csv, DELIMITER '{between}'"
        line = CsvLines(columns, between)
    else:
        row = f"LATERAL (SELECT {stored}) AS row"
        query = f"SELECT {given}row_to_json(row) FROM {rows}, {row}"  # noqa: S608
        options, line = JSON_LINES, JsonLines(columns)
    names = between.join(column.name for column in columns)
    head = f"{BOM}{names}\r\n" if form == "csv" else ""
    copy = f"COPY ({query}) TO STDOUT ({options})"
    return File(copy, params, head.encode(), line, workbook, count)


# Columns


def conversations(sessions: SessionQuerySet, form: str, site: str, zone: tzinfo):
    def number(group: str, name: str) -> str:
        return f"coalesce((session.{group} ->> '{name}')::bigint, 0)"

    def of_model_calls(name: str) -> str:
        has_links = revision.has_model_call_links()
        return number("model_call_counts", name) if has_links else "NULL::bigint"

    counts = {kind.name: number(COUNTS[kind.model], kind.name) for kind in kinds.problems()}
    each_kind = [
        Column(kind.name, Kind.PLAIN, counts.get(kind.name, "NULL::bigint"))
        for kind in kinds.KINDS
        if kind.is_problem
    ]
    if form != "jsonl":
        each = (f"CASE WHEN {n} > 0 THEN '{kind}:' || {n} END" for kind, n in counts.items())
        problems = Column("problems", Kind.OURS, f"concat_ws(' ', {', '.join(each)})")
    else:
        each = (f"'{kind}', nullif({n}, 0)" for kind, n in counts.items())
        members = f"json_strip_nulls(json_build_object({', '.join(each)}))"
        problems = Column("problems", Kind.PLAIN, members)
    # The driver takes a percent sign for a placeholder.
    link = sql.quote(site).replace("%", "%%")
    summary = {"agent_name": F("agent__name"), **subqueries(sessions_with_seconds)}
    source, params = in_order(sessions.annotate(**summary, history=outcomes.history("pk")))
    columns = [
        Column("session_id", Kind.OURS, "session.id"),
        Column("agent_id", Kind.OURS, "session.agent_id"),
        Column("agent_name", Kind.TEXT, "session.agent_name"),
        Column("external_id", Kind.TEXT, "session.external_id"),
        Column("runs_count", Kind.PLAIN, number("run_counts", "total")),
        Column("tasks_count", Kind.PLAIN, number("task_counts", "total")),
        Column("messages_count", Kind.PLAIN, number("message_counts", "total")),
        Column("first_message", Kind.TEXT, "session.first_message", is_said=True),
        Column("last_message", Kind.TEXT, "session.last_message", is_said=True),
        Column("errors_count", Kind.PLAIN, number("task_counts", "task_error")),
        Column("created_at", Kind.TIME, iso("session.created_at")),
        Column("updated_at", Kind.TIME, iso("session.updated_at")),
        Column("status", Kind.OURS, "session.run_counts ->> 'status'"),
        Column("outcome", Kind.OURS, outcomes.name_sql("session.history")),
        problems,
        *each_kind,
        Column("model_calls_count", Kind.PLAIN, of_model_calls("total")),
        Column("tokens_count", Kind.PLAIN, of_model_calls("tokens")),
        Column("seconds", Kind.PLAIN, "(session.run_counts ->> 'seconds')::numeric"),
        Column("link", Kind.OURS, f"{link} || session.id || '/'"),
        cost_of("session.id"),
        created_on("session.created_at", zone),
    ]
    return columns, f"({source}) AS session", params


def messages(sessions: SessionQuerySet, zone: tzinfo):
    source, params = in_order(with_agent(sessions))
    columns = [
        Column("id", Kind.OURS, "message.id"),
        Column("session_id", Kind.OURS, "session.id"),
        Column("agent_id", Kind.OURS, "message.agent_id"),
        Column("agent_name", Kind.TEXT, AGENT_NAME.format(row="message")),
        Column("external_id", Kind.TEXT, "session.external_id"),
        Column("run_id", Kind.OURS, "message.run_id"),
        Column("role", Kind.TEXT, "message.role"),
        Column("content", Kind.TEXT, "message.content", is_said=True),
        Column("created_at", Kind.TIME, iso("message.created_at")),
        Column("updated_at", Kind.TIME, iso("message.updated_at")),
        created_on("message.created_at", zone),
    ]
    speaks = with_columns(ROLE_ORDER)
    return columns, MESSAGES.format(sessions=source, speaks=speaks), params


def tasks(sessions: SessionQuerySet, payloads: bool, zone: tzinfo):
    lacking = revision.missing_fields(Task)

    def column(name: str, kind: Kind, without: str = "text") -> Column:
        return Column(name, kind, f"NULL::{without}" if name in lacking else f"task.{name}")

    def payload(name: str) -> Column:
        # "No value" is usually JSON null.
        return Column(name, Kind.JSON, f"nullif(task.{name}, 'null')")

    source, params = in_order(with_agent(sessions))
    columns = [
        Column("id", Kind.OURS, "task.id"),
        Column("session_id", Kind.OURS, "session.id"),
        Column("agent_id", Kind.OURS, "task.agent_id"),
        Column("agent_name", Kind.TEXT, AGENT_NAME.format(row="task")),
        Column("external_id", Kind.TEXT, "session.external_id"),
        Column("run_id", Kind.OURS, "task.run_id"),
        column("seq", Kind.PLAIN, "integer"),
        column("parent_task_name", Kind.TEXT),
        column("name", Kind.TEXT),
        column("node_type", Kind.TEXT),
        column("tool_uri", Kind.TEXT),
        Column("duration_seconds", Kind.PLAIN, finite("task.duration_seconds")),
        payload("errors"),
        Column("created_at", Kind.TIME, iso("task.created_at")),
        Column("updated_at", Kind.TIME, iso("task.updated_at")),
        created_on("task.created_at", zone),
    ]
    if payloads:
        columns += [payload("inputs"), payload("output"), column("prompt", Kind.TEXT)]
    seq = "" if "seq" in lacking else "tasks.seq NULLS LAST,"
    return columns, TASKS.format(sessions=source, seq=seq), params


def sessions_with_seconds() -> SessionQuerySet:
    return Session.objects.with_summary(preview=None, seconds=True)


def cost_of(session: str) -> Column:
    """US dollars; none if they are unknown."""

    def dollars(calls: str) -> str | None:
        found = cost(calls)
        if found is None or not found.is_known:
            return None
        # Not rounded: whoever adds up a file gets what the pages get.
        digits = -int(found.amount.normalize().as_tuple().exponent)
        return f"{found.amount:.{max(digits, 6)}f}"

    known = f"coalesce({calls_of_session(session)}, '[]')"
    calls = known if revision.has_model_call_links() else "NULL::text"
    return Column("cost", Kind.PLAIN, calls, compute=dollars)


def created_on(column: str, zone: tzinfo) -> Column:
    """The day in a time zone, which PostgreSQL is not asked for: it may know others."""

    def day(moment: str) -> str:
        try:
            return datetime.fromisoformat(moment).astimezone(zone).date().isoformat()
        except (ValueError, OverflowError):
            # Infinity, or a year that the calendar lacks in that zone.
            return moment.partition("T")[0]

    return Column("created_on", Kind.DATE, iso(column), compute=day)


def with_agent(sessions: SessionQuerySet) -> SessionQuerySet:
    names = ("id", "external_id", "agent_id", "agent_name")
    found = sessions.annotate(agent_name=F("agent__name"))
    return found.values(*names)  # type: ignore[return-value]  # values() keeps our class


def in_order(sessions: SessionQuerySet) -> tuple[str, tuple]:
    query = sessions.newest_first().query
    # Even a filter that matches nothing needs a statement: of a file without rows.
    statement, params = query.get_compiler(sessions.db, elide_empty=False).as_sql()
    return f"{statement} {NO_LIMIT}", params


def iso(column: str) -> str:
    """A time in ISO 8601 with its offset; infinity by its name."""
    time = f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')"""
    return f"coalesce({time}, {column}::text)"


def finite(column: str) -> str:
    """NULL for a number that JSON lacks."""
    return f"CASE WHEN {FINITE.format(column)} THEN {column} END"


def json_as_text(column: Column) -> Column:
    return replace(column, sql=f"({column.sql})::text") if column.kind is Kind.JSON else column
