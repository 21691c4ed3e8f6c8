"""
Lookups that compare texts in their normal form. Databases with an encoding other than UTF8 cannot
normalise texts; there, these lookups only ignore case.
"""

from itertools import chain

from django.db import models
from django.db.models.lookups import BuiltinLookup

from privacy import hits

from . import normal_form
from .search_terms import Term, whole

# How many conditions may use an index, longest terms first: each costs planning time.
MOST_INDEXED = 3
# For external ids. A B-tree rejects entries of more than 2,704 bytes, and the INSERT with them.
NAME_LENGTH = 600
# In a database with the locale C, lower() changes only ASCII, so other capital letters are searched
# for as typed. PostgreSQL's planner evaluates which of the two it is.
EITHER = """CASE WHEN lower('Ж' COLLATE "default") = 'ж' THEN %s ELSE %s END"""


def encoding(connection) -> str:
    connection.ensure_connection()
    return connection.connection.info.parameter_status("server_encoding")


def is_utf8(connection) -> bool:
    return encoding(connection) == "UTF8"


def can_hold(connection, text: str) -> bool:
    """Whether a database that is not UTF8 has these characters; PostgreSQL rejects others."""
    name = encoding(connection)
    if name == "SQL_ASCII" or text.isascii():
        return True
    try:
        text.encode(name.replace("WIN", "cp"))
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def name_sql(column: str) -> str:
    """SQL for the normal form of an external id."""
    return f"left(btrim({normal_form.sql(column)}), {NAME_LENGTH})"


def placeholder(*values: str) -> tuple[str, list[str]]:
    """`values`: the value and, if it differs, the value for databases that lower only ASCII."""
    given = list(dict.fromkeys(values))
    return "%s" if len(given) == 1 else EITHER, given


def holds_sql(
    connection, text: str, terms: tuple[Term, ...], normal_sql=normal_form.sql
) -> tuple[str, list[str]]:
    """(condition, parameters): whether the SQL expression `text` contains all terms."""

    def pattern(words: str) -> str:
        return f"%{connection.ops.prep_for_like_query(words)}%"

    if not is_utf8(connection):
        typed = [term.typed for term in terms]
        if not all(can_hold(connection, words) for words in typed):
            return "false", []
        return " AND ".join([f"{text} ILIKE %s"] * len(typed)), [*map(pattern, typed)]
    normal = f"({normal_sql(text)})".replace("%", "%%")
    by_length = sorted(terms, key=len, reverse=True)
    patterns = [placeholder(pattern(term), pattern(term.unlowered)) for term in by_length]
    conditions = [f"{normal} LIKE {sql}" for sql, _ in patterns[:MOST_INDEXED]]
    if others := patterns[MOST_INDEXED:]:
        conditions.append(f"{normal} LIKE ALL (ARRAY[{', '.join(sql for sql, _ in others)}])")
    return " AND ".join(conditions), [value for _, values in patterns for value in values]


def openly_sql(connection, text: str, lists: list[list[str]]) -> tuple[str, list[str]]:
    normal = f"({normal_form.sql(text)})".replace("%", "%%") if is_utf8(connection) else text
    ways = [" AND ".join([f"{normal} ~* %s"] * len(patterns)) for patterns in lists]
    harmless = f"{text} !~ %s"
    return f"({' OR '.join([harmless, *ways])})", [hits.MAY_HOLD, *chain(*lists)]


class NormalLookup(BuiltinLookup):
    prepare_rhs = False

    def as_sql(self, compiler, connection):
        # Must not have parameters, because the condition repeats the column.
        column, _ = self.process_lhs(compiler, connection)
        return self.condition(column, connection)


@models.TextField.register_lookup
class Holds(NormalLookup):
    """Contains all of these `Term`s, in any order. An index on the normal form supports it."""

    lookup_name = "holds"

    def condition(self, column, connection):
        return holds_sql(connection, column, self.rhs)


class ErrorTextField(models.TextField):
    """The text of an error; the SQL expression for it is long."""


@ErrorTextField.register_lookup
class ErrorHolds(Holds):
    def condition(self, column, connection):
        return holds_sql(connection, column, self.rhs, normal_form.error_sql)


@models.TextField.register_lookup
class HoldsOpenly(NormalLookup):
    """
    Contains nothing to mask, or matches all regular expressions in one of these lists, which come
    from `privacy.hits`.
    """

    lookup_name = "holds_openly"

    def condition(self, column, connection):
        return openly_sql(connection, column, self.rhs)


class NameLookup(NormalLookup):
    operator: str
    # Appended to the typed value to make it a pattern.
    rest = ""

    def condition(self, column, connection):
        if is_utf8(connection):
            name, found = name_sql(column).replace("%", "%%"), whole(self.rhs)
            values = [found, found.unlowered]
        elif not can_hold(connection, self.rhs):
            return "false", []
        else:
            name, values = f"lower({column})", [self.rhs.strip().lower()]
        if self.rest:
            escape = connection.ops.prep_for_like_query
            values = [f"{escape(value)}{self.rest}" for value in values]
        sql, params = placeholder(*values)
        return f"{name} {self.operator} {sql}", params


@models.TextField.register_lookup
class IsNamed(NameLookup):
    """The external id equals this one, ignoring case."""

    lookup_name = "is_named"
    operator = "="


@models.TextField.register_lookup
class IsNamedFrom(NameLookup):
    """The external id begins with this, ignoring case."""

    lookup_name = "is_named_from"
    operator = "LIKE"
    rest = "%"
