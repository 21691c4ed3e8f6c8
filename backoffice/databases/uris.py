"""libpq URIs to Django's DATABASES entries, and what all of them share."""

import os
import re
from contextlib import contextmanager, nullcontext
from enum import IntEnum

from django.db import connections, transaction
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from .. import env
from .postgresql.connection import Connection

# Of whatever reads the agent database. Compiling a query of many subqueries took 2 s where running
# it took 0.2 s. One person's search must not take every processor.
READING = {
    "default_transaction_read_only": "on",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}


def quote_option(value: str) -> str:
    """One value inside libpq's `options`, where spaces separate and backslashes escape."""
    return re.sub(r"([\\\s])", r"\\\1", value)


def from_uri(
    variable: str,
    uri: str,
    *,
    schema: str = "",
    read_only: bool = False,
    timeout_seconds: int = 0,
    pool_size: int = 0,
    test: dict | None = None,
) -> dict:
    """
    The DATABASES entry for a libpq URI, as kavalai's environment holds it.

    SQLAlchemy's driver suffix (`postgresql+asyncpg://`) and asyncpg's `ssl` parameter are
    accepted. `variable` names the setting in the message that a bad URI ends the start with;
    libpq's own message is left out since it may quote a part of the password.
    """
    libpq_uri = re.sub(r"^postgres(ql)?\+\w+://", "postgresql://", uri)
    libpq_uri = re.sub(r"([?&])ssl=", r"\1sslmode=", libpq_uri)
    libpq_uri = re.sub(r"([?&]sslmode=)true\b", r"\1require", libpq_uri, flags=re.IGNORECASE)
    libpq_uri = re.sub(r"([?&]sslmode=)false\b", r"\1disable", libpq_uri, flags=re.IGNORECASE)
    try:
        params = conninfo_to_dict(libpq_uri)
    except (ProgrammingError, ValueError):
        raise env.stop(
            f"{variable} is not a PostgreSQL URI (postgresql://user:password@host/database): "
            "parameters must be libpq's, special characters percent-encoded."
        ) from None
    options = [str(params.pop("options", "") or "")]
    if schema:
        quoted = '"' + schema.replace('"', '""') + '"'
        options.append(f"-c search_path={quote_option(quoted)}")
    if read_only:
        options += [f"-c {name}={value}" for name, value in READING.items()]
    if timeout_seconds:
        options.append(f"-c statement_timeout={timeout_seconds * 1000}")
    user = params.pop("user", "")
    entry = {
        "ENGINE": "backoffice.databases.postgresql",
        "NAME": params.pop("dbname", "") or user or "postgres",
        "USER": user,
        "PASSWORD": params.pop("password", ""),
        "HOST": params.pop("host", ""),
        "PORT": str(params.pop("port", "")),
        "CONN_HEALTH_CHECKS": True,
        # A cursor outside a transaction does not survive PgBouncer's transaction mode.
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "OPTIONS": {"connect_timeout": 2, "query_seconds": timeout_seconds, **params},
        "TEST": test or {},
    }
    joined = " ".join(option for option in options if option)
    if joined:
        entry["OPTIONS"]["options"] = joined
    if pool_size:
        entry["OPTIONS"]["pool"] = {
            "connection_class": Connection,
            "min_size": 0,
            "max_size": pool_size,
            "timeout": 3,
            # Else it waits longer after each attempt, and so do pages when the server is back.
            "reconnect_timeout": 0,
        }
    else:
        # A new one costs a page as much again: the server's process has to learn the tables first.
        entry["CONN_MAX_AGE"] = 3600
    return entry


# The lock is the transaction's: it works through PgBouncer and on a replica, and is gone however
# that ends.
TAKE_PLACE = """
    SELECT place FROM generate_series(1, %(places)s) AS place
    WHERE pg_try_advisory_xact_lock(%(work)s, place) LIMIT 1
"""
AWAIT_PLACE = "SELECT pg_advisory_xact_lock(%(work)s, 1 + pg_backend_pid() %% %(places)s)"
# One such query keeps a processor of PostgreSQL busy. Often that machine is this one, or like it,
# and pages need the other half.
PLACES = max((os.cpu_count() or 1) // 2, 1)


class Work(IntEnum):
    """
    What reads so much that few may do it at once, in all processes, and others wait: there is a
    page to show meanwhile. The numbers are those of locks.
    """

    EXPORT = 1_684_370_283
    LOOK_BACK = 1_684_370_284
    COUNT = 1_684_370_285
    COLLECT = 1_684_370_286


def take_place(alias: str, work: Work, places: int) -> bool:
    """Whether one of so many places was free; it is taken until the transaction ends."""
    with connections[alias].cursor() as cursor:
        cursor.execute(TAKE_PLACE, {"work": work.value, "places": places})
        return cursor.fetchone() is not None


@contextmanager
def turn(alias: str, work: Work):
    """A transaction that begins when there is a place for such work, within its time limit."""
    with transaction.atomic(using=alias):
        if not take_place(alias, work, PLACES):
            with connections[alias].cursor() as cursor:
                cursor.execute(AWAIT_PLACE, {"work": work.value, "places": PLACES})
        yield


@contextmanager
def limited(alias: str, seconds: float):
    """
    Each statement gets less time than others; a timeout raises as usual. Yields what changes the
    limit of those to come: a function of seconds.
    """
    connection = connections[alias]
    outer, within_another = connection.statement_seconds, connection.in_atomic_block

    def limit(seconds):
        connection.statement_seconds = seconds

    # A timeout undoes what is in here and nothing else.
    with transaction.atomic(using=alias) if within_another else nullcontext():
        limit(seconds)
        try:
            yield limit
        finally:
            connection.statement_seconds = outer
        if within_another and outer is None:
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout TO DEFAULT")


class Router:
    """Conversations live in the agent database, everything else in ours."""

    def db_for_read(self, model, **hints):
        return "agents" if model._meta.app_label == "conversations" else "default"

    def db_for_write(self, model, **hints):
        from django.conf import settings

        if model._meta.app_label != "conversations":
            return "default"
        return "agents_write" if "agents_write" in settings.DATABASES else "agents"

    def allow_relation(self, one, other, **hints):
        # Both sides of `agents` and `agents_write` are one database; no join leaves it.
        apps = {one._meta.app_label, other._meta.app_label}
        return "conversations" not in apps or len(apps) == 1

    def allow_migrate(self, db, app_label, **hints):
        return db == "default" and app_label != "conversations"
