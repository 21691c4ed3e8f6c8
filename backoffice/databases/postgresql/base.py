"""Django's PostgreSQL engine with connections that never wait forever."""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import cast

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql import base
from django.db.backends.postgresql.psycopg_any import IsolationLevel
from django.db.utils import DatabaseErrorWrapper, Error
from django.utils.functional import cached_property
from psycopg import ClientCursor
from psycopg.pq import TransactionStatus
from psycopg.sql import Composable

from .connection import CHECK_SECONDS, GRACE_SECONDS, Connection, Watch, page_seconds


# base.Cursor already is a ClientCursor. It is repeated for the type checker: the stubs leave open
# whether Django runs on psycopg 2 or 3, and give its cursor neither one's methods.
class Cursor(base.Cursor, ClientCursor):
    """
    Sends each statement together with its time limit: one message instead of four. If no
    transaction is open, PostgreSQL runs the two as one.
    """

    limit_seconds: Callable[[], float] | None = None

    def execute(self, query, params=None, **options):
        # A failed transaction accepts no statement until it is rolled back.
        failed = self.connection.info.transaction_status == TransactionStatus.INERROR
        if self.limit_seconds is None or failed:
            return super().execute(query, params, **options)
        if isinstance(query, Composable):
            query = query.as_string(self)
        text = query.decode() if isinstance(query, bytes) else query
        milliseconds = max(int(self.limit_seconds() * 1000), 1)
        if milliseconds > 100:
            # Rounded so that texts repeat: psycopg caches statements by their text.
            milliseconds -= milliseconds % 10
        connection = cast(Connection, self.connection)
        connection.statement_seconds = milliseconds / 1000
        try:
            limit = f"SET LOCAL statement_timeout = {milliseconds}"
            super().execute(f"{limit}; {text}", params, **options)
        finally:
            connection.statement_seconds = None
        self.nextset()
        return self


class TaggedErrors(DatabaseErrorWrapper):
    """Adds the alias of its database to each error; see databases/errors.py."""

    # Set by Django; the stubs leave it out.
    wrapper: BaseDatabaseWrapper

    def __exit__(self, *error):
        try:
            super().__exit__(*error)
        except Error as found:
            found.database_alias = self.wrapper.alias  # type: ignore[attr-defined]  # our own
            raise


class DatabaseWrapper(base.DatabaseWrapper):
    watches: defaultdict[str, Watch] = defaultdict(Watch)
    # The next statement's time limit; set by time_limits.time_limit().
    statement_seconds: Callable[[], float] | None = None

    @cached_property
    def wrap_database_errors(self):
        return TaggedErrors(self)

    def create_cursor(self, name=None):
        cursor = super().create_cursor(name)
        cursor.limit_seconds = self.statement_seconds or self.page_limit()
        return cursor

    def page_limit(self) -> Callable[[], float] | None:
        seconds = page_seconds.get()
        # If the connection itself has a limit, each statement need not carry one.
        if seconds is None or self.settings_dict["OPTIONS"].get("query_seconds"):
            return None
        return lambda: seconds

    def get_connection_params(self):
        params = super().get_connection_params()
        params["cursor_factory"] = Cursor
        # Our own option, unknown to libpq.
        params.pop("query_seconds", None)
        return params

    def get_new_connection(self, params):
        watch = self.watches[self.alias]
        if self.pool:
            # The pool connects in threads of its own and limits its own waits.
            connection = super().get_new_connection(params)
        else:
            self.isolation_level = IsolationLevel.READ_COMMITTED
            with watch.connecting():
                connection = Connection.connect(**params)
        connection.watch = watch
        seconds = self.settings_dict["OPTIONS"].get("query_seconds")
        connection.limit_seconds = seconds + GRACE_SECONDS if seconds else math.inf
        # A connection with a time limit only reads, for a client that waits for the page.
        connection.ends_with_client = bool(seconds)
        return connection

    def is_usable(self):
        if self.connection is None:
            return False
        limit, self.connection.limit_seconds = self.connection.limit_seconds, CHECK_SECONDS
        try:
            return super().is_usable()
        finally:
            self.connection.limit_seconds = limit

    def _close(self):
        if self.connection is not None:
            # The pool checks the connection before it hands it out again.
            self.connection.limit_seconds = CHECK_SECONDS
        return super()._close()  # type: ignore[misc]  # private to Django, so not in the stubs


def ours(connection: BaseDatabaseWrapper) -> DatabaseWrapper:
    """The same connection, typed: django.db.connections does not know our class."""
    if not isinstance(connection, DatabaseWrapper):
        raise TypeError(f"The database {connection.alias} has another ENGINE than ours.")
    return connection
