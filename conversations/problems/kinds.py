"""
The registry of problems: one object for each kind of problem that a conversation can have.

Filter choices, counts, rows of the list, the page Errors, the marks on a run's steps, exports, our
indexes and the indexes that the command drops all follow from KINDS: to add a kind, add an object.
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.apps import apps
from django.db.models import (
    BooleanField,
    Case,
    CharField,
    Exists,
    OuterRef,
    Q,
    QuerySet,
    Value,
    When,
)
from django.db.models.functions import Now

from ..agentdb import revision
from ..agentdb.conventions import INTERRUPTED_AFTER
from ..agentdb.sql import Template, any_of, rows, with_columns
from .messages import TOOL_PREFIX, Words


@dataclass(frozen=True)
class Status:
    """How pages describe a run with this status, which is the kind's name."""

    label: str
    # For a conversation whose last run has this status.
    hint: str
    # Shown where the answer would be.
    outcome: str
    icon: str = "triangle-alert"


@dataclass(frozen=True)
class Kind:
    """
    One kind of problem, or of run that is not completed. `name` is its key in URLs, files and
    counts.
    """

    name: str
    # As a filter's choice, then with a count: "1 tool call failed", "2 tool calls failed".
    label: str
    one: str
    many: str
    # For the page Help.
    meaning: str
    # The model of its rows: "Run", "Task" or "ModelCall".
    model: str
    # SQL condition on these rows, with {column} for a column; our index covers the rows it matches.
    predicate: str
    # What the index is for, as agent_indexes shows it.
    purpose: str
    # Set if one index serves several kinds.
    index: str = ""
    # Replaces the predicate as the condition on rows if it must be narrower or is faster.
    narrowed: Callable[[], Q] | None = None
    # Whether this database has the columns it needs.
    is_known: Callable[[], bool] = lambda: True
    is_problem: bool = True
    # The error text that comes with it, and a noun for what reported it, such as "tool".
    words: Words | None = None
    noun: str = ""
    # Shown on the page Errors if no error text was recorded.
    wordless: str = "No reason was recorded"
    # The class in app.css.
    pill: str = "problem"
    status: Status | None = None

    @property
    def table(self) -> str:
        return apps.get_model("conversations", self.model)._meta.db_table

    @property
    def index_name(self) -> str:
        return f"desk_{self.table}_{self.index or self.name}"

    @property
    def message_index_name(self) -> str:
        return f"{self.index_name}_message"

    @property
    def words_index_name(self) -> str:
        return f"{self.index_name}_words"

    @property
    def where(self) -> str:
        """The predicate with bare column names."""
        return with_columns(self.predicate)

    @property
    def flag(self) -> str:
        """The annotation that says whether a row has this kind of problem."""
        return f"is_{self.name}"

    def condition(self) -> Q:
        """Matches rows of this kind."""
        return self.narrowed() if self.narrowed else self.by_predicate()

    def by_predicate(self) -> Q:
        """Matches the rows that our index covers."""
        return Q(Template(f"({self.predicate})", BooleanField()))

    def rows(self) -> QuerySet:
        """Rows of this kind, each with a session_id."""
        return rows(self.model).filter(self.condition())

    def covered_rows(self) -> QuerySet:
        """Rows that our index covers: all of this kind, perhaps with others."""
        return rows(self.model).filter(self.by_predicate())

    def rows_without_reason(self, runs: QuerySet | None = None) -> QuerySet:
        """Of these runs, or else of this kind: those without an error text that says more."""
        found = self.rows() if runs is None else runs
        for reason in with_words():
            reasons = reason.rows().filter(session_id=OuterRef("session_id"), run_id=OuterRef("pk"))
            found = found.filter(~Exists(reasons))
        return found

    def counted(self, count: int) -> str:
        return f"{count} {self.one if count == 1 else self.many}"


# Runs without a result


def run_signs() -> tuple[Q, Q, Q]:
    """Conditions on Run from 0006 on: it answered, it ended, it shows signs of life."""
    of_run = {"session_id": OuterRef("session_id"), "run_id": OuterRef("pk")}
    answered = any_of(rows("ChatMessage").filter(**of_run, role="assistant"))
    # Uses the database's clock, because the statement is built once and reused.
    since = Now() - INTERRUPTED_AFTER
    steps = rows("Task").filter(**of_run, updated_at__gt=since)
    # Any database with 0006 also has the links that 0005 added.
    calls = rows("ModelCall").filter(**of_run, updated_at__gt=since)
    return (
        answered,
        Q(duration_seconds__isnull=False),
        Q(updated_at__gt=since) | Exists(steps) | Q(Exists(calls)),
    )


def no_result() -> tuple[Q, Q, Q]:
    """
    Conditions on Run: it has neither output nor answer, it ended, it shows signs of life.

    A run whose workflow ends with an empty result has still answered the customer: it has an
    assistant message and counts as completed.
    """
    answered, ended, alive = run_signs()
    return Q(output_data__has_value=False) & ~answered, ended, alive


def failed() -> Q:
    without, ended, _ = no_result()
    return without & ended


def running() -> Q:
    without, ended, alive = no_result()
    return without & ~ended & alive


def interrupted() -> Q:
    without, ended, alive = no_result()
    return without & ~ended & ~alive


def incomplete() -> Q:
    return Q(output_data__has_value=False)


def has_no_run_durations() -> bool:
    return not revision.has_run_durations()


NO_OUTPUT = "{output_data} IS NULL OR {output_data} = 'null'::jsonb"
UNFINISHED = {
    "model": "Run",
    "predicate": f"({NO_OUTPUT}) AND {{duration_seconds}} IS NULL",
    "purpose": "runs that are running or were interrupted",
    "index": "unfinished",
    "is_known": revision.has_run_durations,
}

FAILED = Kind(
    name="failed",
    label="Run failed",
    one="run failed",
    many="runs failed",
    meaning="The run ended without an answer. Open its explanation to see which step failed.",
    model="Run",
    predicate=f"({NO_OUTPUT}) AND {{duration_seconds}} IS NOT NULL",
    purpose="runs that failed",
    narrowed=failed,
    is_known=revision.has_run_durations,
    wordless="A run failed, and no reason was recorded",
    pill="failed",
    status=Status(
        label="Failed",
        hint="The last run ended without an answer.",
        outcome="The run failed: there was no answer.",
    ),
)
RUNNING = Kind(
    name="running",
    label="Run still running",
    one="run still running",
    many="runs still running",
    meaning="The run has not ended yet. This is not a problem: you can watch it work.",
    narrowed=running,
    is_problem=False,
    pill="running",
    status=Status(
        label="Running",
        hint="The last run has not ended yet.",
        outcome="The agent is still working on this.",
        icon="clock",
    ),
    **UNFINISHED,
)
INTERRUPTED = Kind(
    name="interrupted",
    label="Run interrupted",
    one="run interrupted",
    many="runs interrupted",
    meaning="The run never ended, and nothing has happened for "
    f"{INTERRUPTED_AFTER.seconds // 60} minutes. Most likely its process was stopped.",
    narrowed=interrupted,
    wordless="A run was interrupted, and no reason was recorded",
    pill="interrupted",
    status=Status(
        label="Interrupted",
        hint="The last run stopped without ending: nothing has happened for "
        f"{INTERRUPTED_AFTER.seconds // 60} minutes.",
        outcome="The run was interrupted: it never ended, and nothing has happened for a while.",
    ),
    **UNFINISHED,
)
# Before 0006, this is all we can tell.
INCOMPLETE = Kind(
    name="incomplete",
    label="Run incomplete",
    one="run incomplete",
    many="runs incomplete",
    meaning="The run has no output. This database does not record when runs end, so the run may "
    "have failed, been interrupted or still be running.",
    model="Run",
    predicate=NO_OUTPUT,
    purpose="runs without an output",
    narrowed=incomplete,
    is_known=has_no_run_durations,
    wordless="A run has no output, and no reason was recorded",
    pill="incomplete",
    status=Status(
        label="Incomplete",
        hint="The last run has no output; this database does not record why.",
        outcome="The run has no output.",
    ),
)

# Calls and steps

MODEL_ERROR = Kind(
    name="model_error",
    label="Model call failed",
    one="model call failed",
    many="model calls failed",
    meaning="The model’s provider answered with an error (status 400 or higher) or not at all. If "
    "the agent tried again, the person may have got an answer all the same.",
    model="ModelCall",
    predicate="{response_code} IS NULL OR {response_code} >= 400",
    purpose="model calls that failed",
    is_known=revision.has_model_call_links,
    words=Words(
        columns=("model", "response_code", "response_data"),
        who="{model}",
        said="coalesce({response_code}::text || ': ', '')"
        " || coalesce({response_data} #>> '{}', '')",
        any_who=True,
    ),
    noun="model",
)
# The runtime writes a failed tool call as a result that begins with "Error:".
TOOL_ERROR = Kind(
    name="tool_error",
    label="Tool call failed",
    one="tool call failed",
    many="tool calls failed",
    meaning="A tool gave the agent an error instead of a result. The agent may have answered all "
    "the same: check that what it said is right.",
    model="Task",
    predicate="{node_type} = 'tool_call' AND coalesce({output} ->> 'result' LIKE 'Error:%', false)",
    purpose="tool calls that failed",
    words=Words(
        columns=("name", "output"),
        who="{name}",
        said=f"regexp_replace({{output}} ->> 'result', '{TOOL_PREFIX}', '')",
    ),
    noun="tool",
)
# The original system's rule: everything counts except null and an empty list.
TASK_ERROR = Kind(
    name="task_error",
    label="Task error",
    one="task error",
    many="task errors",
    meaning="A task recorded an error itself, in its field “errors”.",
    model="Task",
    predicate="{errors} NOT IN ('null'::jsonb, '[]'::jsonb)",
    purpose="tasks that recorded errors",
    words=Words(
        columns=("name", "errors"),
        who="{name}",
        said="{errors} #>> '{}'",
    ),
    noun="task",
)

# In the order in which pages show them.
KINDS = (FAILED, RUNNING, INTERRUPTED, INCOMPLETE, MODEL_ERROR, TOOL_ERROR, TASK_ERROR)
ANY_LABEL = "Any problem"


def named(name: str) -> Kind:
    return next(kind for kind in KINDS if kind.name == name)


def known(model: str = "") -> list[Kind]:
    """The kinds that this database's revision can tell apart, optionally of one model only."""
    return [kind for kind in KINDS if kind.is_known() and model in ("", kind.model)]


def problems(model: str = "") -> list[Kind]:
    return [kind for kind in known(model) if kind.is_problem]


def unfinished() -> Kind:
    """The kind whose index covers the runs that may still end."""
    return RUNNING if RUNNING.is_known() else INCOMPLETE


def with_words() -> list[Kind]:
    return [kind for kind in problems() if kind.words]


def without_words() -> list[Kind]:
    return [kind for kind in problems() if not kind.words]


def label(name: str) -> str:
    return ANY_LABEL if name == "any" else named(name).label


def choices() -> list[tuple[str, str]]:
    return [(name, label(name)) for name in ("any", *(kind.name for kind in known()))]


def any_problem(model: str) -> Q:
    """Matches rows of the model that have a problem of any kind."""
    found = Q()
    for kind in problems(model):
        found |= kind.condition()
    return found


def in_run(name: str) -> Q:
    """Matches runs with a problem of this kind or, with "any", of any kind."""
    found = Q()
    for kind in problems() if name == "any" else [named(name)]:
        if kind.model == "Run":
            found |= kind.condition()
        else:
            of_run = {"session_id": OuterRef("session_id"), "run_id": OuterRef("pk")}
            found |= any_of(kind.rows().filter(**of_run))
    return found


def run_status() -> Case:
    """The run's status as one expression that evaluates each condition at most once."""
    whens = [When(output_data__has_value=True, then=Value("completed"))]
    default = INCOMPLETE.name
    if revision.has_run_durations():
        answered, ended, alive = run_signs()
        whens += [
            When(answered, then=Value("completed")),
            When(ended, then=Value(FAILED.name)),
            When(alive, then=Value(RUNNING.name)),
        ]
        default = INTERRUPTED.name
    return Case(*whens, default=Value(default), output_field=CharField())
