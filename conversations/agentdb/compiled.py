"""
SQL that is the same each time but for ids and times, built once per process.

Building the larger statements takes Django longer than running them takes PostgreSQL.
"""

import json
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache
from typing import Any

from django.db import connections
from django.db.models import BooleanField, Model, QuerySet
from django.db.models.expressions import RawSQL
from django.utils import timezone

from . import revision
from .conventions import INTERRUPTED_AFTER

# What with_summary() annotates as JSON.
COUNTS = ("message_counts", "run_counts", "task_counts", "model_call_counts")


# What a statement has in the place of ids, of one id, and of a time: see filled().
IDS = RawSQL("SELECT unnest(%s::uuid[])", [[]])
ID = RawSQL("%s::uuid", [[]])

Build = Callable[[RawSQL], QuerySet]


def by_id(build: Build, ids: Iterable) -> dict:
    """{id: row} of what a function makes of an expression that stands for some ids."""
    ids = list(ids)
    if not ids:
        return {}
    model, sql, params = statement(build, IDS, revision.known())
    found = {row.pk: row for row in model.objects.raw(sql, filled(params, ids))}
    for row in found.values():
        for group in COUNTS:
            if value := row.__dict__.get(group):
                setattr(row, group, json.loads(value))
    return found


def tuples(build: Build, given: uuid.UUID | Iterable) -> list[tuple]:
    """
    The same of a values_list() and of some ids, or of one, for which PostgreSQL plans as if it were
    written there. Values are as psycopg reads them: JSON is text.
    """
    one = isinstance(given, uuid.UUID)
    given = given if one else list(given)
    if not given:
        return []
    model, sql, params = statement(build, ID if one else IDS, revision.known())
    with connections[model.objects.db].cursor() as cursor:
        cursor.execute(sql, filled(params, given))
        return cursor.fetchall()


def condition(build: Callable[..., QuerySet], *args: Any) -> RawSQL:
    """
    What a function of these arguments asks of rows, as a condition for others of that table. Not
    for a query within another, where Django gives tables other names.
    """
    sql, params = where(build, args, revision.known())
    return RawSQL(sql, filled(params), output_field=BooleanField())  # noqa: S611


@cache
def statement(build, ids, known) -> tuple[type[Model], str, tuple]:
    queryset = build(ids)
    return queryset.model, *compiler(queryset).as_sql()


@cache
def where(build, args, known) -> tuple[str, tuple]:
    queryset = build(*args)
    sql, params = compiler(queryset).compile(queryset.query.where)
    return sql, tuple(params)


def compiler(queryset):
    """For the server that is asked: another version of PostgreSQL than ours has other words."""
    return queryset.query.get_compiler(queryset.db)


def forget():
    """Build them again, where the tables may have changed while one was built."""
    statement.cache_clear()
    where.cache_clear()


def filled(params, given=()) -> list:
    """With what is given for each empty list, and for each time the one that is meant by it now."""
    since = timezone.now() - INTERRUPTED_AFTER
    return [
        given if type(each) is list else since if type(each) is datetime else each
        for each in params
    ]
