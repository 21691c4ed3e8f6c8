"""Reads times outside Python's range."""

from datetime import UTC, datetime

import psycopg
from psycopg.adapt import Loader
from psycopg.pq import Format

EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)
# psycopg's loader in C, if it has one, is seven times as fast as the one in Python that Django
# extends.
Fastest = psycopg.adapters.get_loader(psycopg.adapters.types["timestamptz"].oid, Format.TEXT)


class ClampedLoader(Loader):
    """Clamps PostgreSQL's times, which reach to infinity, to the range of Python's datetime."""

    # Django replaces a loader whose time zone differs from the connection's.
    timezone = UTC

    def __init__(self, oid, context=None):
        super().__init__(oid, context)
        self.fastest = Fastest(oid, context)

    def load(self, data):
        try:
            return self.fastest.load(data).astimezone(UTC)
        except (psycopg.DataError, OverflowError):
            text = bytes(data)
            early = text.startswith(b"-") or text.endswith(b"BC")
            return EARLIEST if early else LATEST


def clamp_times(connection, **kwargs):
    """Our own database too: a time beyond Python's range would make the audit trail unreadable."""
    connection.connection.adapters.register_loader("timestamptz", ClampedLoader)
