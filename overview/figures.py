"""Reads the figures of periods from what the rollup keeps, for the agents that the user may see."""

import uuid
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import (
    Count,
    DateTimeField,
    Exists,
    F,
    Func,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    TextField,
    Value,
)
from django.db.models.functions import Cast, Coalesce

from conversations.problems.outcomes import NONE

from . import usage
from .models import Activity, Cell, Fact, Progress
from .percentiles import percentile
from .periods import Span, quarter_start
from .spans import of_spans

# Of fewer values a percentile says little.
FEW = 20
# As the list's filters by activity mean it.
IS_ACTIVE = Q(messages__gt=0) | Q(runs__gt=0)
HAS_PROBLEM = ~Q(problems=[])
KIND = Func(F("problems"), function="unnest", output_field=TextField())
OF_CELLS = ("messages", "runs", "problems", "answers__bins", "model_calls")
# Until the first rollup has ended.
NONE_YET = "There are no figures until “manage.py rollup” has finished for the first time."
RUNS_WITHOUT_ANSWER = ("failed", "interrupted", "incomplete")


@dataclass
class Figures:
    """Of one period. Conversations and people are counted once, however often they come up."""

    conversations: int = 0
    # Different external ids of these.
    people: int = 0
    # Conversations by kind of problem, and those with any.
    by_kind: Counter = field(default_factory=Counter)
    troubled: int = 0
    # Whose last run gave no answer: conversations, and people as far as they are told apart.
    unanswered: int = 0
    unanswered_people: int = 0
    messages: int = 0
    runs: int = 0
    runs_without_answer: int = 0
    # Durations of answers in bins, see percentiles.
    answer_bins: Counter = field(default_factory=Counter)
    # {model: usage}
    usages: dict[str, usage.Usage] = field(default_factory=dict)

    @property
    def answers(self) -> int:
        return self.answer_bins.total()

    @property
    def has_few_answers(self) -> bool:
        return self.answers < FEW

    def add_cell(self, messages: int, runs: int, problems: dict, bins: dict | None, calls: dict):
        """The columns OF_CELLS of a cell."""
        self.messages += messages
        self.runs += runs
        self.runs_without_answer += sum(problems.get(name, 0) for name in RUNS_WITHOUT_ANSWER)
        self.answer_bins.update(bins or {})
        self.add_usages({model: of_model["usage"] for model, of_model in calls.items()})

    def add_usages(self, usages: Mapping[str, usage.Usage]):
        for model, used in usages.items():
            usage.add(self.usages.setdefault(model, usage.nothing()), used)

    def seconds(self, percent: int) -> float | None:
        return percentile(self.answer_bins, percent)

    @property
    def calls(self) -> int:
        return sum(each["calls"] for each in self.usages.values())

    @property
    def tokens(self) -> int:
        return sum(each["tokens"] for each in self.usages.values())

    @property
    def money(self) -> usage.Money | None:
        """None without a price list."""
        return usage.money(self.usages)


@dataclass(frozen=True)
class Known:
    """Figures count what happened before `until`, as it was known at `as_of`."""

    until: datetime
    as_of: datetime


def known() -> Known | None:
    """None until the first rollup has ended."""
    progress = Progress.objects.first()
    if progress is None or progress.as_of is None:
        return None
    return Known(quarter_start(progress.as_of), progress.as_of)


class Reading:
    """Reads several periods at once: one after the other, without overlap."""

    def __init__(self, spans: Sequence[Span], agent_id: uuid.UUID | None = None):
        self.spans = spans
        self.agent_id = agent_id
        self.bounds = sorted({end for span in spans for end in (span.since, span.until)})
        # {how many bounds a moment within the span is at or after: the span's place}
        self.places = {
            bisect_right(self.bounds, span.since): place for place, span in enumerate(spans)
        }

    def within(self, rows: QuerySet) -> QuerySet:
        """Rows from the first to the last period: also those between two of them."""
        return rows.filter(starts__gte=self.bounds[0], starts__lt=self.bounds[-1]).order_by()

    def by_period(self, rows: QuerySet) -> QuerySet:
        """With `place`, the key of `places`."""
        bounds = Value(self.bounds, output_field=ArrayField(DateTimeField()))
        place = Func(F("starts"), bounds, function="width_bucket", output_field=IntegerField())
        return self.within(rows).annotate(place=place)

    def activity(self, condition: Q) -> QuerySet:
        return self.by_period(Activity.objects.of_agent(self.agent_id).filter(condition))

    def conversations(self, found: Sequence[Figures]):
        """Reads how many were active, and how many had a problem."""
        for place, number in counted(self.activity(IS_ACTIVE), "place"):
            if place in self.places:
                found[self.places[place]].conversations = number
        for place, number in counted(self.activity(HAS_PROBLEM), "place"):
            if place in self.places:
                found[self.places[place]].troubled = number

    def kinds(self, found: Sequence[Figures]):
        rows = self.activity(HAS_PROBLEM).annotate(kind=KIND)
        for place, kind, number in counted(rows, "place", "kind"):
            if place in self.places:
                found[self.places[place]].by_kind[kind] = number

    def unanswered(self, found: Sequence[Figures]):
        """Whoever has no external id counts as one more person for each conversation."""
        person = Coalesce(Cast("person", TextField()), Cast("session_id", TextField()))
        facts = Fact.objects.of_agent(self.agent_id).filter(outcome=NONE.name)
        for span, figures in zip(self.spans, found, strict=True):
            active = Activity.objects.filter(
                IS_ACTIVE,
                session_id=OuterRef("session_id"),
                starts__gte=span.since,
                starts__lt=span.until,
            )
            numbers = facts.filter(Exists(active), last_activity__gte=span.since).aggregate(
                conversations=Count("session_id"), people=Count(person, distinct=True)
            )
            figures.unanswered, figures.unanswered_people = numbers.values()

    def cells(self, found: Sequence[Figures]):
        """Reads what may be added up."""
        cells = Cell.objects.of_agent(self.agent_id).filter(of_spans(self.spans)).order_by()
        for starts, *values in cells.values_list("starts", *OF_CELLS).iterator():
            place = self.places.get(bisect_right(self.bounds, starts))
            if place is not None:
                found[place].add_cell(*values)


# Without an agent, all of these are about all agents that the user may see.


def of_periods(spans: Sequence[Span], agent_id: uuid.UUID | None = None) -> list[Figures]:
    """All figures of each period; they may not overlap."""
    found = [Figures() for _ in spans]
    reading = Reading(spans, agent_id)
    reading.conversations(found)
    reading.kinds(found)
    reading.unanswered(found)
    reading.cells(found)
    return found


def of_slices(spans: Sequence[Span], agent_id: uuid.UUID | None = None) -> list[Figures]:
    """What charts show of each day or hour: without kinds of problems and people."""
    found = [Figures() for _ in spans]
    reading = Reading(spans, agent_id)
    reading.conversations(found)
    reading.cells(found)
    return found


def money_of(many: Iterable[Figures]) -> usage.Money | None:
    """What the model calls of all these cost together."""
    whole = Figures()
    for each in many:
        whole.add_usages(each.usages)
    return whole.money


def by_agent(span: Span) -> dict[uuid.UUID, Figures]:
    """{agent: how many conversations it had, and how many with each kind of problem}"""
    found: dict[uuid.UUID, Figures] = defaultdict(Figures)
    rows = Activity.objects.filter(starts__gte=span.since, starts__lt=span.until)
    for agent, number in counted(rows.filter(IS_ACTIVE), "agent_id"):
        found[agent].conversations = number
    for agent, number in counted(rows.filter(HAS_PROBLEM), "agent_id"):
        found[agent].troubled = number
    for agent, kind, number in counted(
        rows.filter(HAS_PROBLEM).annotate(kind=KIND), "agent_id", "kind"
    ):
        found[agent].by_kind[kind] = number
    return found


def counted(rows: QuerySet, *names: str, of: str = "session_id") -> list[tuple]:
    """
    (values of these columns, how many conversations have them, or how many others of a column).
    They are made distinct first, by a hash: COUNT(DISTINCT) sorts all rows, which takes twice as
    long.
    """
    distinct = rows.order_by().values(*names, of).distinct()
    try:
        sql, params = distinct.query.sql_with_params()
    except EmptyResultSet:
        # There are no agents to look for, or the user may see none.
        return []
    columns = ", ".join(names)
    with connections[rows.db].cursor() as cursor:
        cursor.execute(
            f"SELECT {columns}, count(*) FROM ({sql}) AS found GROUP BY {columns}",  # noqa: S608
            params,
        )
        return cursor.fetchall()
