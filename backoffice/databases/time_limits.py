"""Time limits for the statements of a page, and shorter ones for parts of it."""

import time
from contextlib import contextmanager, nullcontext

from django.conf import settings
from django.db import connections, transaction

from .postgresql.base import ours
from .postgresql.connection import page_seconds


class TimeBudget:
    """A number of seconds that several steps share."""

    def __init__(self, seconds: float):
        self.ends = time.monotonic() + seconds

    def left(self) -> float:
        """Negative once the time is over."""
        return self.ends - time.monotonic()


@contextmanager
def time_limit(alias: str, limit: float | TimeBudget):
    """
    Each statement inside gets the limit in seconds, or what is left of the budget when it begins. A
    timeout raises as usual.
    """
    connection = ours(connections[alias])
    outer, within_another = connection.statement_seconds, connection.in_atomic_block
    # In a savepoint, a timeout undoes this block and nothing else.
    with transaction.atomic(using=alias) if within_another else nullcontext():
        connection.statement_seconds = (
            limit.left if isinstance(limit, TimeBudget) else lambda: limit
        )
        try:
            yield
        finally:
            connection.statement_seconds = outer
        if within_another and outer is None:
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout TO DEFAULT")


def limit_pages(get_response):
    """No statement of a page takes longer than STATEMENT_TIMEOUT_SECONDS, in any database."""

    def middleware(request):
        token = page_seconds.set(settings.STATEMENT_TIMEOUT_SECONDS)
        try:
            return get_response(request)
        finally:
            page_seconds.reset(token)

    return middleware
