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
from ..selection.conditions import QUICK_PROBES
from ..selection.filters import ConversationFilter
from ..selection.matching import Matching

# Totals are exact up to here, and beyond if counting ends within its time limit.
UP_TO = 10_000
PROBLEM_UP_TO = 1_000
# How long the page itself waits for its total.
SECONDS = 0.1
# Time limits of a count that waits for a work slot: of a total whose matches are so common that
# UP_TO of them are found first, and of one problem.
COMMON_SECONDS = 0.8
PROBLEM_SECONDS = 0.4
# All problems together.
PROBLEMS_SECONDS = 2
# Counts are cached for this long, or for this many times as long as counting took.
CACHE_SECONDS = 10
CACHE_TIMES = 60


def of_list(filters: ConversationFilter, *, anew: bool = False) -> dict:
    """
    {"total", "numbers", "as_of"}: full_total() and of_problems() under the filters, and when they
    were counted. `anew`: not those that are cached.
    """
    if agent_limits.agents() is not None:
        return counted(filters)
    # Each page asks for these, and they cost more than the page. Where personal data is masked,
    # less is found.
    asked = f"{masking.is_active()} {filters.query()}"
    key = f"counts-{hashlib.sha256(asked.encode()).hexdigest()}"
    found = None if anew else cache.get(key)
    if found is None:
        began = time.monotonic()
        found = counted(filters)
        took = time.monotonic() - began
        client = current_client.get()
        # Queries of a client that left are cancelled: their counts must not be cached.
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
    """The total up to UP_TO; empty if conditions narrow the list or time runs out."""
    return {} if matching.conditions else total(count(matching.queryset(), SECONDS, UP_TO))


def full_total(matching: Matching) -> dict:
    """The exact total, or "at_least" UP_TO if words or problems are that common."""
    if matching.conditions:
        # Rare problems are collected quickly; common words are found UP_TO times quickly.
        rare = all(condition.probes == QUICK_PROBES for condition in matching.conditions)
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
    {kind: number under the other filters}; PROBLEM_UP_TO + 1 means "more". `few`: how many
    conversations match the other filters, if that was quick to count.
    """
    budget = TimeBudget(PROBLEMS_SECONDS)

    def number(kind: str) -> int | None:
        matching = filters.matching_problem(kind)
        found = None
        if few is not None and few <= matching.conditions[0].probes:
            found = count(matching.queryset(probes=1), seconds(), PROBLEM_UP_TO)
        # The problem's own condition, the last, is never probed: it is the rare one.
        for probes in range(len(matching.conditions)):
            if found is None:
                rows = matching.queryset(probes)
                found = count(rows, seconds(), PROBLEM_UP_TO, in_slot=True)
        return found

    def seconds() -> float:
        return min(PROBLEM_SECONDS, budget.left())

    # Problems first: if time runs out, only the other kinds go uncounted.
    known = sorted(kinds.known(), key=lambda kind: not kind.is_problem)
    numbers = {kind.name: number(kind.name) for kind in known}
    # One kind alone may show that there are too many to count.
    most = max((numbers[kind.name] or 0 for kind in kinds.problems()), default=0)
    if filters.data.get("error"):
        most = 0
    return {"any": most if most > PROBLEM_UP_TO else number("any"), **numbers}


def count(
    rows: SessionQuerySet, seconds: float, up_to: int | None = None, *, in_slot: bool = False
) -> int | None:
    """
    How many rows there are, at most `up_to` + 1; None if it takes too long. `in_slot`: waits for a
    work slot, since it may look through the whole history.
    """
    if seconds <= 0:
        return None
    slot = wait_for_slot(rows.db, WorkSlot.COUNT) if in_slot else nullcontext()
    with timeouts_ignored(), time_limit(rows.db, TimeBudget(seconds)), slot:
        rows = rows.order_by()
        return (rows if up_to is None else rows[: up_to + 1]).count()
    return None
