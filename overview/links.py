"""Links of figures: to the list with the same conditions, and so with the same count."""

import uuid
from datetime import datetime, timedelta
from functools import lru_cache

from django.urls import reverse
from django.utils import timezone

from conversations.errors.periods import in_iso
from conversations.selection.forms import query_string

from .periods import Span, day_start

ACTIVE = ("active_from", "active_until")
PROBLEM = ("problem_from", "problem_until")
STEP = ("step_from", "step_until")


def of_agent(agent_id: uuid.UUID | None) -> dict[str, str]:
    """The list's filter."""
    return {"agent": str(agent_id)} if agent_id else {}


def conversations(span: Span, names: tuple[str, str] = ACTIVE, **filters: str) -> str:
    """
    The list of those that were active in the span or, by PROBLEM, had a problem in it or, by STEP,
    used the given node, tool or model in it.
    """
    zone = str(timezone.get_current_timezone())
    dates = dict(zip(names, bounds(span.since, span.until, zone), strict=True))
    return f"{reverse('conversations:list')}?{query_string(filters | dates | {'tz': zone})}"


# Home has a thousand links with 200 agents, and few spans.
@lru_cache(maxsize=1_000)
def bounds(since: datetime, until: datetime, zone: str) -> tuple[str, str]:
    """The first and the last day in the active zone or, where a day is not whole, a moment."""
    first, last = timezone.localtime(since), timezone.localtime(until)
    # A day reads better than a moment, and means the same.
    is_day = day_start(first.date()) == since
    is_end_of_day = day_start(last.date()) == until
    return (
        first.date().isoformat() if is_day else in_iso(since),
        (last.date() - timedelta(days=1)).isoformat() if is_end_of_day else in_iso(until),
    )
