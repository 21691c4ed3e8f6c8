"""Pieces of SQL that need no model class, so that what models rest on can use them."""

from django.apps import apps
from django.db.models import (
    F,
    Func,
    Q,
    QuerySet,
    Subquery,
    TextField,
    Value,
)
from django.db.models.functions import Coalesce, Left


def rows(model: str) -> QuerySet:
    return apps.get_model("conversations", model).objects.all()


def any_of(queryset: QuerySet) -> Q:
    """That there is a row, in a form which PostgreSQL cannot turn into a hash of a whole table."""
    one = queryset.order_by().annotate(found=Value(True)).values("found")[:1]
    return Q(Coalesce(Subquery(one), False))


def payload_text(field: str, length: int, *path: str):
    """
    The text of a payload, or of what lies at a path inside, cut to a length: a string without
    its quotes, anything else as JSON; None for JSON null.
    """
    steps = "{" + ",".join(path) + "}"
    return Left(
        Func(
            F(field),
            Value(steps),
            template="(%(expressions)s::text[])",
            arg_joiner=" #>> ",
            output_field=TextField(),
        ),
        length,
    )
