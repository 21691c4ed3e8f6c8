"""The kinds of problems: what each is called, and which rows are one."""

from django.db.models import (
    Case,
    CharField,
    Exists,
    OuterRef,
    Q,
    QuerySet,
    Value,
    When,
)
from django.utils import timezone

from ..agentdb import revision
from ..agentdb.conventions import INTERRUPTED_AFTER
from ..agentdb.sql import any_of, rows
from . import messages

TASK_ERROR = Q(errors__is_task_error=True)
TOOL_ERROR = Q(node_type="tool_call", output__is_tool_error=True)
MODEL_ERROR = Q(response_code__isnull=True) | Q(response_code__gte=400)

# The same in SQL, for our indexes: {kind: (table, condition)}.
NO_OUTPUT = "output_data IS NULL OR output_data = 'null'::jsonb"
FAILING = {
    "task_error": ("tasks", "errors NOT IN ('null'::jsonb, '[]'::jsonb)"),
    "tool_error": (
        "tasks",
        "node_type = 'tool_call' AND coalesce(output ->> 'result' LIKE 'Error:%', false)",
    ),
    "model_error": ("model_call_stats", "response_code IS NULL OR response_code >= 400"),
    "failed": ("runs", f"({NO_OUTPUT}) AND duration_seconds IS NOT NULL"),
    "unfinished": ("runs", f"({NO_OUTPUT}) AND duration_seconds IS NULL"),
    "incomplete": ("runs", NO_OUTPUT),
}

# Words

PROBLEM_LABELS = {
    "any": "Any problem",
    "failed": "Run failed",
    "running": "Run still running",
    "interrupted": "Run interrupted",
    "incomplete": "Run incomplete",
    "task_error": "Task error",
    "tool_error": "Tool call failed",
    "model_error": "Model call failed",
}
# One of them, and several.
PROBLEMS = {
    "failed": ("run failed", "runs failed"),
    "interrupted": ("run interrupted", "runs interrupted"),
    "incomplete": ("run incomplete", "runs incomplete"),
    "task_error": ("task error", "task errors"),
    "tool_error": ("tool call failed", "tool calls failed"),
    "model_error": ("model call failed", "model calls failed"),
}
# Who failed, in front of its name.
WHO = {"tool_error": "tool", "model_error": "model", "task_error": "task"}


def problem_kinds() -> tuple[str, ...]:
    """The kinds of trouble that this database's revision can tell, in the order shown."""
    runs = ("failed", "interrupted") if revision.has_run_durations() else ("incomplete",)
    models = ("model_error",) if revision.has_model_call_links() else ()
    return (*runs, *models, "tool_error", "task_error")


def message_kinds() -> list[str]:
    """The kinds of problems that come with words, as far as this revision can tell them."""
    return [kind for kind in problem_kinds() if kind in messages.SOURCES]


def problem_choices() -> list[tuple[str, str]]:
    kinds = list(problem_kinds())
    if "failed" in kinds:
        kinds.insert(1, "running")
    return [(kind, PROBLEM_LABELS[kind]) for kind in ("any", *kinds)]


def group_of(problem: str) -> str:
    """The counts of with_summary() that a kind of problem is among."""
    groups = {"model_error": "model_call_counts", "tool_error": "task_counts"}
    return {**groups, "task_error": "task_counts"}.get(problem, "run_counts")


def failing_rows(kind: str) -> QuerySet:
    """Rows, each with a session_id, that are a problem of this kind; or runs that are running."""
    if kind == "task_error":
        return rows("Task").filter(TASK_ERROR)
    if kind == "tool_error":
        return rows("Task").filter(TOOL_ERROR)
    if kind == "model_error":
        return rows("ModelCall").filter(MODEL_ERROR)
    return rows("Run").filter(unfinished_runs()[kind])


def run_signs() -> tuple[Q, Q, Q]:
    """Conditions on Run, from 0006 on: it answered, it ended, it shows signs of life."""
    answered = any_of(rows("ChatMessage").filter(run_id=OuterRef("pk"), role="assistant"))
    since = timezone.now() - INTERRUPTED_AFTER
    steps = rows("Task").filter(run_id=OuterRef("pk"), updated_at__gt=since)
    # 0006 has 0005's links.
    calls = rows("ModelCall").filter(run_id=OuterRef("pk"), updated_at__gt=since)
    return (
        answered,
        Q(duration_seconds__isnull=False),
        Q(updated_at__gt=since) | Exists(steps) | Q(Exists(calls)),
    )


def unfinished_runs() -> dict[str, Q]:
    """
    {status: condition on Run} for runs without a result; any other run is completed.

    A run whose workflow ends with an empty result still answered the person: it has an
    assistant message, and is completed.
    """
    no_output = Q(output_data__has_value=False)
    if not revision.has_run_durations():
        return {"incomplete": no_output}
    answered, ended, alive = run_signs()
    no_result = no_output & ~answered
    return {
        "failed": no_result & ended,
        "running": no_result & ~ended & alive,
        "interrupted": no_result & ~ended & ~alive,
    }


def run_status() -> Case:
    """The status as one expression, in which each sign is looked for at most once."""
    whens = [When(output_data__has_value=True, then=Value("completed"))]
    default = "incomplete"
    if revision.has_run_durations():
        answered, ended, alive = run_signs()
        whens += [
            When(answered, then=Value("completed")),
            When(ended, then=Value("failed")),
            When(alive, then=Value("running")),
        ]
        default = "interrupted"
    return Case(*whens, default=Value(default), output_field=CharField())
