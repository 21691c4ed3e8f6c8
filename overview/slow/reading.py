"""Reads what was called by which name: nodes of workflows, tools and models."""

import uuid
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db.models import Q

from .. import usage
from ..figures import Reading
from ..models import Cell, Grain
from ..percentiles import percentile
from ..periods import Span
from ..quarters import DAY
from ..spans import of_span

# Columns of cells: what was called.
WHAT = ("nodes", "tools", "model_calls")


@dataclass
class Calls:
    """Of what has one name, or of several."""

    number: int = 0
    failed: int = 0
    # Durations of those that have one, in bins, see percentiles.
    bins: Counter = field(default_factory=Counter)
    # {model: usage}
    usages: dict[str, usage.Usage] = field(default_factory=dict)

    def add_kept(self, name: str, kept: dict):
        """What a cell keeps of a name, without its zeros."""
        self.number += kept["count"]
        self.failed += kept.get("errors", 0)
        self.bins.update(kept.get("bins", {}))
        if "usage" in kept:
            usage.add(self.usages.setdefault(name, usage.nothing()), kept["usage"])

    def add(self, other: "Calls"):
        self.number += other.number
        self.failed += other.failed
        self.bins.update(other.bins)
        for model, used in other.usages.items():
            usage.add(self.usages.setdefault(model, usage.nothing()), used)

    @property
    def failure_rate(self) -> float | None:
        return self.failed / self.number if self.number else None

    @property
    def timed(self) -> int:
        return self.bins.total()

    def seconds(self, percent: int) -> float | None:
        return percentile(self.bins, percent)

    @property
    def tokens(self) -> int:
        return sum(each["tokens"] for each in self.usages.values())

    @property
    def money(self) -> usage.Money | None:
        return usage.money(self.usages)


def together(many: Iterable[Calls]) -> Calls:
    whole = Calls()
    for each in many:
        whole.add(each)
    return whole


# Without an agent, both are about all agents that the user may see.


def calls(span: Span, agent_id: uuid.UUID | None) -> dict[str, dict[str, Calls]]:
    """{one of WHAT: {name: its calls in the span}}"""
    found: dict[str, dict[str, Calls]] = {what: defaultdict(Calls) for what in WHAT}
    cells = Cell.objects.of_agent(agent_id).filter(of_span(span)).order_by()
    for values in cells.values_list(*WHAT).iterator():
        for what, names in zip(WHAT, values, strict=True):
            for name, kept in names.items():
                found[what][name].add_kept(name, kept)
    return found


def trends(spans: list[Span], agent_id: uuid.UUID | None) -> dict[str, dict[str, list[int]]]:
    """{one of WHAT: {name: how many calls in each span}}, for spans of trend_spans()."""
    found: dict[str, dict[str, list[int]]] = {
        what: defaultdict(lambda: [0] * len(spans)) for what in WHAT
    }
    reading = Reading(spans)
    is_days = spans[0].until - spans[0].since == DAY
    grain = Q(grain=Grain.DAY if is_days else Grain.QUARTER)
    cells = reading.within(Cell.objects.of_agent(agent_id).filter(grain))
    for starts, *values in cells.values_list("starts", *WHAT).iterator():
        place = reading.places[bisect_right(reading.bounds, starts)]
        for what, names in zip(WHAT, values, strict=True):
            for name, kept in names.items():
                found[what][name][place] += kept["count"]
    return found
