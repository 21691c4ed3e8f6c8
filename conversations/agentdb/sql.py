"""Pieces of SQL. Imports no models, so that modules imported by models.py can use it."""

import re

from django.apps import apps
from django.db.models import F, Field, Func, Q, QuerySet, Subquery, TextField, Value
from django.db.models.functions import Cast, Coalesce, Left

from .fields import CutTextField, PayloadTextField

COLUMN = re.compile(r"\{([a-z_]+)\}")


def with_columns(template: str, **columns: str) -> str:
    """SQL with its {column}s filled in, by default with their plain names."""
    return COLUMN.sub(lambda found: columns.get(found[1], found[1]), template)


class Template(Func):
    """SQL in which {column} stands for a column of the queryset's rows."""

    def __init__(self, sql: str, output_field: Field | None = None):
        self.sql, self.columns = sql, list(dict.fromkeys(COLUMN.findall(sql)))
        super().__init__(*map(F, self.columns), output_field=output_field or TextField())

    def as_sql(self, compiler, connection):
        compiled = [compiler.compile(each)[0] for each in self.get_source_expressions()]
        columns = dict(zip(self.columns, compiled, strict=True))
        # The driver would take a percent sign for a placeholder.
        return with_columns(self.sql, **columns).replace("%", "%%"), []


def rows(model: str) -> QuerySet:
    return apps.get_model("conversations", model).objects.all()


def any_of(queryset: QuerySet) -> Q:
    """Whether a row exists, in a form that PostgreSQL cannot turn into a hash of a whole table."""
    one = queryset.order_by().annotate(found=Value(True)).values("found")[:1]
    return Q(Coalesce(Subquery(one), False))


def cut_text(text, length: int) -> Left:
    """The first `length` characters of a text, with personal data masked."""
    return Left(text, length, output_field=CutTextField(length))


def payload_json(field: str, length: int | None = None):
    """A payload as JSON text, whole or cut to `length`, with personal data masked."""
    whole = Cast(field, PayloadTextField())
    return Left(whole, length, output_field=PayloadTextField(length)) if length else whole


def payload_text(field: str, length: int, *path: str):
    """
    The text of a payload, or of the value at `path` in it, cut to `length`: a string without its
    quotes, anything else as JSON; None for JSON null.
    """
    steps = "{" + ",".join(path) + "}"
    return cut_text(
        Func(
            F(field),
            Value(steps),
            template="(%(expressions)s::text[])",
            arg_joiner=" #>> ",
            output_field=TextField(),
        ),
        length,
    )
