"""Agents with too many problems, and those that fell silent, by the figures."""

import uuid
from collections import defaultdict
from datetime import datetime, timedelta

from django.db.models import Max, Q

from conversations.models import Agent

from .. import figures
from ..figures import Figures
from ..models import Cell, Fact, Grain, Threshold
from ..periods import Span
from .rules import RATE, SILENT, Reading, Rule

# The shortest of these in which an agent had enough conversations.
RATE_HOURS = (1, 6, 24)
# A problem rate is normal again below this share of its threshold.
CLEARS = 0.8
WEEK = timedelta(days=7)
# An agent is usually active at a time of the week if it was in this many of the last weeks.
WEEKS, USUAL = 4, 3

Thresholds = dict[uuid.UUID, Threshold]


def read(until: datetime) -> list[tuple[Rule, Reading]]:
    found = thresholds()
    return [(RATE, rates(until, found)), (SILENT, silences(until, found))]


def thresholds() -> Thresholds:
    """Those of all agents that exist, whether or not anybody has changed them."""
    changed = {each.agent_id: each for each in Threshold.objects.all()}
    agents = Agent.objects.values_list("pk", flat=True)
    return {pk: changed.get(pk) or Threshold(agent_id=pk) for pk in agents}


def rates(until: datetime, found: Thresholds) -> Reading:
    holds, recovered, unclear = {}, {}, set()
    waiting = {pk: each for pk, each in found.items() if each.problem_percent}
    for hours in RATE_HOURS:
        span = Span(until - timedelta(hours=hours), until)
        by_agent = defaultdict(Figures, figures.by_agent(span))
        for pk, threshold in list(waiting.items()):
            of_agent = by_agent[pk]
            if of_agent.conversations < threshold.minimum_conversations:
                continue
            del waiting[pk]
            percent = 100 * of_agent.troubled / of_agent.conversations
            details = {
                "troubled": of_agent.troubled,
                "conversations": of_agent.conversations,
                "since": span.since.isoformat(),
                "until": span.until.isoformat(),
                "threshold": threshold.problem_percent,
            }
            if percent >= threshold.problem_percent:
                holds[str(pk)] = details
            elif percent < CLEARS * threshold.problem_percent:
                recovered[str(pk)] = details
            else:
                unclear.add(str(pk))
    return Reading(until, holds, recovered, unclear | {str(pk) for pk in waiting})


def silences(until: datetime, found: Thresholds) -> Reading:
    hours = {pk: timedelta(hours=each.silent_hours)
             for pk, each in found.items() if each.silent_hours}  # fmt: skip
    if not hours:
        return Reading(until, {})
    ends = [until - back * WEEK for back in range(WEEKS + 1)]
    active = [active_agents(end, hours) for end in ends]
    usual = {pk for pk in hours if sum(pk in of_week for of_week in active[1:]) >= USUAL}
    quiet = hours.keys() - active[0]
    last = Fact.objects.last_activities(quiet)
    return Reading(
        until,
        holds={str(pk): {"last": last[pk].isoformat()} for pk in usual & quiet & last.keys()},
        recovered={str(pk): {} for pk in active[0]},
        # Silence goes on at night, when it is usual.
        unclear={str(pk) for pk in quiet - usual},
    )


def active_agents(end: datetime, hours: dict[uuid.UUID, timedelta]) -> set[uuid.UUID]:
    """Those with a message or a run in so many hours before this moment."""
    cells = Cell.objects.filter(
        Q(messages__gt=0) | Q(runs__gt=0),
        grain=Grain.QUARTER,
        agent_id__isnull=False,
        starts__gte=end - max(hours.values()),
        starts__lt=end,
    )
    last = cells.order_by().values_list("agent_id").annotate(Max("starts"))
    return {pk for pk, starts in last if pk in hours and starts >= end - hours[pk]}
