"""Reads figures of many agents at once: sums from days of UTC, as far as they fit."""

import uuid
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterator

from django.db.models import Q

from ..figures import HAS_PROBLEM, IS_ACTIVE, OF_CELLS, Figures, Reading, counted
from ..models import Activity, Cell, Grain
from ..periods import Span
from ..quarters import DAY
from ..spans import of_span


def cells(condition: Q, ids: Collection[uuid.UUID]) -> Iterator[tuple]:
    """(agent, when it starts, columns OF_CELLS)"""
    rows = Cell.objects.filter(condition, agent_id__in=ids).order_by()
    for agent, starts, *values in rows.values_list("agent_id", "starts", *OF_CELLS).iterator():
        yield agent, starts, values


def add_totals(found: dict[uuid.UUID, Figures], span: Span, ids: Collection[uuid.UUID]):
    """Add to each agent's figures what may be added up."""
    for agent, _, values in cells(of_span(span), ids):
        found[agent].add_cell(*values)


def trends(spans: list[Span], ids: Collection[uuid.UUID]) -> dict[uuid.UUID, list[Figures]]:
    """{agent: figures of each span}, for days or hours of last_full()."""
    found = defaultdict(lambda: [Figures() for _ in spans])
    reading = Reading(spans)

    def conversations(condition: Q) -> Iterator[tuple[Figures, int]]:
        rows = reading.by_period(Activity.objects.filter(condition, agent_id__in=ids))
        for place, agent, number in counted(rows, "place", "agent_id"):
            yield found[agent][reading.places[place]], number

    for figures, number in conversations(IS_ACTIVE):
        figures.conversations = number
    for figures, number in conversations(HAS_PROBLEM):
        figures.troubled = number
    is_days = spans[0].until - spans[0].since == DAY
    grain = Grain.DAY if is_days else Grain.QUARTER
    within = Q(grain=grain, starts__gte=reading.bounds[0], starts__lt=reading.bounds[-1])
    for agent, starts, values in cells(within, ids):
        place = reading.places[bisect_right(reading.bounds, starts)]
        found[agent][place].add_cell(*values)
    return found
