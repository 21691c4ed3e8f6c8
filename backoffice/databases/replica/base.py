"""The engine that reads from a replica, or from the primary while the replica does not answer."""

import logging
import time

import psycopg
from django.db import OperationalError, connections
from psycopg_pool import PoolTimeout

from ..postgresql import base
from ..postgresql.connection import Connection

# Seconds until we try again a replica that did not answer.
ASK_AGAIN = 30

log = logging.getLogger(__name__)


class DatabaseWrapper(base.DatabaseWrapper):
    """OPTIONS["fallback"] is the primary's alias. The two URIs may differ in any part."""

    # Shared by all threads, so that only one of them waits for a frozen replica.
    gone_until = 0.0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fallback = self.settings_dict["OPTIONS"].get("fallback")
        # Whether this connection leads to the primary.
        self.fell_back = False

    def get_connection_params(self):
        params = super().get_connection_params()
        params.pop("fallback", None)
        return params

    def get_new_connection(self, conn_params):
        engine = type(self)
        self.fell_back = False
        if not self.fallback:
            return super().get_new_connection(conn_params)
        if time.monotonic() >= engine.gone_until:
            was_gone = engine.gone_until
            # Only this thread waits for the replica; the others use the primary.
            engine.gone_until = time.monotonic() + ASK_AGAIN if was_gone else 0.0
            try:
                with self.wrap_database_errors:
                    connection = super().get_new_connection(conn_params)
            except OperationalError as error:
                if self.answers_others(error, conn_params):
                    self.note_return(was_gone)
                    raise
                engine.gone_until = time.monotonic() + ASK_AGAIN
                if not was_gone:
                    # A deployment logs the exception's types and SQLSTATEs, not its text.
                    log.warning("The replica does not answer; reading the primary.", exc_info=True)
            else:
                self.note_return(was_gone)
                return connection
        primary = base.ours(connections.create_connection(self.fallback))
        with primary.wrap_database_errors:
            connection = primary.get_new_connection(primary.get_connection_params())
        self.isolation_level = primary.isolation_level
        self.fell_back = True
        if self.close_at is not None:
            self.close_at = min(self.close_at, time.monotonic() + ASK_AGAIN)
        return connection

    def note_return(self, was_gone: float):
        type(self).gone_until = 0.0
        if was_gone:
            log.warning("The replica answers again.")

    @staticmethod
    def answers_others(error: OperationalError, conn_params: dict) -> bool:
        """Whether the server is up: a pool that is merely full raises the same error."""
        if not isinstance(error.__cause__, PoolTimeout):
            return False
        try:
            with Connection.connect(**conn_params):
                return True
        except psycopg.Error:
            return False
