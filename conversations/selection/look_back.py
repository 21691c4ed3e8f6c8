"""Searches the newest conversations first, then more and more of them, as far as time allows."""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import TypeVar

from django.db import OperationalError

from backoffice.client import give_way
from backoffice.databases.errors import is_timeout, timeouts_ignored
from backoffice.databases.time_limits import TimeBudget, time_limit
from backoffice.databases.work_slots import WorkSlot, wait_for_slot

# Each pass may cover at most this many times as many conversations as the last one.
GROWTH = 4
# A pass that starts over must cover at least this many times as many to be worth its time.
LEAST_GROWTH = 1.25
# A pass that continues where the last one ended is this short, because others wait for its slot.
STEP_SECONDS = 0.1
# A search gives way for this long at most between two passes, because somebody waits for it.
REST_SECONDS = 1
# The share of the remaining time that collecting all matches may take, before looking back goes on.
COLLECT_SHARE = 0.5

Result = TypeVar("Result")


def widen(
    look: Callable[[int], Result],
    alias: str,
    budget: TimeBudget,
    *,
    first: int,
    free: int = 0,
    again: bool = False,
) -> Iterator[Result]:
    """
    Yield look(number of conversations) until time is up; the caller may stop earlier.

    Each pass continues where the last one ended or, with `again`, starts over with the newest
    conversation. After the first `free` conversations, passes wait for a work slot. Raises
    OperationalError if the time is not even enough for the `first` conversations.
    """
    number, looked_at, took = first, 0, 0.0
    while True:
        heavy = looked_at > 0 and looked_at >= free
        slot = wait_for_slot(alias, WorkSlot.LOOK_BACK) if heavy else nullcontext()
        try:
            with time_limit(alias, budget), slot:
                if heavy:
                    give_way(took, min(REST_SECONDS, budget.left()))
                if looked_at:
                    # At most what can be finished in time, at the last pass's pace.
                    pace = number / took
                    in_time = pace * budget.left() / 2
                    if in_time < (number * LEAST_GROWTH if again else 1):
                        return
                    short = number * GROWTH if again else max(pace * STEP_SECONDS, 1)
                    number = int(min(number * GROWTH, in_time, short))
                began = time.monotonic()
                result = look(number)
                took = time.monotonic() - began
        except OperationalError as error:
            if not looked_at or not is_timeout(error):
                raise
            return
        looked_at = number if again else looked_at + number
        yield result


def collected(alias: str, budget: TimeBudget, read: Callable[[], Result]) -> Result | None:
    """What `read` finds, all at once. None if that, or waiting for its turn, takes too long."""
    share = TimeBudget(budget.left() * COLLECT_SHARE)
    with timeouts_ignored(), time_limit(alias, share), wait_for_slot(alias, WorkSlot.COLLECT):
        return read()
    return None
