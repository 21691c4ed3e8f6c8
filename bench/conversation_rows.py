"""Conversations to measure, generated inside PostgreSQL."""

from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg

# Hexadecimal digits of hashes, which PostgreSQL cannot compress, so that large values are stored
# outside the row. `seed` makes each row's text unique.
NOISE = """
    CREATE FUNCTION pg_temp.noise(seed text, length int) RETURNS text LANGUAGE sql AS $$
        SELECT left(string_agg(md5(seed || n), ''), length)
        FROM generate_series(0, length / 32) n
    $$
"""
RUNS = """
    INSERT INTO runs (id, session_id, input_data, output_data, context, duration_seconds,
                      created_at, updated_at)
    SELECT gen_random_uuid(), %(session)s, '{"user_message": "Hello"}',
           '{"agent_response": "Hi"}', 'null', 1.5, at, at + interval '1500 ms'
    FROM generate_series(1, %(runs)s) n,
         LATERAL (SELECT now() - interval '1 day' + n * interval '1 min') AS moment (at)
"""
MESSAGES = """
    INSERT INTO chat_messages (id, agent_id, session_id, run_id, role, content,
                               created_at, updated_at)
    SELECT gen_random_uuid(), %(agent)s, session_id, id,
           CASE n %% 2 WHEN 1 THEN 'user' ELSE 'assistant' END,
           'Thank you. **Message ' || n || '** says:' || repeat(E'\\n- one more of the points', 10),
           at, at
    FROM runs, generate_series(1, %(per_run)s) n,
         LATERAL (SELECT created_at + n * interval '100 ms') AS moment (at)
    WHERE session_id = %(session)s
"""
TASKS = """
    INSERT INTO tasks (id, agent_id, session_id, run_id, inputs, output, prompt, name, node_type,
                       errors, duration_seconds, seq, created_at, updated_at)
    SELECT gen_random_uuid(), %(agent)s, session_id, id,
           jsonb_build_object('text', pg_temp.noise('in' || n, %(bytes)s)),
           jsonb_build_object('result', pg_temp.noise('out' || n, %(bytes)s)),
           'Answer the person.', 'step-' || n,
           CASE n %% 3 WHEN 0 THEN 'tool_call' WHEN 1 THEN 'llm' ELSE 'switch' END,
           'null', 0.1, n, at, at
    FROM runs, generate_series(1, %(per_run)s) n,
         LATERAL (SELECT created_at + n * interval '1 ms') AS moment (at)
    WHERE session_id = %(session)s
"""
LARGE_CONTEXT = """
    UPDATE runs SET context = (
        SELECT jsonb_object_agg('key-' || n, pg_temp.noise('key' || n, 5000))
        FROM generate_series(1, 1000) n)
    WHERE session_id = %(session)s
"""
DEEP_OUTPUT = """
    UPDATE runs SET output_data = (repeat('{"a":', 600) || '1' || repeat('}', 600))::jsonb
    WHERE session_id = %(session)s
"""
LARGE_MESSAGE = """
    UPDATE chat_messages SET content = pg_temp.noise('message', 1000000)
    WHERE session_id = %(session)s AND role = 'assistant'
"""


@dataclass
class Conversation:
    session: UUID
    # The first run, its middle task and the message in the middle.
    run: UUID
    task: UUID
    message: UUID


@dataclass
class Conversations:
    ordinary: Conversation
    # 3,000 messages in 300 runs.
    long: Conversation
    # One run of 5,000 tasks, each with 20 KB of inputs and 20 KB of output.
    wide: Conversation
    # A context of 5 MB, an output nested 600 levels deep and a message of 1 MB.
    large: Conversation


def write_conversations(connection: psycopg.Connection) -> Conversations:
    connection.execute(NOISE)
    agent = uuid4()
    connection.execute(
        "INSERT INTO agents (id, name, created_at, updated_at) VALUES (%s, 'Helper', now(), now())",
        [agent],
    )

    def write(runs, messages, tasks, size, *extras):
        values = {"agent": agent, "session": uuid4(), "runs": runs, "bytes": size}
        connection.execute(
            "INSERT INTO sessions (id, agent_id, external_id, created_at, updated_at) "
            "VALUES (%(session)s, %(agent)s, %(session)s, now(), now())",
            values,
        )
        connection.execute(RUNS, values)
        connection.execute(MESSAGES, values | {"per_run": messages // runs})
        connection.execute(TASKS, values | {"per_run": tasks // runs})
        for statement in extras:
            connection.execute(statement, values)
        return read(connection, values["session"])

    made = Conversations(
        ordinary=write(6, 12, 60, 300),
        long=write(300, 3000, 3000, 300),
        wide=write(1, 2, 5000, 20_000),
        large=write(1, 2, 10, 300, LARGE_CONTEXT, DEEP_OUTPUT, LARGE_MESSAGE),
    )
    connection.commit()
    connection.autocommit = True
    connection.execute("VACUUM ANALYZE")
    return made


def read(connection, session) -> Conversation:
    def middle(table, column, owner, order):
        query = f"SELECT id FROM {table} WHERE {column} = %s ORDER BY {order}, id"  # noqa: S608
        ids = connection.execute(query, [owner]).fetchall()
        return ids[len(ids) // 2][0]

    first = "SELECT id FROM runs WHERE session_id = %s ORDER BY created_at LIMIT 1"
    [run] = connection.execute(first, [session]).fetchone()
    return Conversation(
        session,
        run,
        middle("tasks", "run_id", run, "seq"),
        middle("chat_messages", "session_id", session, "created_at"),
    )
