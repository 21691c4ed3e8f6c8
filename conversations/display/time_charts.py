"""Numbers per day or hour as a chart with an axis: an SVG, and the table behind it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import ClassVar

from django.utils.functional import cached_property

from .axes import count_step, short_count

# In units of the viewBox.
WIDTH = 640
# Where the bars begin, right of the axis' labels.
START = 56
TOP = 24
GROUND = 150
HEIGHT = 172
WIDEST_BAR = 40
SHARE_OF_SLOT = 0.7
SHORTEST_BAR = 2
MARK_SIZE = 5
# Nearer to an edge, a number above a bar begins or ends there.
EDGE = 40

MOST_TICKS = 4
MOST_LABELS = 6


@dataclass(frozen=True)
class Point:
    """
    A day or an hour. `numbers` has what is drawn of each series, None where there is none, such as
    the median of nothing; `words` what the table says in each of its columns.
    """

    label: str
    short_label: str
    numbers: Sequence[float | None]
    words: Sequence[str]
    link: str = ""
    # When it is not over: until when it is counted.
    until: str = ""
    # Of so few values that the number means little.
    is_faint: bool = False
    # Said after the numbers.
    note: str = ""
    # What happened in it and is marked in the chart, such as "workflow changed at 14:05".
    mark: str = ""


@dataclass(frozen=True)
class Piece:
    """One series' part of a bar, or a mark; `series` counts from 1."""

    series: int
    path: str


@dataclass(frozen=True)
class Slot:
    """A point's share of the width, with what is drawn there."""

    point: Point
    title: str
    x: float
    width: float
    pieces: list[Piece]
    # The first of the words, shown above the bar.
    value: str
    value_x: float
    value_y: float
    anchor: str
    # The label below, and whether narrow screens leave it out.
    has_label: bool
    is_minor: bool

    @property
    def middle(self) -> float:
        return round(self.x + self.width / 2, 1)

    @property
    def mark(self) -> str:
        """A diamond above the chart, with a line down to the ground; empty if there is no mark."""
        if not self.point.mark:
            return ""
        size = MARK_SIZE
        diamond = f"M{self.middle} 0l{size} {size}l-{size} {size}l-{size} -{size}z"
        return f"{diamond}M{self.middle} {2 * size}V{GROUND}"


@dataclass(frozen=True)
class Tick:
    y: float
    label: str


@dataclass(frozen=True)
class TimeChart:
    """
    Bars are stacked, the first series at the bottom; with `is_range` the numbers of a point are the
    ends of a line instead, such as the median and the 95th percentile. `as_words` and `step` are
    for the axis.
    """

    title: str
    # What the points' words are, as in "conversations: 34" and above the table.
    measures: Sequence[str]
    points: Sequence[Point]
    # The names of the series, where there are several.
    legend: Sequence[str] = ()
    as_words: Callable[[float], str] = short_count
    step: Callable[[float], float] = count_step
    is_range: bool = False
    # What is said below the title.
    note: str = ""
    # What the table calls its first column.
    each: str = "Day"
    # What marks stand for.
    mark_label: str = ""

    width: ClassVar[int] = WIDTH
    height: ClassVar[int] = HEIGHT
    start: ClassVar[int] = START
    ground: ClassVar[int] = GROUND

    @property
    def is_empty(self) -> bool:
        return not any(number for point in self.points for number in point.numbers)

    @property
    def unfinished(self) -> Point | None:
        """The point that is not over."""
        return next((point for point in self.points if point.until), None)

    @property
    def has_marks(self) -> bool:
        return any(point.mark for point in self.points)

    @property
    def has_faint(self) -> bool:
        return any(point.is_faint for point in self.points)

    @cached_property
    def top(self) -> float:
        """The number at the upper end of the axis."""
        stacked = max if self.is_range else sum
        most = max((stacked(known(point)) for point in self.points if known(point)), default=0)
        step = self.step(max(most, 1e-9) / MOST_TICKS)
        return step * max(math.ceil(round(most / step, 9)), 1)

    @cached_property
    def ticks(self) -> list[Tick]:
        step = self.step(self.top / MOST_TICKS)
        numbers = (step * place for place in range(math.floor(self.top / step + 1e-9) + 1))
        return [
            Tick(self.y(number), self.as_words(number) if number else "0") for number in numbers
        ]

    def y(self, number: float) -> float:
        return round(GROUND - (GROUND - TOP) * number / self.top, 1)

    @cached_property
    def slots(self) -> list[Slot]:
        slot = (WIDTH - START) / len(self.points)
        every = math.ceil(len(self.points) / MOST_LABELS)
        # Counted from the end, so that the last one has a label.
        places = range(len(self.points) - 1, -1, -1)
        return [
            self.slot(point, START + slot * place, slot, back % every == 0, back % (2 * every) != 0)
            for place, (back, point) in enumerate(zip(places, self.points, strict=True))
        ]

    def slot(self, point: Point, x: float, width: float, has_label: bool, minor: bool) -> Slot:
        draw = self.range if self.is_range else self.bar
        middle = x + width / 2
        pieces, top = draw(point, middle, width)
        anchor = "start" if middle < START + EDGE else "end" if middle > WIDTH - EDGE else "middle"
        ends = {"start": x, "end": x + width, "middle": middle}
        return Slot(
            point=point,
            title=self.title_of(point),
            x=round(x, 1),
            width=round(width, 1),
            pieces=pieces,
            value=point.words[0],
            value_x=round(ends[anchor], 1),
            value_y=round(top - 5, 1),
            anchor=anchor,
            has_label=has_label,
            is_minor=minor,
        )

    def bar(self, point: Point, middle: float, room: float) -> tuple[list[Piece], float]:
        """(the pieces of a point's bar, where its top is)"""
        width = min(room * SHARE_OF_SLOT, WIDEST_BAR)
        x = round(middle - width / 2, 1)
        ends = [self.y(number) for number in accumulate(point.numbers, add, initial=0)]
        pieces = []
        for series, ((bottom, top), number) in enumerate(
            zip(pairwise(ends), point.numbers, strict=True), start=1
        ):
            if number:
                height = round(max(bottom - top, SHORTEST_BAR), 1)
                pieces.append(Piece(series, f"M{x} {bottom}v-{height}h{width:.1f}v{height}z"))
        return pieces, ends[-1]

    def range(self, point: Point, middle: float, room: float) -> tuple[list[Piece], float]:
        """(a line from the lowest to the highest number with a mark at each, its top)"""
        found = known(point)
        if not found:
            return [], GROUND
        ends = [self.y(number) for number in found]
        half = min(room * SHARE_OF_SLOT, WIDEST_BAR / 2) / 2
        marks = [
            Piece(series, f"M{middle - half:.1f} {y}h{2 * half:.1f}")
            for series, y in enumerate(ends, start=1)
        ]
        line = Piece(0, f"M{middle:.1f} {ends[0]}V{ends[-1]}")
        return [line, *marks], min(ends)

    def title_of(self, point: Point) -> str:
        """Sat 28 Nov – median: 4.2 s; 95th percentile: 9.1 s (of 52 answers); not over yet, …"""
        said = [
            f"{name}: {words}"
            for name, words in zip(self.measures, point.words, strict=True)
            if words
        ]
        text = "; ".join(said)
        if point.note:
            text = f"{text} ({point.note})" if text else point.note
        until = f"; not over yet, counted until {point.until}" if point.until else ""
        mark = f"; {point.mark}" if point.mark else ""
        return f"{point.label} – {text}{until}{mark}"


def known(point: Point) -> list[float]:
    return [number for number in point.numbers if number is not None]


def add(total: float, number: float | None) -> float:
    return total + (number or 0)
