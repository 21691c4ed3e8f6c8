"""
Removes words from a conversation wherever the runtime has stored them: in messages, within the JSON
of runs, tasks and model calls, in the names of tasks and in the external id.
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
from .locking import OF_SESSIONS, lock
from .replacing import replaced
from .spellings import Words

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
# {table: {column of text or JSON: why it holds no words of people}}
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
# Pages and the runtime tell messages apart by these.
ROLES = {"user", "assistant", "system", "tool", "developer"}
# The runtime's indexes take no more than 2,704 bytes of a value.
INDEXED = {"external_id", "parent_task_name", "tool_uri"}
LONGEST_INDEXED = 2_500
WHICH = {"sessions": "id = ANY(%(ids)s)", **OF_SESSIONS}
# Rows are read some at a time: so many, or of so many bytes as they are stored.
ROWS, BYTES = 200, 500_000


@dataclass(frozen=True)
class Found:
    """How often the words occur in one kind of row, and in how many rows."""

    label: str
    times: int
    rows: int


def redact_all(session_id: uuid.UUID, words: str | list[str]) -> list[Found]:
    """
    redact() in the transaction on agents_write, while nobody else writes to the conversation. Looks
    twice: a model call may have been added during the first look.
    """
    lock([session_id])
    seen: set[uuid.UUID] = set()
    looks = [
        redact(session_id, words, using="agents_write", write=True, seen=seen) for _ in range(2)
    ]
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
    Replace the words, one text or several, by REDACTED everywhere in the conversation; without
    `write`, only count them. Writing needs a transaction. Neither updated_at nor any other column
    is touched. Rows that are `seen` are left alone, since REDACTED may hold the words itself, and
    others are added to them.
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
                update(table, row_id, changed, using)
        if times or table != "sessions":
            found.append(Found(label, times, rows))
    return found


def fitting(column: str, text: str) -> str:
    is_too_long = column in INDEXED and len(text.encode()) > LONGEST_INDEXED
    return REDACTED if is_too_long else text


def places() -> dict[str, tuple[str, tuple, tuple]]:
    """PLACES without what this agent database lacks."""
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
    """(id, {column: text}) of each row, as much at a time as memory has room for."""
    columns = [name for each in places()[table][1:] for name in each]
    names = [sql.Identifier(name) for name in columns]
    size = sql.SQL(" + ").join(sql.SQL("coalesce(pg_column_size({}), 0)").format(n) for n in names)
    texts = sql.SQL(", ").join(sql.SQL("{}::text").format(name) for name in names)
    parts = {"table": sql.Identifier(table), "which": sql.SQL(WHICH[table])}
    sizes = sql.SQL("SELECT id, {size} FROM {table} WHERE {which} ORDER BY created_at, id")
    some = sql.SQL("SELECT id, {texts} FROM {table} WHERE ({which}) AND id = ANY(%(some)s){lock}")
    some = some.format(texts=texts, lock=sql.SQL(" FOR UPDATE" if lock else ""), **parts)
    with connections[using].cursor() as cursor:
        cursor.execute(sizes.format(size=size, **parts), {"ids": [session_id]})
        for ids in batches(cursor.fetchall()):
            cursor.execute(some, {"ids": [session_id], "some": ids})
            # Some may be gone by now.
            rows = {row_id: values for row_id, *values in cursor.fetchall()}
            for row_id in ids:
                texts_of_row = zip(columns, rows.pop(row_id, ()), strict=False)
                yield row_id, {name: text for name, text in texts_of_row if holds(name, text)}


def holds(column: str, text: str | None) -> bool:
    """Whether words may be removed from it."""
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


def update(table, row_id, changed: dict[str, str], using):
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = %s" if name in PLACES[table][1] else "{} = %s::jsonb").format(
            sql.Identifier(name)
        )
        for name in changed
    )
    statement = sql.SQL("UPDATE {} SET {} WHERE id = %s").format(sql.Identifier(table), assignments)
    with connections[using].cursor() as cursor:
        cursor.execute(statement, [*changed.values(), row_id])
