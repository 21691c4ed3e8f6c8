"""Plain factories for rows of the agent database, written as the runtime writes them."""

import itertools
import uuid
from datetime import timedelta

from django.db import connections
from django.utils import timezone
from psycopg.types.json import Jsonb

from .tables import sql

clock = itertools.count()


def insert(table: str, **values):
    """Insert a row with plain SQL, adding an id and times if none are given; return its values."""
    now = timezone.now() - timedelta(minutes=90) + timedelta(milliseconds=next(clock))
    values = {"id": uuid.uuid4(), "created_at": now, **values}
    values.setdefault("updated_at", values["created_at"])
    columns = ", ".join(values)
    places = ", ".join(["%s"] * len(values))
    adapted = [Jsonb(v.value) if isinstance(v, Json) else v for v in values.values()]
    with connections["agents_write"].cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", adapted)
    return type("Row", (), values)


class Json:
    """A jsonb value. Json(None) is JSON null, while plain None is SQL NULL."""

    def __init__(self, value):
        self.value = value


NULL = Json(None)


def make_agent(name="Agent", **fields):
    return insert("agents", name=name, **fields)


def make_session(agent=None, **fields):
    return insert("sessions", agent_id=(agent or make_agent()).id, **fields)


def make_message(session, role="user", content="Hello", **fields):
    return insert(
        "chat_messages",
        session_id=session.id,
        agent_id=session.agent_id,
        role=role,
        content=content,
        **fields,
    )


def make_run(session, **fields):
    """A completed run, unless the fields say otherwise."""
    done = {"output_data": Json({"agent_response": "Hi"}), "duration_seconds": 1.5}
    values = {"input_data": Json({"user_message": "Hello"}), "context": NULL, **done, **fields}
    return insert("runs", session_id=session.id, **values)


def make_task(run, session, name="step", node_type="llm", **fields):
    values = {"errors": NULL, "inputs": NULL, "output": NULL, "duration_seconds": 0.5, **fields}
    return insert(
        "tasks",
        run_id=run.id,
        session_id=session.id,
        agent_id=session.agent_id,
        name=name,
        node_type=node_type,
        **values,
    )


def make_model_call(session=None, run=None, **fields):
    values = {
        "call_type": "llm",
        "model": "some-model",
        "response_code": 200,
        "session_id": session and session.id,
        "run_id": run and run.id,
        **fields,
    }
    return insert("model_call_stats", **values)


def make_conversation(messages=2, runs=1, tasks=2, agent=None, **fields):
    """A session with runs, over which its messages and tasks are spread."""
    session = make_session(agent, **fields)
    made = [make_run(session) for _ in range(runs)]
    for number in range(messages):
        role = "assistant" if number % 2 else "user"
        run_id = made[number * runs // messages].id if made else None
        make_message(session, role, f"Message {number}", run_id=run_id)
    for run in made:
        for number in range(tasks):
            make_task(run, session, f"step-{number}", seq=number)
    return session


# Many at once


def add_runs(session, count):
    sql(
        """
        INSERT INTO runs (id, session_id, output_data, duration_seconds, created_at, updated_at)
        SELECT gen_random_uuid(), %s, '{"agent_response": "Hi"}', 1.5, at, at
        FROM generate_series(1, %s) n, LATERAL (SELECT now() - interval '1 day' + n * interval '1s')
        AS moment (at)
        """,
        [session.id, count],
    )


def add_messages(session, per_run, content="'Message ' || n"):
    """Add `per_run` messages to each run of a session. `content` is SQL in which n counts them."""
    sql(
        f"""
        INSERT INTO chat_messages
        SELECT gen_random_uuid(), %s, session_id, id,
               CASE n %% 2 WHEN 1 THEN 'user' ELSE 'assistant' END, {content},
               created_at + n * interval '1ms', created_at
        FROM runs, generate_series(1, %s) n WHERE session_id = %s
        """,
        [session.agent_id, per_run, session.id],
    )


def add_tasks(session, per_run, inputs="'null'::jsonb", output="NULL", name="'step-' || n"):
    """
    Add `per_run` tasks to each run of the session, every second one a tool call. The other
    arguments are SQL in which n counts them.
    """
    sql(
        f"""
        INSERT INTO tasks (id, agent_id, session_id, run_id, inputs, output, prompt, name,
                           node_type, errors, duration_seconds, seq, created_at, updated_at)
        SELECT gen_random_uuid(), %s, session_id, id, {inputs}, {output}, 'Say hello', {name},
               CASE n %% 2 WHEN 1 THEN 'tool_call' ELSE 'llm' END, 'null', 0.1, n,
               created_at, created_at
        FROM runs, generate_series(1, %s) n WHERE session_id = %s
        """,
        [session.agent_id, per_run, session.id],
    )
