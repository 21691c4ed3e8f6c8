"""Looks at the newest conversations first, then at more and more, as far as time allows."""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import TypeVar

from django.db import OperationalError

from backoffice.client import give_way
from backoffice.databases.errors import is_timeout
from backoffice.databases.time_limits import TimeBudget, time_limit
from backoffice.databases.work_slots import WorkSlot, wait_for_slot

# A look may take in this many times as many conversations as the last.
GROWTH = 4
# A look that starts over must take in this many times as many to be worth its time.
LEAST_GROWTH = 1.25
# A look that goes on where the last one ended is this short: others wait for its slot.
STEP_SECONDS = 0.1

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
    Yield look(number of conversations) until time is up; the caller may stop before.

    Each look goes on where the last one ended or, with `again`, starts over with the newest
    conversation. After the first `free` conversations, looks wait for a work slot. Raises
    OperationalError if not even the `first` conversations can be looked at in time.
    """
    number, looked_at, took = first, 0, 0.0
    while True:
        heavy = looked_at > 0 and looked_at >= free
        slot = wait_for_slot(alias, WorkSlot.LOOK_BACK) if heavy else nullcontext()
        try:
            with time_limit(alias, budget), slot:
                if heavy:
                    give_way(took, budget.left())
                if looked_at:
                    # At most what can be finished in time, at the pace of the last look.
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
