"""Limits how many heavy queries run at once across all processes of the site."""

import os
from contextlib import contextmanager
from enum import IntEnum

from django.db import connections, transaction

# A transaction-level advisory lock works through PgBouncer and on a replica. PostgreSQL releases it
# however the transaction ends.
TRY_SLOT = """
    SELECT slot FROM generate_series(1, %(slots)s) AS slot
    WHERE pg_try_advisory_xact_lock(%(work)s, slot) LIMIT 1
"""
WAIT_FOR_SLOT = "SELECT pg_advisory_xact_lock(%(work)s, 1 + pg_backend_pid() %% %(slots)s)"
# A heavy query keeps one processor busy on PostgreSQL's machine, which is often this machine or a
# similar one. Half of the processors are left for pages.
SLOTS = max((os.cpu_count() or 1) // 2, 1)


class WorkSlot(IntEnum):
    """The kinds of heavy work; each has its own slots. The values are the numbers of the locks."""

    EXPORT = 1_684_370_283
    LOOK_BACK = 1_684_370_284
    COUNT = 1_684_370_285
    COLLECT = 1_684_370_286


def try_slot(alias: str, work: WorkSlot, slots: int) -> bool:
    """Take a free slot, if any, until the transaction ends. Returns whether one was free."""
    with connections[alias].cursor() as cursor:
        cursor.execute(TRY_SLOT, {"work": work.value, "slots": slots})
        return cursor.fetchone() is not None


@contextmanager
def wait_for_slot(alias: str, work: WorkSlot):
    """Open a transaction that holds a slot; waits for the slot within the time limit."""
    with transaction.atomic(using=alias):
        if not try_slot(alias, work, SLOTS):
            with connections[alias].cursor() as cursor:
                cursor.execute(WAIT_FOR_SLOT, {"work": work.value, "slots": SLOTS})
        yield
