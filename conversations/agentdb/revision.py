"""
Which columns the agent database has. Revisions 0002 to 0006 differ. Each process asks once a
minute, because the runtime may be upgraded while the site is up.
"""

from django.db import connections, models

from .process_cache import CachedForAMinute

KNOWN_REVISIONS = ("0002", "0003", "0004", "0005", "0006")
# Columns added after 0002; all others must exist.
ADDED_LATER = {
    "model_call_stats": {
        "cached_prompt_tokens",
        "reasoning_tokens",
        "session_id",
        "run_id",
    },
    "tasks": {"seq", "parent_task_name", "tool_uri"},
    "runs": {"duration_seconds"},
}

COLUMNS = """
    SELECT c.relname, a.attname
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.oid = to_regclass(quote_ident(c.relname))
      AND c.relname = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'pg_extension', extname FROM pg_extension WHERE extname = 'citus'
"""


def read_columns(tables: list[str]) -> dict[str, set[str]]:
    """
    {table: its columns} on this connection's search_path; runs a query each time. If Citus is
    installed, {"pg_extension": {"citus"}} is in there, too, which saves another query.
    """
    found: dict[str, set[str]] = {}
    with connections["agents"].cursor() as cursor:
        cursor.execute(COLUMNS, [tables])
        for table, column in cursor:
            found.setdefault(table, set()).add(column)
    return found


@CachedForAMinute
def columns() -> dict[str, set[str]]:
    """{table: its columns} for the tables that differ between revisions."""
    return read_columns(list(ADDED_LATER))


forget = columns.forget


def known() -> frozenset[tuple[str, str]]:
    """The same as hashable pairs, for cache keys."""
    return frozenset((table, column) for table, found in columns().items() for column in found)


def missing_fields(model: type[models.Model]) -> tuple[str, ...]:
    """Names of the model's fields that this agent database does not have."""
    table = model._meta.db_table
    if table not in ADDED_LATER:
        return ()
    lacking = ADDED_LATER[table] - columns().get(table, set())
    if not lacking:
        return ()
    return tuple(field.name for field in model._meta.fields if field.column in lacking)


def has_run_durations() -> bool:
    """0006: a run that ended has a duration, which tells failed runs from running ones."""
    return "duration_seconds" in columns().get("runs", set())


def has_model_call_links() -> bool:
    """0005: a model call names its session and run."""
    return {"session_id", "run_id"} <= columns().get("model_call_stats", set())


def has_token_details() -> bool:
    """0003: a model call says how many tokens were cached and how many went into reasoning."""
    found = columns().get("model_call_stats", set())
    return {"cached_prompt_tokens", "reasoning_tokens"} <= found


def has_task_order() -> bool:
    """0004: a task has its position in the run and names the task that called it."""
    return "seq" in columns().get("tasks", set())


def is_distributed() -> bool:
    """Citus keeps the tables on several workers."""
    return "citus" in columns().get("pg_extension", set())
