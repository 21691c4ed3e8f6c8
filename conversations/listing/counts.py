"""Counts within a time limit: how many conversations match, and how many have each problem."""

import hashlib
import time
from contextlib import nullcontext

from django.conf import settings
from django.core.cache import cache
from django.utils import timezone

from backoffice.client import current_client
from backoffice.databases.errors import timeouts_ignored
from backoffice.databases.time_limits import TimeBudget, time_limit
from backoffice.databases.work_slots import WorkSlot, wait_for_slot
from privacy import masking

from ..access import agent_limits
from ..problems import kinds
from ..querysets import SessionQuerySet
from ..selection.filters import ConversationFilter
from ..selection.matching import Matching

# Totals are exact up to this number, and above it if counting ends within its time limit.
UP_TO = 10_000
PROBLEM_UP_TO = 1_000
# The time limit for the total that the page itself shows.
SECONDS = 0.1
# Time limits for counts that wait for a work slot: one for a total that may reach UP_TO before the
# time is up, one for the conversations with one problem.
COMMON_SECONDS = 0.8
PROBLEM_SECONDS = 0.4
# The time limit for all problems together.
PROBLEMS_SECONDS = 2
# Counts are cached for CACHE_SECONDS, or longer: CACHE_TIMES the time that counting took.
CACHE_SECONDS = 10
CACHE_TIMES = 60


def of_list(filters: ConversationFilter, *, anew: bool = False) -> dict:
    """
    {"total", "numbers", "as_of"}: full_total() and of_problems() under the filters, and the time
    when they were counted. `anew` ignores the cache.
    """
    if agent_limits.agents() is not None:
        return counted(filters)
    # Every page requests these counts, and they cost more than the page itself. The key includes
    # masking because searches find less while personal data is masked, and the day because of dates
    # such as last-7-days.
    today = timezone.localdate(timezone=filters.form.zone)
    question = f"{masking.is_active()} {today} {filters.query()}"
    key = f"counts-{hashlib.sha256(question.encode()).hexdigest()}"
    found = None if anew else cache.get(key)
    if found is None:
        began = time.monotonic()
        found = counted(filters)
        took = time.monotonic() - began
        client = current_client.get()
        # When a client leaves, its queries are cancelled, so its counts may be incomplete.
        if not (client and client.has_left):
            whole = found["total"] and None not in found["numbers"].values()
            cache.set(key, found, max(CACHE_SECONDS, took * CACHE_TIMES * bool(whole)))
    return found


def counted(filters: ConversationFilter) -> dict:
    as_of = timezone.now()
    began = time.monotonic()
    found = full_total(filters.matching)
    quick = time.monotonic() - began < SECONDS and not filters.matching.conditions
    numbers = of_problems(filters, found.get("exact") if quick else None)
    return {"total": found, "numbers": numbers, "as_of": as_of}


def quick_total(matching: Matching) -> dict:
    """The total up to UP_TO. Empty if the list has conditions or time runs out."""
    return {} if matching.conditions else total(count(matching.queryset(), SECONDS, UP_TO))


def full_total(matching: Matching) -> dict:
    """The exact total, or {"at_least": UP_TO} if that many matches are found first."""
    if matching.conditions:
        # Rare problems are quick to collect, and common words quickly reach UP_TO.
        rare = all(condition.is_quick for condition in matching.conditions)
        number = None
        if rare:
            number = count(matching.queryset(), PROBLEM_SECONDS, UP_TO, in_slot=True)
        if number is None:
            each = matching.queryset(probes=len(matching.conditions))
            number = count(each, COMMON_SECONDS, UP_TO, in_slot=True)
        if number is not None:
            return total(number)
    seconds = settings.STATEMENT_TIMEOUT_SECONDS * 0.4
    number = count(matching.queryset(), seconds, in_slot=bool(matching.conditions))
    return {} if number is None else {"exact": number}


def total(number: int | None) -> dict:
    if number is None:
        return {}
    return {"at_least": UP_TO} if number > UP_TO else {"exact": number}


def of_problems(filters: ConversationFilter, few: int | None) -> dict[str, int | None]:
    """
    {kind: number of conversations that have it and match the other filters}. PROBLEM_UP_TO + 1
    means "more". `few` is how many conversations match the other filters, if that was quick to
    count.
    """
    budget = TimeBudget(PROBLEMS_SECONDS)

    def number(kind: str) -> int | None:
        matching = filters.matching_problem(kind)
        found = None
        if few is not None and few <= matching.conditions[0].probes:
            found = count(matching.queryset(probes=1), seconds(), PROBLEM_UP_TO)
        # The last condition is the problem itself. It is the rare one, so it is never probed.
        for probes in range(len(matching.conditions)):
            if found is None:
                rows = matching.queryset(probes)
                found = count(rows, seconds(), PROBLEM_UP_TO, in_slot=True)
        return found

    def seconds() -> float:
        return min(PROBLEM_SECONDS, budget.left())

    # Problems come first, so if time runs out, only kinds that are no problem go uncounted.
    known = sorted(kinds.known(), key=lambda kind: not kind.is_problem)
    numbers = {kind.name: number(kind.name) for kind in known}
    # If a single kind has more than PROBLEM_UP_TO, so has "any".
    most = max((numbers[kind.name] or 0 for kind in kinds.problems()), default=0)
    if filters.data.get("error"):
        most = 0
    return {"any": most if most > PROBLEM_UP_TO else number("any"), **numbers}


def count(
    rows: SessionQuerySet, seconds: float, up_to: int | None = None, *, in_slot: bool = False
) -> int | None:
    """
    The number of rows, at most `up_to` + 1, or None if counting takes too long. With `in_slot`, it
    first waits for a work slot: for counts that may read the whole history.
    """
    if seconds <= 0:
        return None
    slot = wait_for_slot(rows.db, WorkSlot.COUNT) if in_slot else nullcontext()
    with timeouts_ignored(), time_limit(rows.db, TimeBudget(seconds)), slot:
        rows = rows.order_by()
        return (rows if up_to is None else rows[: up_to + 1]).count()
    return None
