"""
SQL that is the same each time but for ids and times, built once per process.

Building the larger statements takes Django longer than running them takes PostgreSQL.
"""

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache
from typing import Any

from django.db import connections
from django.db.models import BooleanField, Model, QuerySet
from django.db.models.expressions import RawSQL
from django.utils import timezone

from . import revision
from .querysets import INTERRUPTED_AFTER

# What with_summary() annotates as JSON.
COUNTS = ("message_counts", "run_counts", "task_counts", "model_call_counts")


def by_id(build: Callable[[RawSQL], QuerySet], ids: Iterable) -> dict:
    """{id: row} of what a function makes of an expression that stands for some ids."""
    ids = list(ids)
    if not ids:
        return {}
    model, sql, params = statement(build, revision.known())
    found = {row.pk: row for row in model.objects.raw(sql, filled(params, ids))}
    for row in found.values():
        for group in COUNTS:
            if value := row.__dict__.get(group):
                setattr(row, group, json.loads(value))
    return found


def tuples(build: Callable[[RawSQL], QuerySet], ids: Iterable) -> list[tuple]:
    """The same of a values_list(): values as psycopg reads them, JSON as text."""
    ids = list(ids)
    if not ids:
        return []
    model, sql, params = statement(build, revision.known())
    with connections[model.objects.db].cursor() as cursor:
        cursor.execute(sql, filled(params, ids))
        return cursor.fetchall()


def condition(build: Callable[..., QuerySet], *args: Any) -> RawSQL:
    """
    What a function of these arguments asks of rows, as a condition for others of that table. Not
    for a query within another, where Django gives tables other names.
    """
    sql, params = where(build, args, revision.known())
    return RawSQL(sql, filled(params), output_field=BooleanField())  # noqa: S611


IDS = RawSQL("SELECT unnest(%s::uuid[])", [[]])


@cache
def statement(build, known) -> tuple[type[Model], str, tuple]:
    queryset = build(IDS)
    return queryset.model, *queryset.query.sql_with_params()


@cache
def where(build, args, known) -> tuple[str, tuple]:
    queryset = build(*args)
    compiler = queryset.query.get_compiler(connection=connections[queryset.db])
    sql, params = compiler.compile(queryset.query.where)
    return sql, tuple(params)


def filled(params, ids=()) -> list:
    """With the ids for the list of none, and for each time the one that is meant by it now."""
    since = timezone.now() - INTERRUPTED_AFTER
    return [
        ids if type(each) is list else since if type(each) is datetime else each for each in params
    ]
