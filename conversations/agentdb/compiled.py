"""
SQL that is the same each time but for what is given to it, built once per process.

Django takes longer to build the largest statements than PostgreSQL takes to run them: 9 ms for the
rows of the list, 5 for a condition on all kinds of problems, 3 for runs. Only these are here.
"""

import json
import uuid
from collections.abc import Callable
from functools import cache
from typing import Any

from django.db.models import BooleanField, Model, QuerySet
from django.db.models.expressions import RawSQL

from . import revision

# What with_summary() annotates as JSON.
COUNTS = ("message_counts", "run_counts", "task_counts", "model_call_counts")


class Placeholder(str):
    """A parameter of a statement, by its name, until it is run."""


def one(name: str) -> RawSQL:
    return RawSQL("%s::uuid", [Placeholder(name)])


def some(name: str) -> RawSQL:
    return RawSQL("SELECT unnest(%s::uuid[])", [Placeholder(name)])


def by_id(build: Callable[..., QuerySet], **given: uuid.UUID | list[uuid.UUID]) -> dict:
    """
    {id: row} of the queryset that a function makes of what is given: an id, or some ids for use
    with `__in`. The function gets SQL in their place.
    """
    if not all(given.values()):
        return {}
    kinds = tuple((name, isinstance(value, uuid.UUID)) for name, value in given.items())
    model, sql, params = statement(build, kinds, revision.known())
    filled = [given[each] if isinstance(each, Placeholder) else each for each in params]
    found = {row.pk: row for row in model.objects.raw(sql, filled)}
    for row in found.values():
        for group in COUNTS:
            if value := row.__dict__.get(group):
                setattr(row, group, json.loads(value))
    return found


def condition(build: Callable[..., QuerySet], *args: Any) -> RawSQL:
    """
    The WHERE clause of the queryset that a function makes of these arguments, as a condition on
    another queryset of the same table. Not within a subquery, where Django gives tables other
    names.
    """
    sql, params = where(build, args, revision.known())
    return RawSQL(sql, params, output_field=BooleanField())  # noqa: S611


@cache
def statement(build, kinds, known) -> tuple[type[Model], str, tuple]:
    queryset = build(**{name: (one if is_one else some)(name) for name, is_one in kinds})
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
