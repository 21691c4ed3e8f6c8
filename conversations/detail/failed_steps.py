"""
Steps that failed without leaving a task: the runtime writes a task only when its step succeeds.

These are failed model calls and, in a run that gave no answer, the step at which the run ended.
"""

import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from backoffice.words import is_duration

from ..agentdb.sql import payload_text
from ..models import ModelCall, Run, Task
from .steps import EXCERPT, Part, branch_names, quoted, shortened, text

# The runtime writes tasks in the background, so a task may seem to begin a little later than it
# did. Before the runtime retries a model call, it waits longer than this.
WRITTEN_LATE = timedelta(seconds=0.5)
# How many of the last tasks next_step() examines.
LAST = 5
NO_ANSWER = text("; the customer got no answer.")


@dataclass(frozen=True, slots=True)
class FailedStep:
    """Shown like a Step, with a bar like a Task's. Durations are in seconds."""

    pk: uuid.UUID
    # The kind of row with its data, as in URLs: "model-calls" or "runs".
    row_kind: str
    name: str
    parts: tuple[Part, ...]
    created_at: datetime
    duration_seconds: float | None
    depth: int = 0
    # Whether the run ended with this step.
    is_last: bool = False
    took_time: bool = True
    node_type: str = ""
    failed: bool = True


Row = Task | FailedStep


def failed_steps(
    run: Run, tasks: list[Task], rows: dict, calls: list[ModelCall], *, unanswered: bool
) -> list[FailedStep]:
    """
    Return the failed steps, oldest first.

    `rows` is the result of steps.read() for at least the LAST tasks; `calls` are the model calls
    that failed; `unanswered` says that the customer got no answer from this run.
    """
    if not unanswered:
        return [failed_call(call) for call in calls]
    node = next_step(tasks, rows)
    if calls and not has_later_task(tasks, calls[-1]):
        *others, last = calls
        return [*map(failed_call, others), failed_call(last, node, is_last=True)]
    return [*map(failed_call, calls), end_of(run, tasks, node)]


def has_later_task(tasks: list[Task], call: ModelCall) -> bool:
    """Whether a task began after the call failed. Parallel branches may also end after it."""
    return any(
        task.created_at - duration_of(task) > call.created_at + WRITTEN_LATE for task in tasks
    )


def duration_of(task: Task) -> timedelta:
    seconds = task.duration_seconds
    try:
        return timedelta(seconds=seconds if is_duration(seconds) else 0)
    except OverflowError:
        return timedelta(0)


def failed_call(call: ModelCall, node: Part | None = None, *, is_last: bool = False) -> FailedStep:
    asked = node or Part("name", shortened(call.model) or "no name")
    words = " ".join((call.words or "").split())
    why = Part("error", words).without_stop() if words else text("no reason was recorded")
    parts = [text("Asked the model ("), asked, text(") → "), why]
    return FailedStep(
        pk=call.pk,
        row_kind="model-calls",
        name=asked.text,
        parts=(*parts, NO_ANSWER) if is_last else tuple(parts),
        created_at=call.created_at,
        duration_seconds=call.duration_seconds,
        is_last=is_last,
        node_type="model call",
    )


def end_of(run: Run, tasks: list[Task], node: Part | None) -> FailedStep:
    """The last step of a run whose end no failed model call explains."""
    began = max((task.created_at for task in tasks), default=run.created_at)
    ended = began
    if is_duration(run.duration_seconds):
        ended = max(began, run.created_at + duration_of(run))
    words = [part.without_stop() for part in quoted({"error": error_of(run)}, "error", "error")]
    if not words:
        is_over = run.status == "failed"
        words = [text("no reason was recorded" if is_over else "nothing was recorded after that")]
    where = [text("Stopped at "), node] if node else [text("Stopped")]
    return FailedStep(
        pk=run.pk,
        row_kind="runs",
        name=node.text if node else "(not recorded)",
        parts=(*where, text(" → "), *words, NO_ANSWER),
        created_at=ended,
        duration_seconds=(ended - began).total_seconds(),
        is_last=True,
        took_time=ended > began,
    )


def error_of(run: Run) -> str | None:
    """The error that the runtime recorded for the run, cut in SQL. One query."""
    of_run = Run.objects.filter(session_id=run.session_id, pk=run.pk)
    error = payload_text("context", EXCERPT + 1, "error")
    return of_run.annotate(error=error).values_list("error", flat=True).first()


def next_step(tasks: list[Task], rows: dict) -> Part | None:
    """The step that was running at the end, if the tasks show which it was."""
    names = {task.name for task in tasks}
    for task in reversed(tasks):
        # An agent gets its task when it answers; until then, only its tool calls name it.
        if task.parent_task_name and task.parent_task_name not in names:
            return Part("name", shortened(task.parent_task_name))
    later: set[str] = set()
    for task in reversed(tasks[-LAST:]):
        row = rows.get(task.pk, {})
        if task.node_type in ("switch", "if"):
            taken = quoted(row, "taken", "name") if row.get("taken") and not later else []
            return taken[0] if taken else None
        if task.node_type == "parallel":
            branches = branch_names(row.get("branches") or "")
            left = [branch for branch in branches if branch.text not in later]
            # If several branches are left, we cannot tell which one it was.
            return left[0] if len(left) == 1 else None
        later.add(shortened(task.name or ""))
    return None


def with_failed(tasks: list[Task], failed: list[FailedStep]) -> list[Row]:
    """Insert each step after the tasks written before it; the run's last step goes to the end."""
    merged: list[Row] = list(tasks)
    for step in failed:
        place = len(merged)
        while place and not step.is_last and merged[place - 1].created_at > step.created_at:
            place -= 1
        depth = merged[place].depth if place < len(merged) else 0
        merged.insert(place, replace(step, depth=depth))
    return merged
