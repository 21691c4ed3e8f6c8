"""
The exports' columns, and the single statement that reads each file.

XLSX is for people; CSV and JSON Lines (which has real types) are for programs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo

from django.conf import settings
from django.db.models import F, QuerySet
from django.db.models.expressions import RawSQL
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
# COPY adds no quotes or escapes if neither its delimiter nor its quote occurs in the JSON.
JSON_LINES = r"FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02'"

# Files are in the order of the list. NO_LIMIT is more rows than any table has, written so that
# PostgreSQL cannot evaluate it before planning. It then plans for the first tenth of the rows,
# which an index delivers at once, and computes columns after sorting instead of before.
NO_LIMIT = "LIMIT 1000000000000 + floor(random())::bigint"
# Looks up when runs began only for messages with the same time: a join takes half as long again.
MESSAGES = """
    ({sessions}) AS session,
    LATERAL (
        SELECT *{place} FROM (
            SELECT *, count(*) OVER (PARTITION BY created_at) AS at_once FROM chat_messages
            WHERE session_id = session.id
        ) AS said
        {order}
    ) AS message
"""
MESSAGES_ORDER = """
    ORDER BY created_at, {speaks}, CASE WHEN at_once > 1 THEN (
        SELECT created_at FROM runs
        WHERE runs.session_id = said.session_id AND runs.id = said.run_id
    ) END, run_id, id
"""
TASKS = """
    ({sessions}) AS session,
    LATERAL (
        SELECT tasks.*{place} FROM tasks
        JOIN runs ON runs.session_id = tasks.session_id AND runs.id = tasks.run_id
        WHERE tasks.session_id = session.id
        {order}
    ) AS task
"""
TASKS_ORDER = "ORDER BY runs.created_at, runs.id, {seq} tasks.created_at, tasks.id"
# The workers of a distributed database send rows in no order, so they must be sorted at the end.
NEWEST_FIRST = ("session.updated_at DESC", "session.id DESC")
PLACE = ", row_number() OVER ({order}) AS place"
FINITE = "{}::text NOT IN ('NaN', 'Infinity', '-Infinity')"
AGENT_NAME = """
    CASE WHEN {row}.agent_id = session.agent_id THEN session.agent_name
    ELSE (SELECT name FROM agents WHERE agents.id = {row}.agent_id) END
"""


@dataclass(frozen=True)
class File:
    """A file's statement, its first line, and a function that turns a row from COPY into a line."""

    statement: str
    params: tuple
    head: bytes
    line: Callable[[memoryview], bytes]
    # For XLSX: made of the rows before anything is sent, and a statement that counts the rows, up
    # to one more than allowed.
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
    The rows of the matching conversations, newest first.

    `site` is the absolute URL of the list. `payloads`: include inputs, output and prompt of tasks.
    `separator`: one of SEPARATORS, for CSV. Dates are in the current time zone.
    """
    zone = timezone.get_current_timezone()
    if name == "conversations":
        found = conversations(matching.queryset(), form, site, zone)
    elif name == "messages":
        found = messages(matching.queryset(), zone)
    else:
        found = tasks(matching.queryset(), payloads, zone)
    return file_of(name, form, *found, site=site, separator=separator, change=change)


def file_of(
    name: str,
    form: str,
    columns: list[Column],
    source: str,
    params: tuple,
    order: tuple[str, ...],
    *,
    site: str,
    separator: str,
    change: Change | None,
) -> File:
    """A file of these columns. `source` is SQL to follow FROM, whose rows are in this order."""
    zone = timezone.get_current_timezone()
    if form != "jsonl":
        columns = [json_as_text(column) for column in columns]
    columns.sort(key=lambda column: bool(column.compute))
    between = SEPARATORS[separator]
    select = ", ".join(f"{column.sql} AS {column.name}" for column in columns)
    # Without OFFSET 0, a column would be computed each time the outer query uses it.
    rows, sorting = f"(SELECT {select} FROM {source} OFFSET 0) AS r", ""  # noqa: S608
    if revision.is_distributed():
        rows, sorting = sorted_rows(select, source, order)
    stored = ", ".join(f"r.{column.name}" for column in columns if not column.compute)
    given = "".join(f"r.{column.name}, " for column in columns if column.compute)
    workbook, count = None, ""
    line: Callable[[memoryview], bytes]
    if change or form == "xlsx":
        texts = ", ".join(f"r.{column.name}::text" for column in columns)
        query = f"SELECT json_build_array({texts}) FROM {rows}"  # noqa: S608
        options = JSON_LINES
    if form == "xlsx":
        most = settings.XLSX_MAX_ROWS
        workbook = Workbook(name, Values(columns, change), zone, site, most)
        line = workbook.write
        count = f"SELECT count(*) FROM (SELECT 1 FROM {source} LIMIT {most + 1}) AS r"  # noqa: S608
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
    copy = f"COPY ({query}{sorting}) TO STDOUT ({options})"
    return File(copy, params, head.encode(), line, workbook, count)


def sorted_rows(select: str, source: str, order: tuple[str, ...]) -> tuple[str, str]:
    """The rows without OFFSET 0, which one worker alone would have to apply, and ORDER BY."""
    by = [each.partition(" ") for each in order]
    keys = "".join(f", {column} AS key_{n}" for n, (column, *_) in enumerate(by))
    sorting = ", ".join(f"r.key_{n} {direction}" for n, (*_, direction) in enumerate(by))
    return f"(SELECT {select}{keys} FROM {source}) AS r", f" ORDER BY {sorting}"  # noqa: S608


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
    seconds = "(session.run_counts ->> 'seconds')::numeric"
    # The driver would take a percent sign for a placeholder.
    link = sql.quote(site).replace("%", "%%")
    summary = {"agent_name": F("agent__name"), **subqueries(sessions_with_seconds)}
    source, params = in_order(
        sessions.annotate(**summary, history=outcomes.history("pk"), calls=calls_of_each())
    )
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
        Column("seconds", Kind.PLAIN, f"trim_scale(round({seconds}, 6))"),
        Column("link", Kind.OURS, f"{link} || session.id || '/'"),
        cost_column("session.calls"),
        created_on("session.created_at", zone),
    ]
    return columns, f"({source}) AS session", params, NEWEST_FIRST


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
    order = MESSAGES_ORDER.format(speaks=with_columns(ROLE_ORDER))
    return columns, of_sessions(MESSAGES, source, order), params, (*NEWEST_FIRST, "message.place")


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
    order = TASKS_ORDER.format(seq=seq)
    return columns, of_sessions(TASKS, source, order), params, (*NEWEST_FIRST, "task.place")


def of_sessions(statement: str, sessions: str, order: str) -> str:
    place = PLACE.format(order=order) if revision.is_distributed() else ""
    return statement.format(sessions=sessions, order=order, place=place)


def sessions_with_seconds() -> SessionQuerySet:
    return Session.objects.with_summary(preview=None, seconds=True)


def calls_of_each() -> RawSQL:
    """The model calls of each of the sessions, for cost_column()."""
    known = f"coalesce({calls_of_session('sessions.id')}, '[]')"
    return RawSQL(known if revision.has_model_call_links() else "NULL::text", [])  # noqa: S611


def cost_column(calls: str) -> Column:
    """The cost in US dollars; NULL if unknown. `calls` is SQL for JSON, as prices.cost() takes."""

    def dollars(calls: str) -> str | None:
        found = cost(calls)
        if found is None or not found.is_known:
            return None
        # Not rounded, so that a file adds up to what pages show.
        digits = -int(found.amount.normalize().as_tuple().exponent)
        return f"{found.amount:.{max(digits, 6)}f}"

    return Column("cost", Kind.PLAIN, calls, compute=dollars)


def created_on(column: str, zone: tzinfo) -> Column:
    """The day in a time zone, computed here because PostgreSQL may know other time zones."""

    def day(moment: str) -> str:
        try:
            return datetime.fromisoformat(moment).astimezone(zone).date().isoformat()
        except (ValueError, OverflowError):
            # Infinity, or a year that does not exist in the calendar of that zone.
            return moment.partition("T")[0]

    return Column("created_on", Kind.DATE, iso(column), compute=day)


def with_agent(sessions: SessionQuerySet) -> SessionQuerySet:
    names = ("id", "external_id", "updated_at", "agent_id", "agent_name")
    found = sessions.annotate(agent_name=F("agent__name"))
    return found.values(*names)  # type: ignore[return-value]  # values() keeps our class


def in_order(sessions: SessionQuerySet) -> tuple[str, tuple]:
    return every(sessions.newest_first())


def every(rows: QuerySet) -> tuple[str, tuple]:
    # A filter that matches nothing needs a statement too, for a file without rows.
    statement, params = rows.query.get_compiler(rows.db, elide_empty=False).as_sql()
    return statement if revision.is_distributed() else f"{statement} {NO_LIMIT}", params


def iso(column: str) -> str:
    """A time in ISO 8601 with its offset, or the word infinity."""
    time = f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')"""
    return f"coalesce({time}, {column}::text)"


def finite(column: str) -> str:
    """NULL for numbers that JSON does not have."""
    return f"CASE WHEN {FINITE.format(column)} THEN {column} END"


def json_as_text(column: Column) -> Column:
    return replace(column, sql=f"({column.sql})::text") if column.kind is Kind.JSON else column
