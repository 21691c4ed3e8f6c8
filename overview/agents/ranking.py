"""The table of agents: a number and its trend for each, sorted by any column."""

import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from backoffice.words import seconds
from conversations.display.sparkline import Sparkline
from conversations.models import Agent
from conversations.selection.agents import labels

from .. import figures, links, tiles
from ..figures import Figures
from ..models import Fact
from ..periods import Span
from ..spans import trend_label, trend_spans
from ..tiles import Link, Number
from ..words import percent_words
from . import reading

ROWS = 50
# Sums are read of so many agents at most, those with the most conversations.
MOST_SUMMED = 200


@dataclass(frozen=True)
class Column:
    name: str
    label: str
    number: Callable[[Figures, Link], Number]
    # What it is sorted by, and what its trend shows.
    value: Callable[[Figures], float | None]
    as_words: Callable[[float], str] = "{:,}".format
    # Whether it needs sums, and not only conversations.
    is_sum: bool = True


def problem_rate(found: Figures, link: Link) -> Number:
    return Number(
        percent_words(found.troubled, found.conversations),
        link(links.PROBLEM, problem="any"),
        found.troubled,
        f"{found.troubled:,} of {found.conversations:,}",
    )


def rate(found: Figures) -> float | None:
    return found.troubled / found.conversations if found.conversations else None


def dollars(found: Figures) -> float | None:
    """None where the page says n/a."""
    cost = found.money
    return float(cost.amount) if cost and (cost.amount or not cost.at_least) else None


COLUMNS = (
    Column(
        "conversations",
        "Conversations",
        tiles.conversations,
        lambda found: found.conversations,
        is_sum=False,
    ),
    Column("problems", "With a problem", problem_rate, rate, "{:.0%}".format, is_sum=False),
    Column(
        "median",
        "Time to an answer, median",
        tiles.seconds_to_an_answer(50),
        lambda found: found.seconds(50),
        seconds,
    ),
    Column(
        "p95",
        "95th percentile",
        tiles.seconds_to_an_answer(95),
        lambda found: found.seconds(95),
        seconds,
    ),
    Column("tokens", "Tokens", tiles.tokens, lambda found: found.tokens),
    Column("cost", "Cost", tiles.money, dollars, "${:,.4g}".format),
)
BY_NAME = {column.name: column for column in COLUMNS}
# By these, the first of the alphabet and the newest come first.
NAME, LAST = "name", "last"
DEFAULT = "conversations"
SORTS = [(name, name) for name in (NAME, *BY_NAME, LAST)]
SORTS += [(f"-{name}", name) for name, _ in SORTS]


@dataclass(frozen=True)
class Cell:
    number: Number
    trend: Sparkline | None


@dataclass(frozen=True)
class AgentRow:
    id: uuid.UUID
    label: str
    cells: list[Cell]
    # When anything last happened in one of its conversations.
    last_activity: datetime | None


@dataclass(frozen=True)
class Ranking:
    rows: list[AgentRow]
    # How many agents there are, and on how many pages.
    total: int
    pages: int
    page: int
    # How many agents are sorted, if not all that were active; else 0.
    most_sorted: int


def names() -> dict[uuid.UUID, str]:
    return labels(list(Agent.objects.values_list("pk", "name")))


def ranking(span: Span, period: str, sort: str, page: int) -> Ranking:
    """`sort` is one of SORTS: a column, with a minus the other way round."""
    found = defaultdict(Figures, figures.by_agent(span))
    agents = names()
    column = BY_NAME.get(sort.removeprefix("-"))
    active = sorted(found.keys() & agents.keys(), key=lambda pk: -found[pk].conversations)
    summed = active[:MOST_SUMMED] if column and column.is_sum else []
    reading.add_totals(found, span, summed)
    last = Fact.objects.last_activities(agents) if sort.endswith(LAST) else {}
    values: dict[uuid.UUID, Any] = dict(last)
    if column:
        values = {pk: column.value(found[pk]) for pk in (summed if column.is_sum else agents)}
    ranked = in_order(agents, values, sort)
    pages = max(-(-len(ranked) // ROWS), 1)
    page = min(page, pages)
    shown = ranked[(page - 1) * ROWS : page * ROWS]
    reading.add_totals(found, span, set(shown) - set(summed))
    return Ranking(
        rows(shown, agents, found, last or Fact.objects.last_activities(shown), span, period),
        len(ranked),
        pages,
        page,
        len(summed) if 0 < len(summed) < len(active) else 0,
    )


def in_order(agents: dict[uuid.UUID, str], values: dict[uuid.UUID, Any], sort: str):
    """The highest values come first; agents without one come last, by the alphabet."""
    alphabetic = sorted(agents, key=lambda pk: (agents[pk].casefold(), pk))
    if sort == f"-{NAME}":
        alphabetic.reverse()
    known = [pk for pk in alphabetic if values.get(pk) is not None]
    known.sort(key=values.get, reverse=not sort.startswith("-"))
    return known + [pk for pk in alphabetic if values.get(pk) is None]


def rows(shown, agents, found, last, span: Span, period: str) -> list[AgentRow]:
    spans = trend_spans(period, span.until)
    trends = reading.trends(spans, shown)
    each = "hour" if period == "today" else "day"
    times = [trend_label(one, period) for one in spans]

    def cell(pk: uuid.UUID, column: Column) -> Cell:
        link = partial(links.conversations, span, **links.of_agent(pk))
        trend = None
        if pk in trends and column.value(found[pk]) is not None:
            values = [column.value(of_span) for of_span in trends[pk]]
            trend = Sparkline(f"{column.label} per {each}", values, times, column.as_words)
        return Cell(column.number(found[pk], link), trend)

    return [
        AgentRow(pk, agents[pk], [cell(pk, column) for column in COLUMNS], last.get(pk))
        for pk in shown
    ]
