"""What a database error means, by its SQLSTATE."""

from contextlib import contextmanager

from django.db import InterfaceError, OperationalError

QUERY_CANCELED = "57014"
READ_ONLY = "25006"
DISK_FULL = "53100"
# A missing column or table: the schema has changed since we looked.
OTHER_TABLES = ("42703", "42P01")
# Nothing else causes these here: our transactions are not serializable and our reads lock nothing.
RECOVERY_CONFLICTS = {"40001", "40P01"}


def alias_of(error: Exception) -> str:
    """The alias of the database that raised the error, or "none"."""
    return getattr(error, "database_alias", "none")


def sqlstate(error: Exception) -> str | None:
    return getattr(error.__cause__, "sqlstate", None)


def is_timeout(error: Exception) -> bool:
    """Whether a statement hit its time limit; Django raises the same error for an outage."""
    return sqlstate(error) == QUERY_CANCELED


@contextmanager
def timeouts_ignored():
    """Wrap an optional part of a page, with time_limit() inside: a timeout just ends it."""
    try:
        yield
    except OperationalError as error:
        if not is_timeout(error):
            raise


def is_outage(error: Exception) -> bool:
    """Whether the database failed and not our code: gone, too slow, full, or just changed."""
    lasting = (READ_ONLY, *OTHER_TABLES)
    return isinstance(error, OperationalError | InterfaceError) or sqlstate(error) in lasting


def is_recovery_conflict(error: Exception) -> bool:
    """Whether a replica had to apply changes to what the statement was reading."""
    return sqlstate(error) in RECOVERY_CONFLICTS
