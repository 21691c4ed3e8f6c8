"""The engine of what is read from a replica: the primary takes its place while it is gone."""

import logging
import time

from django.db import OperationalError, connections

from ..postgresql import base

# Seconds after which a replica that did not answer is asked again.
ASK_AGAIN = 30

log = logging.getLogger(__name__)


class DatabaseWrapper(base.DatabaseWrapper):
    """OPTIONS["fallback"] is the alias of the primary. Two URIs need not agree in anything."""

    # Of all threads, so that one of them waits for a frozen replica and not each.
    gone_until = 0.0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fallback = self.settings_dict["OPTIONS"].get("fallback")
        # Whether the connection is one to the primary.
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
            # Others do not wait with the one that asks again.
            engine.gone_until = time.monotonic() + ASK_AGAIN if was_gone else 0.0
            try:
                with self.wrap_database_errors:
                    connection = super().get_new_connection(conn_params)
            except OperationalError as error:
                engine.gone_until = time.monotonic() + ASK_AGAIN
                if not was_gone:
                    reason = str(error).strip().splitlines()[0]
                    log.warning("The replica does not answer, the primary is read: %s", reason)
            else:
                engine.gone_until = 0.0
                if was_gone:
                    log.warning("The replica answers again.")
                return connection
        primary = connections.create_connection(self.fallback)
        connection = primary.get_new_connection(primary.get_connection_params())
        self.isolation_level = primary.isolation_level
        self.fell_back = True
        if self.close_at is not None:
            self.close_at = min(self.close_at, time.monotonic() + ASK_AGAIN)
        return connection
