"""How the runs of a conversation went, and what was done before one of them failed."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery, UUIDField, Value, Window

from ..agentdb.compiled import by_id, tuples
from ..models import Run, Session, Task
from ..problems import kinds, outcomes
from .steps import Part, called, excerpts

CALLS_SHOWN = 50
# Characters of arguments and of results.
LENGTH = 80
MOST_TRIES = 100
# Node types that call tools: an agent's calls, and steps of the workflow itself.
CALLS = ("tool_call", "function")
PIECES = ("args", "result")


@dataclass(frozen=True)
class Tries:
    """When each run began, oldest first, and the history from problems/outcomes.py."""

    runs: dict[uuid.UUID, datetime]
    history: str
    # The newest run with the kind of problem given to tries().
    problem_run: uuid.UUID | None

    @property
    def sentence(self) -> str:
        return outcomes.sentence(self.history)

    @property
    def outcome(self) -> outcomes.Outcome | None:
        return outcomes.outcome_of(self.history)

    def last(self) -> list[uuid.UUID]:
        """The last run without an answer, and the unanswered runs directly before it."""
        return self.among(outcomes.last_tries(self.history))

    def until(self, run_id: uuid.UUID) -> list[uuid.UUID]:
        """The same for this run in place of the last one; empty if it has an answer."""
        end = list(self.runs).index(run_id) + 1 if run_id in self.runs else 0
        found = outcomes.last_tries(self.history[:end])
        return self.among(found) if found.stop == end else []

    def among(self, places: range) -> list[uuid.UUID]:
        return list(self.runs)[places.start : places.stop]


def tries(session_id: uuid.UUID, problem: str = "") -> Tries:
    """One query. `problem` is the kind of problem for `problem_run`, or "any"."""
    rows = tuples(session_with(problem), session=session_id)
    ids, times, history, problem_run = rows[0] if rows else ([], [], "", None)
    return Tries(dict(zip(ids, times, strict=True)), history, problem_run)


@cache
def session_with(problem: str) -> Callable[..., QuerySet]:
    """Cached: building this query takes Django ten times as long as PostgreSQL takes to run it."""

    def build(session) -> QuerySet:
        runs = Run.objects.filter(session_id=OuterRef("pk"))
        newest = runs.filter(kinds.in_run(problem) if problem else Q())
        newest = newest.order_by("-created_at", "-pk").values("pk")[:1]
        # All subqueries refer to one row of sessions, so PostgreSQL computes each only once.
        found = Session.objects.filter(pk=session).annotate(
            ids=ArraySubquery(runs.oldest_first().values("pk")),
            times=ArraySubquery(runs.oldest_first().values("created_at")),
            history=outcomes.whole_history("pk"),
            problem_run=Subquery(newest) if problem else Value(None, UUIDField()),
        )
        return found.values_list("ids", "times", "history", "problem_run")

    return build


@dataclass(frozen=True)
class Call:
    pk: uuid.UUID
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Done:
    """The tool calls that succeeded in some tries, oldest first."""

    tries: int
    calls: list[Call]
    left_out: int
    # The number of tries for which nothing was recorded.
    unknown: int
    # Before revision 0004, the runtime did not record which tools its agents called.
    may_lack_calls: bool


def done_in(session_id: uuid.UUID, run_ids: list[uuid.UUID]) -> Done | None:
    """What succeeded in these runs; None without runs. One query; payloads are cut in SQL."""
    run_ids = run_ids[-MOST_TRIES:]
    if not run_ids:
        return None
    rows = list(by_id(succeeded, session=session_id, runs=run_ids).values())
    calls = [task for task in rows if task.succeeded]
    shown = calls[:CALLS_SHOWN]
    recorded = {task.run_id for task in rows}
    return Done(
        tries=len(run_ids),
        calls=[Call(task.pk, tuple(called(task, vars(task), LENGTH))) for task in shown],
        left_out=rows[0].total - len(shown) if rows else 0,
        # If not all rows were read, we cannot tell which runs have none.
        unknown=len(run_ids) - len(recorded) if len(calls) <= CALLS_SHOWN else 0,
        may_lack_calls=any(task.seq is None for task in rows),
    )


def succeeded(session, runs) -> QuerySet:
    """Successful tool calls, and one task of each run, to notice runs without tasks."""
    tasks = Task.objects.filter(session_id=session, run_id__in=runs)
    one_each = tasks.order_by("run_id", "created_at").distinct("run_id").values("pk")
    flags = {kind.flag: False for kind in kinds.problems("Task")}
    is_call = Q(node_type__in=CALLS, **flags)
    found = tasks.with_problems().annotate(
        succeeded=is_call,
        total=Window(Count("pk", filter=is_call)),
        **excerpts(columns=("inputs", "output"), pieces=PIECES),
    )
    found = found.filter(Q(succeeded=True) | Q(pk__in=one_each)).without_payloads()
    return found.by_run()[: CALLS_SHOWN + MOST_TRIES]
