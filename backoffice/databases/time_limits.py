"""Time limits for statements, shorter than the one that a connection sets for all."""

import time
from contextlib import contextmanager, nullcontext

from django.db import connections, transaction

from .postgresql.base import ours


class TimeBudget:
    """Seconds that several steps share."""

    def __init__(self, seconds: float):
        self.ends = time.monotonic() + seconds

    def left(self) -> float:
        """Negative once the time is over."""
        return self.ends - time.monotonic()


@contextmanager
def time_limit(alias: str, limit: float | TimeBudget):
    """
    Statements inside get that many seconds each, or what is left of the budget as they begin; a
    timeout raises as usual.
    """
    connection = ours(connections[alias])
    outer, within_another = connection.statement_seconds, connection.in_atomic_block
    # A timeout undoes what is in here and nothing else.
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
