"""Writes the planned conversations into the runtime's tables."""

import random
from datetime import UTC, datetime, timedelta

from .agents import AGENTS, INPUT, OUTPUT, workflow
from .plan import Planner
from .rows import Rows, as_json
from .trace import Conversation, Run


def write_demo(connection, count=300, seed=1, now=None):
    """Write `count` conversations from the 30 days before `now`; return how many were written.

    `connection` is a psycopg 3 connection whose search_path is the agent schema. Everything is
    written in one transaction (or a savepoint, if a transaction is open), or nothing is.
    """
    now = now or datetime.now(UTC)
    rows = Rows(random.Random(seed))  # noqa: S311 - made-up data, the same for each seed
    agent_ids = _add_agents(rows, now)
    plans = Planner(rows.rng, now).sessions(count)
    for plan in plans:
        _add_session(rows, plan, agent_ids[plan.agent.key])
    rows.copy(connection)
    return len(plans)


def _add_agents(rows, now):
    ids = {}
    for position, agent in enumerate(AGENTS):
        ids[agent.key] = rows.new_id()
        rows.add(
            "agents",
            now - timedelta(days=60 - position, minutes=rows.rng.randrange(600)),
            id=ids[agent.key],
            name=agent.name,
            description=agent.description,
            input_schema=as_json(INPUT),
            output_schema=as_json(OUTPUT),
            workflow=as_json(workflow(agent)),
        )
    return ids


def _add_session(rows, plan, agent_id):
    rng = rows.rng
    conversation = Conversation(rows.new_id(), plan.agent, agent_id)
    start = plan.last_start - timedelta(seconds=sum(run.gap for run in plan.runs[1:]))
    created_at = start - timedelta(milliseconds=rng.randint(8, 30))
    # The runtime updates a session just before it starts a run, and not when the run ends.
    touched_at = plan.last_start - timedelta(microseconds=rng.randint(600, 4000))
    rows.add(
        "sessions",
        created_at,
        touched_at if plan.runs else None,
        id=conversation.id,
        agent_id=agent_id,
        external_id=plan.external_id,
    )
    for index, planned in enumerate(plan.runs):
        if index:
            start += timedelta(seconds=planned.gap)
        run = Run(rows, conversation, start, planned.outcome)
        finished = run.play(planned.turn, planned.message, planned.reply, planned.slots)
        if index == 0:
            for role, content in plan.notes:
                rows.add(
                    "chat_messages",
                    finished + timedelta(seconds=9),
                    agent_id=agent_id,
                    session_id=conversation.id,
                    role=role,
                    content=content,
                )
