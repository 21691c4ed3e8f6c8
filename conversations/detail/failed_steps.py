"""
What failed in a run and has no task: the runtime writes a task once its step has succeeded.

These are model calls that failed and, in a run that gave no answer, the step at which it ended.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from backoffice.words import is_duration

from ..agentdb.sql import payload_text
from ..models import ModelCall, Run, Task
from .steps import EXCERPT, Part, Step, branch_names, shortened, text, told

# The runtime writes tasks in the background, so that one may seem to have begun a little later than
# it did. Before it asks a model again, it waits longer.
WRITTEN_LATE = timedelta(seconds=0.5)
# Of the last tasks, as many are looked at for the step that came next.
LAST = 5
NO_ANSWER = text(": the customer got no answer.")


@dataclass(frozen=True, slots=True)
class FailedStep:
    """In the explanation a Step, in the waterfall like a Task. Durations are seconds."""

    pk: uuid.UUID
    # Where its data is: "model-calls" or "runs".
    of: str
    name: str
    parts: tuple[Part, ...]
    created_at: datetime
    duration_seconds: float | None
    depth: int = 0
    # Whether the run ended with it.
    is_last: bool = False
    took_time: bool = True
    node_type: str = ""
    failed: bool = True

    @property
    def duration(self) -> float | None:
        return self.duration_seconds


Row = Task | Step | FailedStep


def failed_steps(
    run: Run, tasks: list[Task], rows: dict, calls: list[ModelCall], *, unanswered: bool
) -> list[FailedStep]:
    """
    In order of time. `rows`: what steps.read() found of the first tasks and the LAST. `calls`:
    those that failed. `unanswered`: the customer got no answer from this run.
    """
    if not unanswered:
        return [failed_call(call) for call in calls]
    node = next_step(tasks, rows)
    if calls and not went_on(tasks, calls[-1]):
        *others, last = calls
        return [*map(failed_call, others), failed_call(last, node, is_last=True)]
    return [*map(failed_call, calls), end_of(run, tasks, node)]


def went_on(tasks: list[Task], call: ModelCall) -> bool:
    """Whether a task began after the call failed. Branches side by side may end after it."""
    return any(task.created_at - lasted(task) > call.created_at + WRITTEN_LATE for task in tasks)


def lasted(task: Task) -> timedelta:
    seconds = task.duration_seconds
    try:
        return timedelta(seconds=seconds if is_duration(seconds) else 0)
    except OverflowError:
        return timedelta(0)


def failed_call(call: ModelCall, node: Part | None = None, *, is_last: bool = False) -> FailedStep:
    whom = node or Part("name", shortened(call.model) or "no name")
    words = " ".join((call.words or "").split())
    why = Part("error", words).without_stop() if words else text("no reason was recorded")
    parts = [text("Asked the model ("), whom, text(") → "), why]
    return FailedStep(
        pk=call.pk,
        of="model-calls",
        name=whom.text,
        parts=(*parts, NO_ANSWER) if is_last else tuple(parts),
        created_at=call.created_at,
        duration_seconds=call.duration_seconds,
        is_last=is_last,
        node_type="model call",
    )


def end_of(run: Run, tasks: list[Task], node: Part | None) -> FailedStep:
    """Where a run ended that no failed model call explains."""
    began = max((task.created_at for task in tasks), default=run.created_at)
    ended = began
    if is_duration(run.duration_seconds):
        ended = max(began, run.created_at + lasted(run))
    words = [part.without_stop() for part in told({"error": error_of(run)}, "error", "error")]
    if not words:
        is_over = run.status == "failed"
        words = [text("no reason was recorded" if is_over else "nothing was recorded after that")]
    where = [text("Stopped at "), node] if node else [text("Stopped")]
    return FailedStep(
        pk=run.pk,
        of="runs",
        name=node.text if node else "(not recorded)",
        parts=(*where, text(" → "), *words, NO_ANSWER),
        created_at=ended,
        duration_seconds=(ended - began).total_seconds(),
        is_last=True,
        took_time=ended > began,
    )


def error_of(run: Run) -> str | None:
    """What the runtime recorded of a failed run, cut in SQL. One query."""
    of_run = Run.objects.filter(session_id=run.session_id, pk=run.pk)
    error = payload_text("context", EXCERPT + 1, "error")
    return of_run.annotate(error=error).values_list("error", flat=True).first()


def next_step(tasks: list[Task], rows: dict) -> Part | None:
    """The step that was under way at the end, as far as the tasks tell it."""
    names = {task.name for task in tasks}
    for task in reversed(tasks):
        # An agent has no task before it answers; its tool calls name it.
        if task.parent_task_name and task.parent_task_name not in names:
            return Part("name", shortened(task.parent_task_name))
    later: set[str] = set()
    for task in reversed(tasks[-LAST:]):
        row = rows.get(task.pk, {})
        if task.node_type in ("switch", "if"):
            taken = told(row, "taken", "name") if row.get("taken") and not later else []
            return taken[0] if taken else None
        if task.node_type == "parallel":
            branches = branch_names(row.get("branches") or "")
            left = [branch for branch in branches if branch.text not in later]
            # Where several are left, nothing tells them apart.
            return left[0] if len(left) == 1 else None
        later.add(shortened(task.name or ""))
    return None


def with_failed(rows: Sequence[Row], failed: Sequence[FailedStep]) -> list[Row]:
    """Each behind the tasks that were written before it; what the run ended with is last."""
    merged: list[Row] = list(rows)
    for step in failed:
        before = [n for n, row in enumerate(merged, start=1) if row.created_at <= step.created_at]
        place = len(merged) if step.is_last else max(before, default=0)
        depth = merged[place].depth if place < len(merged) else 0
        merged.insert(place, replace(step, depth=depth))
    return merged
