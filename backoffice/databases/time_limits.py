"""Less time for some statements than a connection gives to all."""

from contextlib import contextmanager, nullcontext

from django.db import connections, transaction

from .postgresql.base import ours


@contextmanager
def time_limit(alias: str, seconds: float):
    """
    Each statement gets less time than others; a timeout raises as usual. Yields what changes the
    limit of those to come: a function of seconds.
    """
    connection = ours(connections[alias])
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
