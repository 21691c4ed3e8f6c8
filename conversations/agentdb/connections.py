"""Reads times outside Python's range."""

from datetime import UTC, datetime

import psycopg
from psycopg.types.datetime import TimestamptzLoader

EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)


class ClampedLoader(TimestamptzLoader):
    """Clamps PostgreSQL's times, which reach to infinity, to Python's range."""

    # Django replaces a loader whose zone is not the connection's.
    timezone = UTC

    def load(self, data):
        try:
            return super().load(data).astimezone(UTC)
        except (psycopg.DataError, OverflowError):
            text = bytes(data)
            early = text.startswith(b"-") or text.endswith(b"BC")
            return EARLIEST if early else LATEST


def clamp_times(connection, **kwargs):
    """In our own database too: whoever wrote such a time there would hide the audit trail."""
    connection.connection.adapters.register_loader("timestamptz", ClampedLoader)
