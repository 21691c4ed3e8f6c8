"""Bars on a common time scale that show when each step of a run began and how long it took."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

from backoffice.words import CLOCK_DIFFERS, is_duration, seconds, signed

from ..agentdb.conventions import INTERRUPTED_AFTER
from ..display.axes import seconds_step
from ..models import Run, Task
from .failed_steps import FailedStep

# Percent of the scale.
SHORTEST_BAR = 0.6

TICKS = 4

# How far outside its run a step may begin or end: it is written a little later than it ends.
SLACK_SECONDS = 1
SLACK_SHARE = 0.1

COLOURS = {"llm": "model", "agent": "model", "model call": "model", "tool_call": "tool"}


@dataclass(frozen=True)
class Bar:
    """`x` and `width` are percentages of the scale."""

    # Space-separated CSS classes: model, tool or other; off if its times cannot be right, since
    # another clock recorded them; before and after if it extends beyond the scale.
    looks: str
    duration: str
    title: str
    x: float
    width: float


@dataclass(frozen=True)
class Tick:
    x: float
    label: str


@dataclass(frozen=True)
class Waterfall:
    """One bar for each row; None for a step that took no time."""

    bars: list[Bar | None]
    ticks: list[Tick]
    # Seconds from the first start to the last end.
    span: float


def waterfall(run: Run, rows: Sequence[Task | FailedStep], shown: slice) -> Waterfall:
    """
    Draw the rows of the slice `shown`, on a scale that fits all rows of the run.

    Rows whose times lie outside their run do not stretch the scale, unless all rows do.
    """
    times = [interval(row, run.created_at) for row in rows]
    first, last = bounds(run, times)
    inside = [first <= start and end <= last for start, end in times]
    scale = list(compress(times, inside)) or times or [(0.0, 0.0)]
    origin = min(start for start, _ in scale)
    span = max(end for _, end in scale) - origin
    bars = [
        make_bar(row, start - origin, end - origin, span, is_inside)
        if getattr(row, "took_time", True)
        else None
        for row, (start, end), is_inside in zip(
            rows[shown], times[shown], inside[shown], strict=True
        )
    ]
    return Waterfall(bars, make_ticks(span), span)


def bounds(run: Run, times: list[tuple[float, float]]) -> tuple[float, float]:
    """The earliest and latest plausible times of a task, in seconds from the run's start."""
    if is_duration(run.duration_seconds):
        slack = SLACK_SECONDS + SLACK_SHARE * run.duration_seconds
        return -slack, run.duration_seconds + slack
    # No duration: the run is still running, was interrupted, or dates from before revision 0006.
    # Allow for the time until its last change, plus INTERRUPTED_AFTER, plus its tasks' durations.
    last_change = max((run.updated_at - run.created_at).total_seconds(), 0)
    took = sum(end - start for start, end in times if start >= -SLACK_SECONDS)
    return -SLACK_SECONDS, last_change + INTERRUPTED_AFTER.total_seconds() + took


def interval(task: Task | FailedStep, zero) -> tuple[float, float]:
    """
    When a task started and ended, in seconds since `zero`.

    The runtime writes a task when it ends. Times are floats because a recorded duration may reach
    beyond the calendar; an impossible duration counts as 0.
    """
    end = (task.created_at - zero).total_seconds()
    duration = task.duration_seconds
    return end - (duration if is_duration(duration) else 0), end


def scaled(time: float, span: float) -> float:
    """Seconds since the first start, as a percentage of the scale."""
    return 100 * (time / span) if span else 0


def make_bar(row: Task | FailedStep, start: float, end: float, span: float, is_inside: bool) -> Bar:
    measured = row.duration_seconds
    is_off = not is_inside or (measured is not None and not is_duration(measured))
    shown_from, shown_to = (min(max(time, 0), span) for time in (start, end))
    width = max(scaled(shown_to - shown_from, span), SHORTEST_BAR)
    duration = seconds(measured)
    facts = [
        duration or "duration unknown",
        f"starts at {signed(start)}",
        CLOCK_DIFFERS if is_off and CLOCK_DIFFERS not in duration else "",
    ]
    looks = [
        COLOURS.get(row.node_type, "other"),
        "off" if is_off else "",
        "before" if start < 0 else "",
        "after" if end > span else "",
    ]
    return Bar(
        looks=" ".join(filter(None, looks)),
        duration=CLOCK_DIFFERS if is_off else duration,
        title=", ".join(filter(None, facts)),
        x=round(min(scaled(shown_from, span), 100 - width), 2),
        width=round(width, 2),
    )


def make_ticks(span: float) -> list[Tick]:
    step = seconds_step(span / TICKS)
    return [
        Tick(round(scaled(number * step, span), 1), seconds(number * step))
        for number in range(TICKS + 1)
        if number * step <= span
    ]
