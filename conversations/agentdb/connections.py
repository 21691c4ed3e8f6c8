"""Times that PostgreSQL has and Python has not."""

from datetime import UTC, datetime

import psycopg
from psycopg.types.datetime import TimestamptzLoader

EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)


class ClampedLoader(TimestamptzLoader):
    """PostgreSQL's times reach further than Python's, to infinity: the nearest one we have."""

    # Django replaces a loader of another zone than the connection's.
    timezone = UTC

    def load(self, data):
        try:
            return super().load(data).astimezone(UTC)
        except (psycopg.DataError, OverflowError):
            text = bytes(data)
            early = text.startswith(b"-") or text.endswith(b"BC")
            return EARLIEST if early else LATEST


def clamp_times(connection, **kwargs):
    if connection.alias in ("agents", "agents_write"):
        connection.connection.adapters.register_loader("timestamptz", ClampedLoader)
