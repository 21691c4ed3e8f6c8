"""Reads conversations as a whole: their facts, and in which quarters what happened in them."""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connections

from audit.keys import digest, keys
from conversations.agentdb.compiled import tuples
from conversations.agentdb.conventions import EVALUATION_PREFIX
from conversations.problems import kinds, outcomes
from conversations.summaries import with_history

from .. import usage
from ..models import Activity, Fact
from ..quarters import EPOCH, MICROSECOND, microseconds_of, quarter_of, starts_of
from . import reading
from .writing import columns, copy, mark_stale, without_zeros

PURPOSE = "overview.people"
COUNTS = ("messages", "runs", "ended", "tasks", "calls")
SESSIONS = """
    SELECT id, agent_id, external_id, created_at, updated_at FROM sessions WHERE id = ANY(%(ids)s)
"""
FACTS, ACTIVITIES = columns(Fact), columns(Activity)
DELETED_FACTS = "DELETE FROM overview_fact WHERE session_id = ANY(%s)"
DELETED_ACTIVITIES = """
    DELETE FROM overview_activity WHERE (session_id, starts) IN (
        SELECT * FROM unnest(%s::uuid[], %s::timestamptz[])
    )
"""
Place = tuple[uuid.UUID, datetime]


def person(key: bytes, external_id: str | None) -> int | None:
    """A fingerprint of the external id that nobody can make without the key."""
    if not external_id or external_id.startswith(EVALUATION_PREFIX):
        return None
    return int.from_bytes(digest(key, external_id)[:8], "big", signed=True)


@dataclass(slots=True)
class Conversation:
    """All that is read of one."""

    id: uuid.UUID
    agent_id: uuid.UUID
    person: int | None
    created_at: datetime
    updated_at: datetime
    # In microseconds since 1970.
    last_activity: int
    history: str = ""
    rows: int = 0
    # The first run that gave an answer.
    answer: reading.RunRead | None = None
    unfinished: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, usage.Usage] = field(default_factory=dict)
    # {quarter: {column of Activity: count}}, and {quarter: kinds of problem}
    counts: dict[int, dict[str, int]] = field(default_factory=dict)
    problems: dict[int | None, set[str]] = field(default_factory=dict)

    def count(self, quarter: int | None, column: str, number: int = 1):
        if quarter is not None:
            counts = self.counts.setdefault(quarter, dict.fromkeys(COUNTS, 0))
            counts[column] += number

    def add_problem(self, quarter: int | None, name: str):
        self.problems.setdefault(quarter, set()).add(name)

    def add_run(self, run: reading.RunRead):
        self.rows += 1
        if run.began is not None:
            self.count(quarter_of(run.began), "runs")
            self.last_activity = max(self.last_activity, run.ended or run.began)
            if run.ended is not None:
                self.count(quarter_of(run.ended), "ended")
            if run.is_answered and (self.answer is None or place(run) < place(self.answer)):
                self.answer = run

    @property
    def outcome(self) -> str:
        """A name in conversations.problems.outcomes; empty without runs."""
        found = outcomes.outcome_of(self.history)
        return found.name if found else ""

    def fact(self) -> tuple:
        first = self.answer and self.answer.microseconds
        row = {
            "agent_id": self.agent_id,
            "session_id": self.id,
            "started": self.created_at,
            "last_activity": EPOCH + self.last_activity * MICROSECOND,
            "problems": sorted(set().union(*self.problems.values())),
            "outcome": self.outcome,
            "answer_seconds": None if first is None else first / 1_000_000,
            "person": self.person,
            "tokens": without_zeros(self.tokens),
            "updated_at": self.updated_at,
            "rows": self.rows,
            "unfinished": self.unfinished,
        }
        return tuple(row[name] for name in FACTS)

    def activities(self) -> Iterator[tuple]:
        for quarter in (self.counts.keys() | self.problems.keys()) - {None}:
            row = {
                "agent_id": self.agent_id,
                "session_id": self.id,
                "starts": starts_of(quarter),
                "person": self.person,
                **(self.counts.get(quarter) or dict.fromkeys(COUNTS, 0)),
                "problems": sorted(self.problems.get(quarter, ())),
            }
            yield tuple(row[name] for name in ACTIVITIES)


def place(run: reading.RunRead) -> tuple:
    return run.began, run.id


def conversations(ids: list[uuid.UUID]) -> list[Conversation]:
    """Those that exist."""
    [key, *_] = keys(PURPOSE)
    found = {}
    for pk, agent_id, external_id, created_at, updated_at in reading.read(SESSIONS, ids=ids):
        found[pk] = Conversation(
            id=pk,
            agent_id=agent_id,
            person=person(key, external_id),
            created_at=created_at,
            updated_at=updated_at,
            last_activity=microseconds_of(updated_at),
        )
    ids = list(found)
    for pk, history in tuples(with_history, ids=ids):
        found[pk].history = history
    problems = {kind.name for kind in kinds.problems("Run")}
    unfinished = {kind.name for kind in kinds.known("Run")} - {kinds.FAILED.name}
    for run in reading.runs(ids):
        of_run = found[run.session_id]
        of_run.add_run(run)
        if run.status in problems:
            began = None if run.began is None else quarter_of(run.began)
            of_run.add_problem(began, run.status)
        if run.status in unfinished:
            of_run.unfinished[str(run.id)] = run.status
    for pk, quarter, count, last in reading.messages(ids):
        of_messages = found[pk]
        of_messages.rows += count
        of_messages.count(quarter, "messages", count)
        of_messages.last_activity = max(of_messages.last_activity, last or 0)
    for pk, quarter, count, names in reading.tasks(ids):
        of_tasks = found[pk]
        of_tasks.rows += count
        of_tasks.count(quarter, "tasks", count)
        for name in names:
            of_tasks.add_problem(quarter, name)
    for pk, quarter, model, values in reading.calls(ids):
        of_call = found[pk]
        of_call.rows += 1
        of_call.count(quarter, "calls")
        usage.add_call(of_call.tokens.setdefault(model, usage.nothing()), model, values)
        # Whether it failed.
        if values[2]:
            of_call.add_problem(quarter, kinds.MODEL_ERROR.name)
    return list(found.values())


def by_place(activities: Iterable[tuple]) -> dict[Place, tuple]:
    session_id, starts = ACTIVITIES.index("session_id"), ACTIVITIES.index("starts")
    return {(row[session_id], row[starts]): row for row in activities}


def by_session(facts: Iterable[tuple]) -> dict[tuple[uuid.UUID], tuple]:
    return {(row[FACTS.index("session_id")],): row for row in facts}


def replace(ids: Iterable[uuid.UUID], *, thoroughly: bool = False):
    """
    Read these conversations anew; those that are gone lose their rows. Marks the quarters as stale
    in which anything differs or, `thoroughly`, all that they had a part in. Needs a transaction.
    """
    ids = list(ids)
    facts = by_session(Fact.unlimited.filter(pk__in=ids).values_list(*FACTS))
    of_facts = Activity.unlimited.filter(session_id__in=ids)
    activities = by_place(of_facts.values_list(*ACTIVITIES))
    found = conversations(ids)
    replace_rows(Fact, FACTS, DELETED_FACTS, facts, by_session(each.fact() for each in found))
    now = by_place(row for each in found for row in each.activities())
    changed = replace_rows(Activity, ACTIVITIES, DELETED_ACTIVITIES, activities, now)
    stale = activities.keys() | now.keys() if thoroughly else changed
    mark_stale(starts for _, starts in stale)


def replace_rows(model, names: list[str], delete: str, former: dict, now: dict) -> set[tuple]:
    """Makes the rows `former`, by their key, those that are `now`; returns the keys that differ."""
    changed = {key for key in former.keys() | now.keys() if former.get(key) != now.get(key)}
    if gone := changed & former.keys():
        with connections["default"].cursor() as cursor:
            cursor.execute(delete, [list(values) for values in zip(*gone, strict=True)])
    copy(model, names, (now[key] for key in changed & now.keys()))
    return changed
