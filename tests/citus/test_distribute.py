"""`manage.py distribute --print` turns an agent database of the runtime into a distributed one."""

import os
import uuid

import psycopg
import pytest

from conversations.agentdb.agent_tables import create_agent_tables

from ..support import citus

pytestmark = [pytest.mark.citus, pytest.mark.xdist_group("citus")]
NAME = f"desk_distribute_{os.getpid()}"
DISTRIBUTED = """
    SELECT table_name::text, citus_table_type, distribution_column, shard_count,
        dense_rank() OVER (ORDER BY colocation_id)
    FROM citus_tables ORDER BY table_name::text
"""
AGENT = """
    INSERT INTO agents (id, name, created_at, updated_at)
    VALUES (md5('agent')::uuid, 'Shop', now(), now())
"""
CONVERSATION = (
    """
    INSERT INTO sessions (id, agent_id, created_at, updated_at)
    VALUES (md5(%(name)s)::uuid, md5('agent')::uuid, now(), now())
    """,
    """
    INSERT INTO runs (id, session_id, created_at, updated_at)
    VALUES (md5(%(name)s)::uuid, md5(%(name)s)::uuid, now(), now())
    """,
    """
    INSERT INTO tasks (id, agent_id, session_id, run_id, created_at, updated_at)
    VALUES (md5(%(name)s)::uuid, md5('agent')::uuid, md5(%(name)s)::uuid, md5(%(name)s)::uuid,
            now(), now())
    """,
    """
    INSERT INTO chat_messages VALUES (md5(%(name)s)::uuid, md5('agent')::uuid,
        md5(%(name)s)::uuid, md5(%(name)s)::uuid, 'user', 'Hello', now(), now())
    """,
)
TABLES = ("sessions", "runs", "tasks", "chat_messages")


@pytest.fixture(scope="module")
def database():
    """A distributed database with one conversation."""
    with citus.cluster(NAME) as connection:
        create_agent_tables(connection, "agents")
        connection.execute(AGENT)
        conversation(connection, "old")
        call(connection, "old", None)
        result = citus.distribute(connection)
        assert result.returncode == 0, result.stderr
        # Citus' own views are in public.
        connection.execute("SET search_path = agents, public")
        yield connection


def conversation(connection, name: str):
    for statement in CONVERSATION:
        connection.execute(statement, {"name": name})


def call(connection, name: str, session: uuid.UUID | None):
    connection.execute(
        """
        INSERT INTO model_call_stats (id, call_type, model, session_id, created_at, updated_at)
        VALUES (md5(%s)::uuid, 'llm', 'm', %s, now(), now())
        """,
        [name, session],
    )


def count(connection, table: str, name: str) -> int:
    column = "id" if table == "sessions" else "session_id"
    query = f"SELECT count(*) FROM {table} WHERE {column} = md5(%s)::uuid"
    return connection.execute(query, [name]).fetchone()[0]


def test_tables_are_distributed_by_session_and_agents_are_everywhere(database):
    by_session = [
        (name, "distributed", column, citus.SHARDS, 2)
        for name, column in (
            ("chat_messages", "session_id"),
            ("model_call_stats", "session_id"),
            ("runs", "session_id"),
            ("sessions", "id"),
            ("tasks", "session_id"),
        )
    ]
    found = database.execute(DISTRIBUTED).fetchall()
    assert found == [("agents", "reference", "<none>", 1, 1), *by_session]


def test_rows_are_kept_and_none_stay_on_the_coordinators_disk(database):
    assert [count(database, table, "old") for table in TABLES] == [1, 1, 1, 1]
    for table in TABLES:
        [[size]] = database.execute("SELECT pg_relation_size(%s::regclass)", [table]).fetchall()
        assert size == 0


def test_a_call_without_a_session_is_alone_in_its_own(database):
    query = "SELECT session_id = id FROM model_call_stats WHERE id = md5('old')::uuid"
    assert database.execute(query).fetchall() == [(True,)]


def test_rows_go_with_their_session_and_only_with_it(database):
    conversation(database, "one")
    conversation(database, "two")
    database.execute("DELETE FROM sessions WHERE id = md5('one')::uuid")
    assert [count(database, table, "one") for table in TABLES] == [0, 0, 0, 0]
    assert [count(database, table, "two") for table in TABLES] == [1, 1, 1, 1]


@pytest.mark.parametrize("table", ["tasks", "chat_messages"])
def test_a_row_cannot_name_a_run_of_another_session(database, table):
    conversation(database, f"mine of {table}")
    conversation(database, f"theirs of {table}")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        database.execute(
            f"UPDATE {table} SET run_id = md5(%s)::uuid WHERE session_id = md5(%s)::uuid",
            [f"theirs of {table}", f"mine of {table}"],
        )


def test_databases_before_revision_0005_are_refused_and_stay_as_they_were(database):
    with psycopg.connect(database.info.dsn, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA older")
        create_agent_tables(connection, "older")
        connection.execute(
            "ALTER TABLE model_call_stats DROP COLUMN session_id, DROP COLUMN run_id"
        )
        result = citus.distribute(connection, schema="older")
        assert result.returncode != 0
        assert "first upgrade kavalai to revision 0005 or later" in result.stderr
        query = "SELECT count(*) FROM public.citus_tables WHERE table_name::text LIKE 'older.%'"
        assert connection.execute(query).fetchone() == (0,)
