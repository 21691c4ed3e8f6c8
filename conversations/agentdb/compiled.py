"""
SQL that differs only in its parameters, built once per process.

Django takes longer to build the largest statements than PostgreSQL takes to run them: 9 ms for the
rows of the list, 12 for the columns of its file, 5 for a condition on all kinds of problems, 3 for
runs, 3 together for the steps and the model calls of a conversation. Only these are built here.
"""

import json
import uuid
from collections.abc import Callable
from functools import cache
from typing import Any

from django.db import connections
from django.db.models import BooleanField, Field, Model, QuerySet, Subquery
from django.db.models.expressions import RawSQL

from . import revision

# The annotations of with_summary() that are JSON.
COUNTS = ("message_counts", "run_counts", "task_counts", "model_call_counts")


class Placeholder(str):
    """Stands for a named parameter until the statement runs."""


def one(name: str) -> RawSQL:
    return RawSQL("%s::uuid", [Placeholder(name)])


def some(name: str) -> RawSQL:
    return RawSQL("SELECT unnest(%s::uuid[])", [Placeholder(name)])


def by_id(build: Callable[..., QuerySet], **given: uuid.UUID | list[uuid.UUID]) -> dict:
    """
    {id: row} of the queryset that `build` returns for `given`: an id, or a list of ids for use
    with `__in`. `build` gets SQL in their place.
    """
    if not all(given.values()):
        return {}
    model, sql, params = filled(build, given)
    found = {row.pk: row for row in model.objects.raw(sql, params)}
    for row in found.values():
        for group in COUNTS:
            if value := row.__dict__.get(group):
                setattr(row, group, json.loads(value))
    return found


def tuples(build: Callable[..., QuerySet], **given: uuid.UUID | list[uuid.UUID]) -> list[tuple]:
    """Like by_id(), for a values_list(). Values are as psycopg reads them: JSON is text."""
    if not all(given.values()):
        return []
    model, sql, params = filled(build, given)
    with connections[model.objects.db].cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall()


def filled(build, given: dict) -> tuple[type[Model], str, list]:
    kinds = tuple((name, isinstance(value, uuid.UUID)) for name, value in given.items())
    model, sql, params = statement(build, kinds, revision.known())
    return model, sql, [given[each] if isinstance(each, Placeholder) else each for each in params]


def condition(build: Callable[..., QuerySet], *args: Any) -> RawSQL:
    """
    Reuses the WHERE clause of the queryset `build(*args)` as a condition on another queryset of
    the same table. Not for use in a subquery, where Django renames tables.
    """
    sql, params = where(build, args, revision.known())
    return RawSQL(sql, params, output_field=BooleanField())  # noqa: S611


def subqueries(build: Callable[[], QuerySet]) -> dict[str, RawSQL]:
    """
    The subqueries that `build` annotates, as annotations of another queryset of the same table. Not
    for use in a subquery, either.
    """
    return {
        name: RawSQL(sql, params, output_field=field)  # noqa: S611
        for name, (sql, params, field) in annotated(build, revision.known()).items()
    }


@cache
def statement(build, kinds, known) -> tuple[type[Model], str, tuple]:
    queryset = build(**{name: (one if is_one else some)(name) for name, is_one in kinds})
    return queryset.model, *compiler(queryset).as_sql()


@cache
def where(build, args, known) -> tuple[str, tuple]:
    queryset = build(*args)
    sql, params = compiler(queryset).compile(queryset.query.where)
    return sql, tuple(params)


@cache
def annotated(build, known) -> dict[str, tuple[str, tuple, Field]]:
    queryset = build()
    sql = compiler(queryset)
    sql.setup_query()
    return {
        name: (text, tuple(params), expression.output_field)
        for expression, (text, params), name in sql.select
        if isinstance(expression, Subquery)
    }


def compiler(queryset):
    """For the queryset's own server: SQL differs between versions of PostgreSQL."""
    return queryset.query.get_compiler(queryset.db)


def forget():
    """Build them again: the tables may have changed while one was built."""
    statement.cache_clear()
    where.cache_clear()
    annotated.cache_clear()
