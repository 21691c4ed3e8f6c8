"""
SQL that differs only in its parameters, built once per process.

Django takes longer to build the largest statements than PostgreSQL takes to run them: 9 ms for the
list's rows, 12 ms for the columns of its export, 5 ms for a condition on all kinds of problems,
3 ms for runs, and 3 ms for a conversation's steps and model calls together. Only these are built
here, and those that read thousands of rows as tuples anyway.
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

# Annotations of with_summary() that hold JSON.
COUNTS = ("message_counts", "run_counts", "task_counts", "model_call_counts")


class Placeholder(str):
    """Marks the place of a named parameter until the statement runs."""


def one(name: str) -> RawSQL:
    return RawSQL("%s::uuid", [Placeholder(name)])


def some(name: str) -> RawSQL:
    return RawSQL("SELECT unnest(%s::uuid[])", [Placeholder(name)])


def by_id(build: Callable[..., QuerySet], **given: uuid.UUID | list[uuid.UUID]) -> dict:
    """
    {id: row} for the queryset that `build` returns. Each keyword in `given` is an id, or a list of
    ids for use with `__in`; `build` gets SQL placeholders instead of the values.
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
    """Like by_id(), but for a values_list(). Values are as psycopg reads them: JSON is text."""
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
    Reuse the WHERE clause of the queryset `build(*args)` as a condition on another queryset of the
    same table. Not for use in a subquery, where Django renames tables.
    """
    sql, params = where(build, args, revision.known())
    return RawSQL(sql, params, output_field=BooleanField())  # noqa: S611


def subqueries(build: Callable[[], QuerySet]) -> dict[str, RawSQL]:
    """
    Reuse the subqueries that `build` annotates as annotations of another queryset of the same
    table. Not for use in a subquery either.
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
    """The compiler for the queryset's server: SQL differs between PostgreSQL versions."""
    return queryset.query.get_compiler(queryset.db)


def forget():
    """Drop all compiled SQL: the tables may have changed while it was being built."""
    statement.cache_clear()
    where.cache_clear()
    annotated.cache_clear()
