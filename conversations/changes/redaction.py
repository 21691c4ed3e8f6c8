"""
Removes words from a conversation wherever the runtime has stored them: in messages, in the JSON of
runs, tasks and model calls, in task names and in the external id.
"""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.apps import apps
from django.db import connections
from psycopg import sql

from privacy import masking

from ..agentdb import revision
from ..agentdb.conventions import REDACTED
from .locking import lock, of_sessions
from .replacing import replaced
from .spellings import Words
from .telling import tell

SHORTEST = 2
# {table: (label, columns of text, columns of JSON)}
PLACES = {
    "sessions": ("external id", ("external_id",), ()),
    "chat_messages": ("messages", ("content", "role"), ()),
    "runs": ("runs", (), ("input_data", "output_data", "context")),
    "tasks": (
        "tasks",
        ("prompt", "name", "parent_task_name", "tool_uri"),
        ("inputs", "output", "errors"),
    ),
    "model_call_stats": ("model calls", (), ("request_data", "response_data")),
}
# {table: {column of text or JSON: why it never contains people's words}}
NOT_COVERED = {
    "tasks": {"node_type": "the runtime's own names of kinds of nodes"},
    "model_call_stats": {
        "call_type": "the runtime's own names of kinds of calls",
        "model": "the provider's name of a model",
    },
    "agents": dict.fromkeys(
        ("name", "description", "input_schema", "output_schema", "workflow"),
        "an agent belongs to no conversation",
    ),
}
# Roles that are kept, because pages and the runtime depend on them.
ROLES = {"user", "assistant", "system", "tool", "developer"}
# The runtime's indexes accept at most 2,704 bytes of a value.
INDEXED = {"external_id", "parent_task_name", "tool_uri"}
LONGEST_INDEXED = 2_500
# Rows are read in batches, limited by number and by stored size in bytes.
ROWS, BYTES = 200, 500_000


@dataclass(frozen=True)
class Found:
    """How often the words occur in rows of one kind, and in how many of these rows."""

    label: str
    times: int
    rows: int


def redact_all(session_id: uuid.UUID, words: str | list[str]) -> list[Found]:
    """
    redact() in the transaction on agents_write, while nobody else writes to the conversation. Runs
    twice, because a model call may have been added during the first pass.
    """
    lock([session_id])
    seen: set[uuid.UUID] = set()
    looks = [
        redact(session_id, words, using="agents_write", write=True, seen=seen) for _ in range(2)
    ]
    tell([session_id])
    return added(*looks)


def added(first: list[Found], second: list[Found]) -> list[Found]:
    found = {each.label: each for each in first}
    for each in second:
        one = found.get(each.label, Found(each.label, 0, 0))
        found[each.label] = Found(each.label, one.times + each.times, one.rows + each.rows)
    return list(found.values())


def redact(
    session_id: uuid.UUID,
    words: str | list[str],
    *,
    using: str,
    write: bool,
    seen: set[uuid.UUID] | None = None,
) -> list[Found]:
    """
    Replace the words (one text or several) with REDACTED everywhere in the conversation; without
    `write`, only count them. Writing needs a transaction. updated_at and all other columns stay the
    same. Rows in `seen` are skipped, because REDACTED may itself contain the words; the rows that
    were processed are added to it.
    """
    seen = set() if seen is None else seen
    wanted = Words([words] if isinstance(words, str) else words)
    found = []
    for table, (label, _, payloads) in places().items():
        times = rows = 0
        for row_id, values in rows_of(table, session_id, using, lock=write):
            if row_id in seen:
                continue
            seen.add(row_id)
            changed, of_row = {}, 0
            for column, shown in values.items():
                # A masked text must not be written back.
                text = masking.raw(shown) if write else shown
                after, number = replaced(text, wanted, is_json=column in payloads)
                if number:
                    of_row += number
                    changed[column] = fitting(column, after)
            times += of_row
            rows += bool(of_row)
            if changed and write:
                update(table, session_id, row_id, changed, using)
        if times or table != "sessions":
            found.append(Found(label, times, rows))
    return found


def fitting(column: str, text: str) -> str:
    is_too_long = column in INDEXED and len(text.encode()) > LONGEST_INDEXED
    return REDACTED if is_too_long else text


def places() -> dict[str, tuple[str, tuple, tuple]]:
    """PLACES without tables and columns that this agent database lacks."""
    found = {}
    for model in apps.get_app_config("conversations").get_models():
        table = model._meta.db_table
        missing = revision.missing_fields(model)
        if table in PLACES and "session_id" not in missing:
            label, *columns = PLACES[table]
            known = [tuple(name for name in each if name not in missing) for each in columns]
            found[table] = (label, *known)
    return {table: found[table] for table in PLACES if table in found}


def rows_of(table, session_id, using, *, lock=False) -> Iterator[tuple[uuid.UUID, dict[str, str]]]:
    """(id, {column: text}) for each row, reading only as much at a time as fits into memory."""
    columns = [name for each in places()[table][1:] for name in each]
    names = [sql.Identifier(name) for name in columns]
    size = sql.SQL(" + ").join(sql.SQL("coalesce(pg_column_size({}), 0)").format(n) for n in names)
    texts = sql.SQL(", ").join(sql.SQL("{}::text").format(name) for name in names)
    which = "id = ANY(%(ids)s)" if table == "sessions" else of_sessions(table)
    parts = {"table": sql.Identifier(table), "which": sql.SQL(which)}
    sizes = sql.SQL("SELECT id, {size} FROM {table} WHERE {which} ORDER BY created_at, id")
    some = sql.SQL("SELECT id, {texts} FROM {table} WHERE ({which}) AND id = ANY(%(some)s){lock}")
    some = some.format(texts=texts, lock=sql.SQL(" FOR UPDATE" if lock else ""), **parts)
    with connections[using].cursor() as cursor:
        cursor.execute(sizes.format(size=size, **parts), {"ids": [session_id]})
        for ids in batches(cursor.fetchall()):
            cursor.execute(some, {"ids": [session_id], "some": ids})
            # Some rows may be gone by now.
            rows = {row_id: values for row_id, *values in cursor.fetchall()}
            for row_id in ids:
                texts_of_row = zip(columns, rows.pop(row_id, ()), strict=False)
                yield row_id, {name: text for name, text in texts_of_row if holds(name, text)}


def holds(column: str, text: str | None) -> bool:
    """Whether words may be removed from this text."""
    return bool(text) and not (column == "role" and text in ROLES)


def batches(sizes: Iterable[tuple[uuid.UUID, int]]) -> Iterator[list[uuid.UUID]]:
    batch, total = [], 0
    for row_id, size in sizes:
        if batch and (len(batch) == ROWS or total + size > BYTES):
            yield batch
            batch, total = [], 0
        batch.append(row_id)
        total += size
    if batch:
        yield batch


def update(table, session_id, row_id, changed: dict[str, str], using):
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = %s" if name in PLACES[table][1] else "{} = %s::jsonb").format(
            sql.Identifier(name)
        )
        for name in changed
    )
    statement = sql.SQL("UPDATE {} SET {} WHERE id = %s").format(sql.Identifier(table), assignments)
    values = [*changed.values(), row_id]
    if revision.is_distributed() and table != "sessions":
        # Otherwise Citus would update all shards.
        statement += sql.SQL(" AND session_id = %s")
        values.append(session_id)
    with connections[using].cursor() as cursor:
        cursor.execute(statement, values)
