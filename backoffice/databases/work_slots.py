"""Heavy reading takes turns, over all processes of the site."""

import os
from contextlib import contextmanager
from enum import IntEnum

from django.db import connections, transaction

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
