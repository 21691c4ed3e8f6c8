"""Charts of figures over time."""

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from django.utils.text import get_text_list

from backoffice.words import seconds
from conversations.display.axes import decimal_step, seconds_step
from conversations.display.time_charts import Point, TimeChart

from . import figures, links
from .figures import FEW, Figures
from .periods import Slice, clock, slices
from .words import answers_note, money_note, money_words, seconds_words, whole_money

# What a chart takes of a day's figures: numbers to draw, words, and what else to say.
Taken = tuple[list, list[str], str]


def conversations(found: Figures) -> Taken:
    return [found.conversations], [f"{found.conversations:,}"], ""


def troubled(found: Figures) -> Taken:
    return [found.troubled], [f"{found.troubled:,}"], ""


def runs(found: Figures) -> Taken:
    without = found.runs_without_answer
    return [found.runs - without, without], [f"{found.runs:,}", f"{without:,}"], ""


def seconds_to_an_answer(found: Figures) -> Taken:
    ends = [found.seconds(50), found.seconds(95)]
    if not found.answers:
        return ends, ["", ""], "no answers"
    return ends, [seconds_words(found, 50), seconds_words(found, 95)], answers_note(found)


def tokens(found: Figures) -> Taken:
    return [found.tokens], [f"{found.tokens:,}"], ""


def money(found: Figures) -> Taken:
    cost = found.money
    return [float(cost.amount) if cost else None], [money_words(cost)], money_note(cost)


def charts(
    period: str,
    until: datetime,
    agent_id: uuid.UUID | None = None,
    marks: Sequence[datetime] = (),
    mark_words: str = "",
) -> list[TimeChart]:
    """
    Of one agent or, without one, of all that the user may see. `mark_words` say what happened at
    the `marks`.
    """
    found = slices(period, until)
    numbers = figures.of_slices(found, agent_id)
    each = "Hour" if period == "today" else "Day"
    active = partial(links.conversations, **links.of_agent(agent_id))
    any_problem = partial(active, names=links.PROBLEM, problem="any")

    def marked(slice: Slice) -> str:
        """workflow changed at 14:05 and 16:30"""
        times = [clock(mark) for mark in marks if slice.since <= mark < slice.until]
        return f"{mark_words} at {get_text_list(times, 'and')}" if times else ""

    def chart(title: str, measures: list[str], take: Callable, link=active, **options):
        points = [
            point(slice, of_slice, take, link, marked(slice))
            for slice, of_slice in zip(found, numbers, strict=True)
        ]
        return TimeChart(title, measures, points, each=each, mark_label=mark_words, **options)

    per = f"per {each.lower()}"
    return [
        chart(f"Conversations {per}", ["conversations"], conversations),
        chart(f"Conversations with a problem {per}", ["with a problem"], troubled, any_problem),
        chart(
            f"Runs {per}",
            ["runs", "without an answer"],
            runs,
            legend=["with an answer, or still running", "without an answer"],
        ),
        chart(
            f"Time to an answer {per}",
            ["median", "95th percentile"],
            seconds_to_an_answer,
            legend=["median", "95th percentile"],
            is_range=True,
            as_words=seconds,
            step=seconds_step,
        ),
        chart(f"Tokens {per}", ["tokens"], tokens),
        chart(
            f"Cost of model calls {per}",
            ["US dollars"],
            money,
            as_words="${:,.10g}".format,
            step=decimal_step,
            note=f"Together {whole_money(figures.money_of(numbers))}",
        ),
    ]


def point(
    slice: Slice, found: Figures, take: Callable[[Figures], Taken], link: Callable, mark: str
) -> Point:
    numbers, words, note = take(found)
    is_percentile = take is seconds_to_an_answer
    return Point(
        label=slice.label,
        short_label=slice.short_label,
        numbers=numbers,
        words=words,
        link=link(slice),
        until="" if slice.is_over else clock(slice.until),
        is_faint=is_percentile and 0 < found.answers < FEW,
        note=note,
        mark=mark,
    )
