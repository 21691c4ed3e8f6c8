"""Numbers that are worth a limited time: how many conversations match, and how many of a kind."""

import time

from django.conf import settings
from django.db import OperationalError

from backoffice.databases import limited
from backoffice.errors import is_timeout

from .filters import ConversationFilter
from .lookback import Matching
from .querysets import problem_kinds

# A list's total as far as it is counted together with the page, and within which time.
UP_TO = 10_000
SECONDS = 0.1
# Of each problem; all of them share their time.
PROBLEM_UP_TO = 1_000
PROBLEM_SECONDS = 0.5
PROBLEMS_SECONDS = 2


def count(matching: Matching, seconds: float, up_to: int | None = None) -> int | None:
    """How many match: at most one more than `up_to`, None where it takes too long."""
    rows = matching.queryset().order_by()
    try:
        with limited(rows.db, seconds):
            return (rows if up_to is None else rows[: up_to + 1]).count()
    except OperationalError as error:
        if not is_timeout(error):
            raise
        return None


def quick_total(matching: Matching) -> dict:
    return total(count(matching, SECONDS, UP_TO))


def exact_total(matching: Matching) -> dict:
    """The total, if time allows; else whether there are more than UP_TO."""
    number = count(matching, settings.STATEMENT_TIMEOUT_SECONDS * 0.6)
    return {"exact": number} if number is not None else total(count(matching, 1, UP_TO))


def total(number: int | None) -> dict:
    if number is None:
        return {}
    return {"at_least": UP_TO} if number > UP_TO else {"exact": number}


def of_problems(filters: ConversationFilter) -> dict[str, int | None]:
    """{kind: number under the other filters}: one more than PROBLEM_UP_TO stands for any more."""
    deadline = time.monotonic() + PROBLEMS_SECONDS
    numbers = {}
    for kind in ("any", *problem_kinds(), "running"):
        seconds = min(PROBLEM_SECONDS, deadline - time.monotonic())
        matching = filters.matching_problem(kind)
        numbers[kind] = count(matching, seconds, PROBLEM_UP_TO) if seconds > 0 else None
    return numbers
