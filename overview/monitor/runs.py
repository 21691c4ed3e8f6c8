"""The newest runs of each agent, and how they ended."""

import hashlib
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime

from django.db import connections

from backoffice.words import exact, seconds
from conversations.agentdb import revision
from conversations.agentdb.newest_sessions import newest_sessions
from conversations.models import Agent
from conversations.selection.agents import labels
from conversations.templatetags.desk import status_label

from ..runs import statuses

AGENTS = 30
RUNS = 30
COMPLETED = "completed"
ACTIVE = """
    SELECT agents.id, name, newest.updated_at
    FROM agents, LATERAL (
        SELECT updated_at FROM sessions WHERE agent_id = agents.id
        ORDER BY updated_at DESC LIMIT 1
    ) AS newest
    ORDER BY newest.updated_at DESC, agents.id LIMIT %(limit)s
"""
# An agent's newest runs are in the conversations that were last active, since beginning a run makes
# its conversation active. So an index on sessions finds them; there is none on the times of runs.
NEWEST = """
    SELECT agent_id, id, session_id, created_at, took FROM (
        SELECT session.agent_id, run.*, row_number() OVER (
            PARTITION BY session.agent_id ORDER BY run.created_at DESC, run.id DESC
        ) AS place
        FROM sessions AS session, LATERAL (
            SELECT id, session_id, created_at, {duration} AS took
            FROM runs WHERE session_id = session.id
            ORDER BY created_at DESC, id DESC LIMIT %(limit)s
        ) AS run
        WHERE session.id = ANY(%(sessions)s)
    ) AS found
    WHERE place <= %(limit)s ORDER BY created_at, id
"""


@dataclass(frozen=True)
class Mark:
    """One run."""

    id: uuid.UUID
    session_id: uuid.UUID
    status: str
    began: datetime
    # How long it took; None if it has not ended, or if that is not recorded.
    seconds: float | None

    @property
    def words(self) -> str:
        """Failed, 29 Nov 2026, 12:04:05 UTC, 1.5 s"""
        took = seconds(self.seconds)
        return f"{status_label(self.status)}, {exact(self.began)}{took and f', {took}'}"


@dataclass(frozen=True)
class AgentRow:
    id: uuid.UUID
    label: str
    active: datetime
    # The oldest first.
    marks: list[Mark]

    @property
    def others(self) -> list[tuple[str, int]]:
        """(status, how many runs) for all statuses but "completed"."""
        found = Counter(mark.status for mark in self.marks if mark.status != COMPLETED)
        return found.most_common()


@dataclass(frozen=True)
class Monitor:
    rows: list[AgentRow]
    # Whether there are agents that have been active less recently.
    has_more: bool

    @property
    def signature(self) -> str:
        """Changes whenever a run begins, ends or is interrupted."""
        states = [
            (row.id.hex, *((mark.id.hex, mark.status) for mark in row.marks)) for row in self.rows
        ]
        return hashlib.sha256(repr(states).encode()).hexdigest()[:16]


def monitor() -> Monitor:
    agents = active_agents()
    marks = newest_runs([pk for pk, *_ in agents[:AGENTS]])
    named = labels([(pk, name) for pk, name, _ in agents])
    rows = [AgentRow(pk, named[pk], active, marks[pk]) for pk, _, active in agents[:AGENTS]]
    return Monitor(rows, len(agents) > AGENTS)


def active_agents() -> list[tuple[uuid.UUID, str, datetime]]:
    """(agent, its name, its last activity), the most recently active first, and one too many."""
    if not revision.is_distributed():
        with connections["agents"].cursor() as cursor:
            cursor.execute(ACTIVE, {"limit": AGENTS + 1})
            return cursor.fetchall()
    names = dict(Agent.objects.values_list("pk", "name"))
    newest = newest_sessions(list(names), 1, "agents")
    newest.sort(key=lambda found: found[0])
    newest.sort(key=lambda found: found[2], reverse=True)
    return [(agent, names[agent], active) for agent, _, active in newest[: AGENTS + 1]]


def newest_runs(agents: list[uuid.UUID]) -> dict[uuid.UUID, list[Mark]]:
    """{agent: its newest runs, the oldest of them first}"""
    sessions = [session for _, session, _ in newest_sessions(agents, RUNS, "agents")]
    duration = "duration_seconds" if revision.has_run_durations() else "NULL::numeric"
    with connections["agents"].cursor() as cursor:
        cursor.execute(NEWEST.format(duration=duration), {"sessions": sessions, "limit": RUNS})
        runs = cursor.fetchall()
    by_id = statuses(run for _, run, *_ in runs)
    found: dict[uuid.UUID, list[Mark]] = defaultdict(list)
    for agent, run, session, began, took in runs:
        # A run may have been deleted in between.
        if run in by_id:
            took = None if took is None else float(took)
            found[agent].append(Mark(run, session, by_id[run], began, took))
    return found
