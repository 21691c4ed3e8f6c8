"""Writes rows of the overview in bulk."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import connections
from django.db.models import Model

STALE = """
    INSERT INTO overview_stale (starts) SELECT DISTINCT unnest(%s::timestamptz[])
    ON CONFLICT DO NOTHING
"""


def columns(model: type[Model], *left_out: str) -> list[str]:
    return [field.column for field in model._meta.concrete_fields if field.column not in left_out]


def copy(model: type[Model], names: Sequence[str], rows: Iterable[Sequence[Any]]):
    """Insert rows; dictionaries become JSON."""
    statement = f"COPY {model._meta.db_table} ({', '.join(names)}) FROM STDIN"
    with connections["default"].cursor() as cursor, cursor.copy(statement) as copying:
        for row in rows:
            copying.write_row(
                [as_json(value) if isinstance(value, dict) else value for value in row]
            )


def as_json(value: dict) -> str:
    return json.dumps(value, separators=(",", ":"))


def without_zeros(value: dict) -> dict:
    """Figures without those that are zero or empty."""
    found = {
        key: without_zeros(each) if isinstance(each, dict) else each for key, each in value.items()
    }
    return {key: each for key, each in found.items() if each not in (0, {})}


def mark_stale(quarters: Iterable[datetime]):
    """The cells of these quarters have to be made again."""
    found = sorted(set(quarters))
    if found:
        with connections["default"].cursor() as cursor:
            cursor.execute(STALE, [found])
