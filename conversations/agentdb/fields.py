"""Field types for columns as the agent runtime fills them."""

from django.db import models
from django.db.models.lookups import BuiltinLookup

from backoffice import json_text
from privacy import masking


class PayloadField(models.JSONField):
    """
    A jsonb column in which SQL NULL and JSON null both mean "no value"; both are read as None.

    The lookup `has_value` tells both from real values in SQL, without reading the payload.
    """

    def from_db_value(self, value, expression, connection):
        return None if value is None else json_text.loads(value)


class SecondsField(models.FloatField):
    """A numeric column of seconds, read as float."""

    def from_db_value(self, value, expression, connection):
        return None if value is None else float(value)


class CutTextField(models.TextField):
    """A text that SQL may have cut to `length`; if so, it is masked as one with a cut end."""

    def __init__(self, length: int):
        super().__init__()
        self.length = length

    def from_db_value(self, value, expression, connection):
        return masking.cut(value, self.length)


class PayloadTextField(models.TextField):
    """A JSON document as text, perhaps cut to `length`; it stays JSON when masked."""

    def __init__(self, length: int | None = None):
        super().__init__()
        self.length = length

    def from_db_value(self, value, expression, connection):
        return masking.cut_json(value, self.length)


class BooleanLookup(BuiltinLookup):
    """A lookup that takes True or False; `template` is its SQL condition."""

    prepare_rhs = False
    template: str

    def as_sql(self, compiler, connection):
        if not isinstance(self.rhs, bool):
            raise ValueError(f"{self.lookup_name} takes True or False.")
        column, params = self.process_lhs(compiler, connection)
        condition = self.template.format(column=column)
        times = self.template.count("{column}")
        return (condition if self.rhs else f"NOT {condition}"), [*params] * times


@PayloadField.register_lookup
class HasValue(BooleanLookup):
    """Checks the stored size first, because comparing a large value means fetching all of it."""

    lookup_name = "has_value"
    template = (
        "({column} IS NOT NULL AND (pg_column_size({column}) > 64 OR {column} <> 'null'::jsonb))"
    )


@models.TextField.register_lookup
class ContainsText(BuiltinLookup):
    """Case-insensitive substring with ILIKE, which a trigram index on the plain column supports."""

    lookup_name = "contains_text"

    def get_prep_lookup(self):
        return str(self.rhs)

    def as_sql(self, compiler, connection):
        column, params = self.process_lhs(compiler, connection)
        pattern = "%" + connection.ops.prep_for_like_query(self.rhs) + "%"
        return f"{column} ILIKE %s", [*params, pattern]
