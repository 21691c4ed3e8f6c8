"""The steps of an opened run, a page at a time: what each did, in words, and when."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from django.utils.html import escape

from ..models import Run, Task
from .failed_steps import FailedStep, Row
from .steps import Step, adds_nothing, step
from .waterfall import Bar, Tick, waterfall

# Bytes of HTML for the sentences of a page; once they are used up, quotes are cut to SHORT.
ROOM = 60_000
SHORT = 40


@dataclass
class StepList:
    # Each step of this page with its bar.
    steps: list[tuple[Step | FailedStep, Bar | None]]
    # The failed step that ended the run, if it is on another page; else empty.
    ended: list[tuple[FailedStep, Bar | None]]
    ticks: list[Tick]
    # Seconds from the first start to the last end among all steps of the run.
    span: float


def step_list(
    run: Run, tasks: list[Task], rows: list[Row], found: dict, start: int, end: int
) -> StepList:
    """
    The steps of the tasks from `start` to `end`, and the failed steps between them.

    `rows` are all tasks and failed steps; `found` is the result of steps.read().
    """
    first = rows.index(tasks[start]) if start else 0
    after = rows.index(tasks[end]) if end < len(tasks) else len(rows)
    drawn = waterfall(run, rows, slice(first, after))
    shown: list[tuple[Step | FailedStep, Bar | None]] = []
    for row, bar in zip(rows[first:after], drawn.bars, strict=True):
        if isinstance(row, FailedStep):
            shown.append((row, bar))
        # A task that was erased between the two queries is not in `found`.
        elif row.pk in found and not adds_nothing(row, found[row.pk]):
            shown.append((step(row, found[row.pk]), bar))
    last = rows[-1] if rows and after < len(rows) else None
    ended = []
    if isinstance(last, FailedStep) and last.is_last:
        ended = [(last, waterfall(run, rows, slice(-1, None)).bars[0])]
    return StepList(list(fitted(shown)), ended, drawn.ticks, drawn.span)


def fitted(shown: Iterable[tuple[Step | FailedStep, Bar | None]]):
    """Cut the quotes short once the page's room is used up."""
    room = ROOM
    for each, bar in shown:
        if room <= 0:
            parts = tuple(p if p.kind == "text" else p.cut(SHORT) for p in each.parts)
            each = replace(each, parts=parts)
        room -= sum(len(escape(part.text).encode()) for part in each.parts)
        yield each, bar
