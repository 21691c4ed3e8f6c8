"""The figures of today and of the last week, each beside that of the period before."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from conversations.problems import kinds

from . import figures, links
from .figures import Figures
from .periods import Compared, Span, compared
from .words import answers_note, money_note, money_words, seconds_words

PERIODS = (1, 7)
# links.conversations of a period and an agent.
Link = Callable[..., str]


@dataclass(frozen=True)
class Number:
    """`conversations`: how many the list has that it leads to, if the number says so."""

    words: str
    link: str
    conversations: int | None = None
    note: str = ""
    # Of so few values that it means little.
    is_faint: bool = False


@dataclass(frozen=True)
class Pair:
    """A number of a period, and that of the one before."""

    period: Compared
    shown: Number
    before: Number


@dataclass(frozen=True)
class Tile:
    label: str
    hint: str
    pairs: list[Pair]


@dataclass(frozen=True)
class Measure:
    label: str
    # What it means, where the label does not say it.
    hint: str
    number: Callable[[Figures, Link], Number]


def conversations(found: Figures, link: Link) -> Number:
    number = found.conversations
    return Number(f"{number:,}", link(), number)


def messages(found: Figures, link: Link) -> Number:
    return Number(f"{found.messages:,}", link())


def unanswered(found: Figures, link: Link) -> Number:
    number = found.unanswered
    return Number(
        f"{found.unanswered_people:,}",
        link(outcome="none"),
        number,
        f"in {number:,} conversation{'' if number == 1 else 's'}" if number else "",
    )


def troubled(found: Figures, link: Link) -> Number:
    return Number(
        f"{found.troubled:,}",
        link(links.PROBLEM, problem="any"),
        found.troubled,
    )


def seconds_to_an_answer(percent: int) -> Callable[[Figures, Link], Number]:
    def number(found: Figures, link: Link) -> Number:
        return Number(
            seconds_words(found, percent),
            link(),
            note=answers_note(found),
            is_faint=found.has_few_answers,
        )

    return number


def tokens(found: Figures, link: Link) -> Number:
    return Number(f"{found.tokens:,}", link())


def money(found: Figures, link: Link) -> Number:
    cost = found.money
    return Number(money_words(cost), link(), note=money_note(cost))


MEASURES = (
    Measure("Conversations", "with a message or a new run", conversations),
    Measure("Messages", "of everybody in them", messages),
    Measure("People without an answer", "whose last run ended or stopped without one", unanswered),
    Measure("Conversations with a problem", "that happened in the period", troubled),
    Measure(
        "Time to an answer, median", "half of the answers took longer", seconds_to_an_answer(50)
    ),
    Measure("Time to an answer, 95th percentile", "1 in 20 took longer", seconds_to_an_answer(95)),
    Measure("Tokens", "of all model calls", tokens),
    Measure("Cost of model calls", "at list prices", money),
)


@dataclass(frozen=True)
class KindRow:
    """A kind of problem with its number of conversations in each period and the one before."""

    label: str
    numbers: list[Number]


@dataclass(frozen=True)
class Overview:
    periods: list[Compared]
    tiles: list[Tile]
    kinds: list[KindRow]


def numbers(span: Span, found: Figures | None) -> list[tuple[str, Number]]:
    """[(label, number)] of one period alone; nothing without figures."""
    link = partial(links.conversations, span)
    return [(measure.label, measure.number(found, link)) for measure in MEASURES] if found else []


def overview(until: datetime, agent_id: uuid.UUID | None = None) -> Overview:
    """Of one agent or, without one, of all that the user may see."""
    periods = [compared(until, days) for days in PERIODS]
    # (period, figures of the one before, its own)
    found = [(each, *figures.of_periods([each.before, each.shown], agent_id)) for each in periods]

    def link(span: Span) -> Link:
        return partial(links.conversations, span, **links.of_agent(agent_id))

    return Overview(
        periods,
        [
            Tile(
                measure.label,
                measure.hint,
                [
                    Pair(
                        period,
                        measure.number(shown, link(period.shown)),
                        measure.number(before, link(period.before)),
                    )
                    for period, before, shown in found
                ],
            )
            for measure in MEASURES
        ],
        [
            KindRow(
                kind.label,
                [
                    of_kind(kind.name, numbers, link(span))
                    for period, before, shown in found
                    for numbers, span in ((shown, period.shown), (before, period.before))
                ],
            )
            for kind in kinds.problems()
        ],
    )


def of_kind(name: str, found: Figures, link: Link) -> Number:
    number = found.by_kind[name]
    link = link(links.PROBLEM, problem=name)
    return Number(f"{number:,}", link, number)
