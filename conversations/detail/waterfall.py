"""One run's tasks over time, laid out as bars of an SVG."""

import math
import unicodedata
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress

from backoffice.words import CLOCK_DIFFERS, is_duration, seconds, signed

from ..agentdb.conventions import INTERRUPTED_AFTER
from ..models import Run, Task
from .failed_steps import FailedStep, with_failed

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
LEFTWARDS = f"M{TRACK_START - 2} 8l-4 4 4 4"
RIGHTWARDS = f"M{TRACK_END + 2} 8l4 4-4 4"
DEEPEST_INDENT = 6

# In columns of text, where a wide character takes two.
LABEL_LENGTH = 31
TITLE_LENGTH = 200

TICKS = 5
# Steps that read well on a clock, in seconds; shorter and longer ones are decimal.
DECIMAL_STEPS = (1, 2, 3, 4, 5, 8, 10)
CLOCK_STEPS = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
SHORTEST_STEP = 0.001

# A step may begin or end so far outside its run: it is written a little later than it ends.
SLACK_SECONDS = 1
SLACK_SHARE = 0.1

COLOURS = {"llm": "model", "agent": "model", "tool_call": "tool"}


@dataclass(frozen=True)
class Bar:
    """A task's row; `y` is the row's top, all lengths are units of the viewBox."""

    pk: uuid.UUID
    # What it is read from; see FailedStep.
    of: str
    name: str
    # The node type beside the name, empty if there is no room for it.
    kind: str
    colour: str
    duration: str
    failed: bool
    # Recorded by a clock that differs from the run's: it may lie beyond the track.
    is_off: bool
    # Arrows where it goes on beyond the track, as a path.
    beyond: str
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
    # Of its tasks, and of those that have a bar.
    total: int
    shown: int

    @property
    def width(self) -> int:
        return WIDTH

    @property
    def height(self) -> int:
        return HEADER + ROW * len(self.bars)

    @property
    def left_out(self) -> int:
        return self.total - self.shown


def waterfall(
    tasks: list[Task], run: Run | None = None, failed: Iterable[FailedStep] = ()
) -> Waterfall | None:
    """
    The first tasks of a run as bars, and what failed without a task; None when there is neither.

    `tasks` are in display order, with `depth`; those that get a bar also have `failed`. Tasks that
    lie outside their run do not stretch the scale, unless all do.
    """
    shown = with_failed(tasks[:BARS], [step for step in failed if step.took_time])
    if not shown:
        return None
    times = [interval(task, run.created_at if run else shown[0].created_at) for task in shown]
    first, last = bounds(run, times) if run else (-math.inf, math.inf)
    inside = [first <= start and end <= last for start, end in times]
    scale = list(compress(times, inside)) or times
    origin = min(start for start, _ in scale)
    span = max(end for _, end in scale) - origin
    bars = [
        make_bar(task, HEADER + ROW * row, start - origin, end - origin, span, is_inside)
        for row, (task, (start, end), is_inside) in enumerate(
            zip(shown, times, inside, strict=True)
        )
    ]
    return Waterfall(bars, make_ticks(span), span, len(tasks), len(tasks[:BARS]))


def bounds(run: Run, times: list[tuple[float, float]]) -> tuple[float, float]:
    """When tasks may have started at the earliest and ended at the latest, since the run began."""
    if is_duration(run.duration_seconds):
        slack = SLACK_SECONDS + SLACK_SHARE * run.duration_seconds
        return -slack, run.duration_seconds + slack
    # It goes on, was interrupted, or is from before 0006: until its last change and as long after
    # it as a run without changes counts as running, but for the time that its tasks took.
    last_change = max((run.updated_at - run.created_at).total_seconds(), 0)
    took = sum(end - start for start, end in times if start >= -SLACK_SECONDS)
    return -SLACK_SECONDS, last_change + INTERRUPTED_AFTER.total_seconds() + took


def interval(task: Task | FailedStep, zero) -> tuple[float, float]:
    """
    When a task started and ended, in seconds since `zero`.

    The runtime writes a task when it has ended. Floats, since a recorded duration may reach
    beyond the calendar; an impossible one counts as 0.
    """
    end = (task.created_at - zero).total_seconds()
    duration = task.duration_seconds
    return end - (duration if is_duration(duration) else 0), end


def scaled(time: float, span: float) -> float:
    """A time since the first start as a distance from the start of the track."""
    return time / span * (TRACK_END - TRACK_START) if span else 0


def make_bar(
    task: Task | FailedStep, y: int, start: float, end: float, span: float, is_inside: bool
) -> Bar:
    measured = task.duration_seconds
    is_off = not is_inside or (measured is not None and not is_duration(measured))
    shown_from, shown_to = (min(max(time, 0), span) for time in (start, end))
    width = max(scaled(shown_to - shown_from, span), SHORTEST_BAR)
    x = min(TRACK_START + scaled(shown_from, span), TRACK_END - width)
    name = one_line(task.name) or "(no name)"
    kind = one_line(task.node_type)
    depth = min(task.depth, DEEPEST_INDENT)
    label = cut(name, LABEL_LENGTH - 2 * depth)
    room = LABEL_LENGTH - 2 * depth - columns(label) - 1
    duration = seconds(measured)
    facts = [
        isolated(cut(name, TITLE_LENGTH)),
        isolated(cut(kind, TITLE_LENGTH)) if kind else "",
        duration or "duration unknown",
        f"starts at {signed(start)}",
        CLOCK_DIFFERS if is_off and CLOCK_DIFFERS not in duration else "",
        "failed" if task.failed else "",
    ]
    return Bar(
        pk=task.pk,
        of=getattr(task, "of", ""),
        name=label,
        kind=kind if columns(kind) <= room else "",
        colour=COLOURS.get(task.node_type, "other"),
        duration=CLOCK_DIFFERS if is_off else shortest(duration),
        failed=task.failed,
        is_off=is_off,
        beyond=(LEFTWARDS if start < 0 else "") + (RIGHTWARDS if end > span else ""),
        title=", ".join(fact for fact in facts if fact),
        indent=MARK + INDENT * depth,
        x=round(x, 1),
        y=y,
        width=round(width, 1),
    )


def shortest(duration: str) -> str:
    return duration if len(duration) <= 12 else cut(duration, 9)


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
