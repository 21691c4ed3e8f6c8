"""What a database error means, by its SQLSTATE."""

from contextlib import contextmanager

from django.db import InterfaceError, OperationalError

QUERY_CANCELED = "57014"
READ_ONLY = "25006"
DISK_FULL = "53100"
# A table or a column that was there, or was not yet, when we looked.
OTHER_TABLES = ("42703", "42P01")
# Nothing else here runs into these: no transaction of ours is serializable, and what is read locks
# nothing.
RECOVERY_CONFLICTS = {"40001", "40P01"}


def alias_of(error: Exception) -> str:
    """The alias of the database that it came from, "none" where no database raised it."""
    return getattr(error, "database_alias", "none")


def sqlstate(error: Exception) -> str | None:
    return getattr(error.__cause__, "sqlstate", None)


def is_timeout(error: Exception) -> bool:
    """A statement that ran into its time limit; Django raises the same as for an outage."""
    return sqlstate(error) == QUERY_CANCELED


@contextmanager
def timeouts_ignored():
    """Around what a page can do without: with time_limit() inside, it ends where time runs out."""
    try:
        yield
    except OperationalError as error:
        if not is_timeout(error):
            raise


def is_outage(error: Exception) -> bool:
    """The database's failure and not ours: gone, too slow, full, or changed under our feet."""
    lasting = (READ_ONLY, *OTHER_TABLES)
    return isinstance(error, OperationalError | InterfaceError) or sqlstate(error) in lasting


def is_recovery_conflict(error: Exception) -> bool:
    """A replica had to apply something that the statement was still reading."""
    return sqlstate(error) in RECOVERY_CONFLICTS
