"""One run's tasks over time, laid out as bars of an SVG."""

import math
import unicodedata
import uuid
from dataclasses import dataclass

from backoffice.words import seconds

from ..models import Task

BARS = 100

# In units of the viewBox: names, then the bars, then a column of durations.
WIDTH = 1000
TRACK_START = 272
TRACK_END = 908
HEADER = 26
ROW = 24
SHORTEST_BAR = 3
MARK = 20
INDENT = 14
DEEPEST_INDENT = 6

# In columns of text, where a wide character takes two.
LABEL_LENGTH = 31
TITLE_LENGTH = 200

TICKS = 5
# Steps that read well on a clock, in seconds; shorter and longer ones are decimal.
DECIMAL_STEPS = (1, 2, 3, 4, 5, 8, 10)
CLOCK_STEPS = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
SHORTEST_STEP = 0.001

COLOURS = {"llm": "model", "agent": "model", "tool_call": "tool"}


@dataclass(frozen=True)
class Bar:
    """A task's row; `y` is the row's top, all lengths are units of the viewBox."""

    pk: uuid.UUID
    name: str
    # The node type beside the name, empty if there is no room for it.
    kind: str
    colour: str
    duration: str
    failed: bool
    title: str
    indent: int
    x: float
    y: int
    width: float


@dataclass(frozen=True)
class Tick:
    x: float
    label: str


@dataclass(frozen=True)
class Waterfall:
    bars: list[Bar]
    ticks: list[Tick]
    # Seconds from the first start to the last end of the bars.
    span: float
    total: int

    @property
    def width(self) -> int:
        return WIDTH

    @property
    def height(self) -> int:
        return HEADER + ROW * len(self.bars)

    @property
    def left_out(self) -> int:
        return self.total - len(self.bars)


def waterfall(tasks: list[Task]) -> Waterfall | None:
    """
    The first tasks of a run as bars; None when there are none.

    `tasks` are in display order, with `depth`; those that get a bar also have `failed`.
    """
    if not tasks:
        return None
    shown = tasks[:BARS]
    times = [interval(task, shown[0].created_at) for task in shown]
    origin = min(start for start, _ in times)
    span = max(end for _, end in times) - origin
    bars = [
        make_bar(task, HEADER + ROW * row, start - origin, end - start, span)
        for row, (task, (start, end)) in enumerate(zip(shown, times, strict=True))
    ]
    return Waterfall(bars, make_ticks(span), span, len(tasks))


def interval(task: Task, zero) -> tuple[float, float]:
    """
    When a task started and ended, in seconds since `zero`.

    The runtime writes a task when it has ended. Floats, since a recorded duration may reach
    beyond the calendar; an impossible one counts as 0.
    """
    end = (task.created_at - zero).total_seconds()
    duration = task.duration_seconds
    if duration is None or not math.isfinite(duration) or duration < 0:
        duration = 0
    return end - duration, end


def scaled(time: float, span: float) -> float:
    """A time since the first start as a distance from the start of the track."""
    return time / span * (TRACK_END - TRACK_START) if span else 0


def make_bar(task: Task, y: int, start: float, length: float, span: float) -> Bar:
    width = max(scaled(length, span), SHORTEST_BAR)
    x = min(TRACK_START + scaled(start, span), TRACK_END - width)
    name = one_line(task.name) or "(no name)"
    kind = one_line(task.node_type)
    depth = min(task.depth, DEEPEST_INDENT)
    label = cut(name, LABEL_LENGTH - 2 * depth)
    room = LABEL_LENGTH - 2 * depth - columns(label) - 1
    duration = seconds(task.duration_seconds)
    facts = [
        isolated(cut(name, TITLE_LENGTH)),
        isolated(cut(kind, TITLE_LENGTH)) if kind else "",
        duration or "duration unknown",
        f"starts at {seconds(start)}",
        "failed" if task.failed else "",
    ]
    return Bar(
        pk=task.pk,
        name=label,
        kind=kind if columns(kind) <= room else "",
        colour=COLOURS.get(task.node_type, "other"),
        duration=duration if len(duration) <= 12 else cut(duration, 9),
        failed=task.failed,
        title=", ".join(fact for fact in facts if fact),
        indent=MARK + INDENT * depth,
        x=round(x, 1),
        y=y,
        width=round(width, 1),
    )


def make_ticks(span: float) -> list[Tick]:
    step = tick_step(span)
    return [
        Tick(round(TRACK_START + scaled(number * step, span), 1), seconds(number * step))
        for number in range(TICKS + 1)
        if number * step <= span
    ]


def tick_step(span: float) -> float:
    """The shortest round number of seconds that divides the span into at most TICKS parts."""
    least = max(span / TICKS, SHORTEST_STEP)
    if CLOCK_STEPS[0] / 2 < least <= CLOCK_STEPS[-1]:
        return next(step for step in CLOCK_STEPS if step >= least)
    power = 10.0 ** math.floor(math.log10(least))
    # The tolerance: n times a power of ten may round to slightly less than it should.
    return next(n * power for n in DECIMAL_STEPS if n * power >= least * (1 - 1e-9))


def one_line(text: str | None) -> str:
    # Cut before splitting: a name may be megabytes.
    return " ".join((text or "")[: 4 * TITLE_LENGTH].split())


def columns(text: str) -> int:
    """How many columns a text takes, wide characters counting twice."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def cut(text: str, limit: int) -> str:
    """The text, or as much of it as fits into `limit` columns with an ellipsis."""
    if columns(text) <= limit:
        return text
    kept = text[: limit - 1]
    while kept and columns(kept) > limit - 1:
        kept = kept[:-1]
    return f"{kept.rstrip()}…"


def isolated(text: str) -> str:
    """In directional isolates: a title is plain text, and a name could reverse the rest."""
    return f"\u2068{text}\u2069"
