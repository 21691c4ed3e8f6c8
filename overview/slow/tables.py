"""The tables of nodes, tools and models: a row for each name, sorted by any column."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from backoffice.words import seconds
from conversations.agentdb import revision
from conversations.agentdb.step_names import NAME_LENGTH
from conversations.display.sparkline import Sparkline
from conversations.models import NO_NAME
from privacy import masking

from .. import links
from ..figures import FEW
from ..periods import Span
from ..spans import trend_label, trend_spans
from ..words import NONE, money_note, money_words, percent_words
from . import reading
from .reading import Calls

# More rows than these are added up in one.
ROWS = 25


@dataclass(frozen=True)
class Cell:
    words: str
    note: str = ""
    # The conversations that it is about; empty where none can be listed.
    link: str = ""
    # Of so few values that it means little.
    is_faint: bool = False


@dataclass(frozen=True)
class Column:
    name: str
    label: str
    cell: Callable[[Calls], Cell]
    # What it is sorted by.
    value: Callable[[Calls], float | None]


def duration(percent: int) -> Callable[[Calls], Cell]:
    def cell(found: Calls) -> Cell:
        if not found.timed:
            return Cell(NONE)
        return Cell(
            seconds(found.seconds(percent)),
            f"of {found.timed:,}",
            is_faint=found.timed < FEW,
        )

    return cell


def cost(found: Calls) -> Cell:
    return Cell(money_words(found.money), money_note(found.money))


def dollars(found: Calls) -> float | None:
    """None where the page says n/a."""
    money = found.money
    return float(money.amount) if money and (money.amount or not money.at_least) else None


FAILURES = "failures"
COLUMNS = (
    Column("calls", "Calls", lambda found: Cell(f"{found.number:,}"), lambda found: found.number),
    Column(
        FAILURES, "Failures", lambda found: Cell(f"{found.failed:,}"), lambda found: found.failed
    ),
    Column(
        "rate",
        "Failure rate",
        lambda found: Cell(percent_words(found.failed, found.number)),
        lambda found: found.failure_rate,
    ),
    Column("median", "Median", duration(50), lambda found: found.seconds(50)),
    Column("p95", "95th percentile", duration(95), lambda found: found.seconds(95)),
)
OF_MODELS = (
    Column("tokens", "Tokens", lambda found: Cell(f"{found.tokens:,}"), lambda found: found.tokens),
    Column("cost", "Cost", cost, dollars),
)
NAME = "name"
DEFAULT = "calls"


@dataclass(frozen=True)
class Kind:
    """`name` is the table's in addresses, `what` the cells' column, `filter` the list's filter."""

    name: str
    label: str
    one: str
    hint: str
    what: str
    filter: str
    columns: tuple[Column, ...] = COLUMNS

    @property
    def sorts(self) -> list[tuple[str, str]]:
        """By a column or, with a minus, by it the other way round."""
        names = [NAME, *(column.name for column in self.columns)]
        return [(sort, name) for name in names for sort in (name, f"-{name}")]


KINDS = (
    Kind(
        "nodes",
        "Nodes",
        "node",
        "Steps of workflows, by their names. Those of several agents with the same name are one.",
        "nodes",
        "node",
    ),
    Kind(
        "tools",
        "Tools",
        "tool",
        "Calls of tools. One failed if it gave an error instead of a result.",
        "tools",
        "tool",
    ),
    Kind(
        "models",
        "Models",
        "model",
        "Calls of models, also those whose conversations are erased by now. Cost is at list "
        "prices.",
        "model_calls",
        "model",
        COLUMNS + OF_MODELS,
    ),
)
BY_NAME = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True)
class Row:
    label: str
    link: str
    cells: list[Cell]
    trend: Sparkline | None = None


@dataclass(frozen=True)
class Table:
    kind: Kind
    rows: list[Row]
    # All rows that are not shown, and all together; None where there are none.
    others: Row | None
    total: Row | None


def shown(name: str) -> str:
    return masking.cut(name, NAME_LENGTH) or NO_NAME


def ranked(kind: Kind, found: dict[str, Calls], sort: str) -> list[str]:
    """The names; the highest values come first, and those without one last."""
    names = sorted(found, key=lambda name: (shown(name).casefold(), name))
    if sort.removeprefix("-") == NAME:
        return names[::-1] if sort.startswith("-") else names
    [column] = [each for each in kind.columns if each.name == sort.removeprefix("-")]
    values = {name: column.value(found[name]) for name in names}
    known = [name for name in names if values[name] is not None]
    known.sort(key=values.__getitem__, reverse=not sort.startswith("-"))
    return known + [name for name in names if values[name] is None]


def tables(
    span: Span, period: str, agent_id: uuid.UUID | None, sorts: dict[str, str]
) -> list[Table]:
    """`sorts`: {name of a kind: one of its sorts}"""
    found = reading.calls(span, agent_id)
    spans = trend_spans(period, span.until)
    trends = reading.trends(spans, agent_id)
    labels = [trend_label(each, period) for each in spans]
    title = f"Calls per {'hour' if period == 'today' else 'day'}"

    def table(kind: Kind) -> Table:
        calls = found[kind.what]
        names = ranked(kind, calls, sorts[kind.name])

        def row(name: str) -> Row:
            trend = Sparkline(title, trends[kind.what][name], labels)
            link = link_of(kind, name, span, agent_id)
            return Row(shown(name), link(), cells(kind, calls[name], link), trend)

        def of_several(label: str, several: list[str]) -> Row | None:
            whole = reading.together(calls[name] for name in several)
            return Row(label, "", cells(kind, whole)) if several else None

        rest = names[ROWS:]
        nouns = kind.one if len(rest) == 1 else kind.label.lower()
        return Table(
            kind,
            [row(name) for name in names[:ROWS]],
            of_several(f"{len(rest):,} other {nouns}", rest),
            of_several(f"All {kind.label.lower()}", names),
        )

    return [table(kind) for kind in KINDS]


def link_of(kind: Kind, name: str, span: Span, agent_id: uuid.UUID | None) -> Callable[..., str]:
    """Makes addresses of the list of conversations in which it was called."""
    lists_models = kind.filter != "model" or revision.has_model_call_links()
    # A name that may not be seen may not be in an address either.
    if not name or shown(name) != name or not lists_models:
        return no_link
    filters = {kind.filter: name, **links.of_agent(agent_id)}
    return partial(links.conversations, span, links.STEP, **filters)


def no_link(**filters: str) -> str:
    return ""


def cells(kind: Kind, found: Calls, link: Callable[..., str] = no_link) -> list[Cell]:
    made = []
    for column in kind.columns:
        cell = column.cell(found)
        if column.name == FAILURES and found.failed:
            cell = Cell(cell.words, link=link(step="failed"))
        made.append(cell)
    return made
