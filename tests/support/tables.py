"""Reads the agent tables with plain SQL."""

import json
from contextlib import contextmanager

from django.db import connections

TABLES = {
    "agent": "agents",
    "session": "sessions",
    "run": "runs",
    "task": "tasks",
    "chatmessage": "chat_messages",
    "modelcall": "model_call_stats",
}


def sql(statement, parameters=None):
    with connections["agents_write"].cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else None


def rows_of(model) -> dict:
    """{id: {column: value as text}} of a model's table."""
    table = TABLES[model]
    return {
        row.pop("id"): row
        for (row,) in sql(
            f"SELECT (SELECT jsonb_object_agg(key, value) FROM jsonb_each_text(to_jsonb(t)))"
            f" FROM {table} t"
        )
        for row in [json.loads(row) if isinstance(row, str) else row]
    }


def by_column() -> dict:
    return {model: rows_of(model) for model in TABLES}


def everything() -> dict:
    """{(table, id): the row as text} of all the runtime's tables."""
    return {
        (table, pk): text
        for table in TABLES.values()
        for pk, text in sql(f"SELECT id, to_jsonb(t)::text FROM {table} t")
    }


@contextmanager
def untouched(*but_for):
    """Check that the block changes nothing in any table except these (model, id, column)."""
    before = by_column()
    yield
    after = by_column()
    for model, pk, column in but_for:
        before[model][str(pk)].pop(column)
        after[model][str(pk)].pop(column)
    assert after == before


def value(model, pk, column):
    [[found]] = sql(f"SELECT {column} FROM {TABLES[model]} WHERE id = %s", [pk])
    return found
