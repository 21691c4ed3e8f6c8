"""Numbers that are worth a limited time: how many conversations match, and how many of a kind."""

import hashlib
import time
from contextlib import nullcontext

from django.conf import settings
from django.core.cache import cache
from django.utils import timezone

from backoffice.client import current_client
from backoffice.databases.errors import timeouts_ignored
from backoffice.databases.time_limits import time_limit
from backoffice.databases.work_slots import WorkSlot, wait_for_slot

from ..access import agent_limits
from ..problems import kinds
from ..selection.conditions import QUICK_PROBES
from ..selection.filters import ConversationFilter
from ..selection.matching import Matching

# A list's total as far as it is counted together with the page, and within which time.
UP_TO = 10_000
SECONDS = 0.1
# For what is common to be found UP_TO times.
COMMON_SECONDS = 0.8
# With it come the conversations of each problem, which share their time.
PROBLEM_UP_TO = 1_000
PROBLEM_SECONDS = 0.4
PROBLEMS_SECONDS = 2
# What was counted is shown for so long, or for so many times as long as it took.
KEPT_SECONDS = 10
KEPT_TIMES = 60


def count(
    matching: Matching,
    seconds: float,
    up_to: int | None = None,
    probed: int = 0,
    *,
    few: bool = False,
) -> int | None:
    """
    How many match: at most one more than `up_to`, None where it takes too long. What looks at few
    conversations waits for no slot.
    """
    rows = matching.queryset(probed).order_by()
    if seconds <= 0:
        return None
    waits = matching.conditions and not few
    slot = wait_for_slot(rows.db, WorkSlot.COUNT) if waits else nullcontext()
    with timeouts_ignored(), time_limit(rows.db, seconds), slot:
        return (rows if up_to is None else rows[: up_to + 1]).count()
    return None


def of_list(filters: ConversationFilter) -> dict:
    """{"total", "numbers"}: full_total() and of_problems() of what the filters leave."""
    if agent_limits.agents() is not None:
        return counted(filters)
    # Each page asks for these, and they cost more than the page. Dates are those of a time zone.
    asked = f"{timezone.get_current_timezone_name()} {filters.query()}"
    key = f"counts-{hashlib.sha256(asked.encode()).hexdigest()}"
    found = cache.get(key)
    if found is None:
        began = time.monotonic()
        found = counted(filters)
        took = time.monotonic() - began
        client = current_client.get()
        # Of a client who left, queries are cancelled: it says nothing to anybody else.
        if not (client and client.has_left):
            whole = found["total"] and None not in found["numbers"].values()
            cache.set(key, found, max(KEPT_SECONDS, took * KEPT_TIMES * bool(whole)))
    return found


def counted(filters: ConversationFilter) -> dict:
    began = time.monotonic()
    found = full_total(filters.matching)
    quick = time.monotonic() - began < SECONDS and not filters.matching.conditions
    few = found.get("exact") if quick else None
    return {"total": found, "numbers": of_problems(filters, few)}


def quick_total(matching: Matching) -> dict:
    """The total up to UP_TO, empty where other tables must be asked or time runs out."""
    return {} if matching.conditions else total(count(matching, SECONDS, UP_TO))


def full_total(matching: Matching) -> dict:
    """The exact total; that there are more than UP_TO where words or problems are as common."""
    if matching.conditions:
        # What is common is soon found so often; what is rare, as problems are, is soon counted.
        rare = all(condition.probes == QUICK_PROBES for condition in matching.conditions)
        number = count(matching, PROBLEM_SECONDS, UP_TO) if rare else None
        if number is None:
            number = count(matching, COMMON_SECONDS, UP_TO, probed=len(matching.conditions))
        if number is not None:
            return total(number)
    number = count(matching, settings.STATEMENT_TIMEOUT_SECONDS * 0.4)
    return {} if number is None else {"exact": number}


def total(number: int | None) -> dict:
    if number is None:
        return {}
    return {"at_least": UP_TO} if number > UP_TO else {"exact": number}


def of_problems(filters: ConversationFilter, few: int | None) -> dict[str, int | None]:
    """
    {kind: number under the other filters}: one more than PROBLEM_UP_TO stands for any more. `few`:
    how many conversations the other filters leave, where that is little work to find out.
    """
    deadline = time.monotonic() + PROBLEMS_SECONDS

    def number(kind):
        matching = filters.matching_problem(kind)
        ways = [(probed, False) for probed in range(len(matching.conditions))]
        if few is not None and few <= matching.conditions[0].probes:
            # Each of them is asked, instead of collecting from the whole history.
            ways.insert(0, (1, True))
        for probed, quick in ways:
            seconds = min(PROBLEM_SECONDS, deadline - time.monotonic())
            found = count(matching, seconds, PROBLEM_UP_TO, probed, few=quick)
            if found is not None:
                return found
        return None

    # The problems first: should time run out, it does for what is none.
    known = sorted(kinds.known(), key=lambda kind: not kind.is_problem)
    numbers = {kind.name: number(kind.name) for kind in known}
    # One kind alone may tell that there are too many to count.
    most = max((numbers[kind.name] or 0 for kind in kinds.problems()), default=0)
    return {"any": most if most > PROBLEM_UP_TO else number("any"), **numbers}
