"""The statements of kavalai 1.0.7 on distributed tables, as SQLAlchemy writes them."""

import os
import re
import uuid
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.conf import settings

from conversations.agentdb.agent_tables import create_agent_tables

from ..support import citus

pytestmark = [pytest.mark.citus, pytest.mark.xdist_group("citus")]
NAME = f"desk_runtime_{os.getpid()}"
PAGE = (settings.BASE_DIR / "docs/scale.md").read_text().partition("### The runtime on Citus")[2]
SETTINGS, VIEW = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)

AGENT = """INSERT INTO agents (id, name, description, input_schema, output_schema, workflow,
    created_at, updated_at) VALUES ($1::UUID, $2::VARCHAR, $3::VARCHAR, $4::JSONB, $5::JSONB,
    $6::JSONB, $7::TIMESTAMP WITH TIME ZONE, $8::TIMESTAMP WITH TIME ZONE)"""
SESSION = """INSERT INTO sessions (id, agent_id, external_id, created_at, updated_at) VALUES
    ($1::UUID, $2::UUID, $3::VARCHAR, $4::TIMESTAMP WITH TIME ZONE, $5::TIMESTAMP WITH TIME ZONE)"""
RUN = """INSERT INTO runs (id, session_id, input_data, context, duration_seconds, created_at,
    updated_at) VALUES ($1::UUID, $2::UUID, $3::JSONB, $4::JSONB, $5::NUMERIC,
    $6::TIMESTAMP WITH TIME ZONE, $7::TIMESTAMP WITH TIME ZONE)"""
MESSAGE = """INSERT INTO chat_messages (id, agent_id, session_id, run_id, role, content, created_at,
    updated_at) VALUES ($1::UUID, $2::UUID, $3::UUID, $4::UUID, $5::VARCHAR, $6::VARCHAR,
    $7::TIMESTAMP WITH TIME ZONE, $8::TIMESTAMP WITH TIME ZONE)"""
TASK = """INSERT INTO tasks (id, agent_id, session_id, run_id, name, created_at, updated_at) VALUES
    ($1::UUID, $2::UUID, $3::UUID, $4::UUID, $5::VARCHAR, $6::TIMESTAMP WITH TIME ZONE,
    $7::TIMESTAMP WITH TIME ZONE)"""
CALL = """INSERT INTO model_call_stats (id, call_type, model, agent_id, session_id, run_id,
    created_at, updated_at) VALUES ($1::UUID, $2::VARCHAR, $3::VARCHAR, $4::UUID, $5::UUID,
    $6::UUID, $7::TIMESTAMP WITH TIME ZONE, $8::TIMESTAMP WITH TIME ZONE)"""
RESULT = """UPDATE runs SET output_data=$1::JSONB, context=$2::JSONB, duration_seconds=$3::NUMERIC,
    updated_at=$4::TIMESTAMP WITH TIME ZONE WHERE runs.id = $5::UUID"""
ACTIVE = "UPDATE sessions SET updated_at=$1::TIMESTAMP WITH TIME ZONE WHERE sessions.id = $2::UUID"
NEWEST = """SELECT sessions.id FROM sessions WHERE sessions.agent_id = $1::UUID
    AND sessions.external_id = $2::VARCHAR ORDER BY sessions.created_at DESC LIMIT $3::INTEGER"""
READ_RUN = "SELECT runs.output_data FROM runs WHERE runs.id = $1::UUID"
WITHOUT_RUN = """UPDATE chat_messages SET run_id=$1::UUID, updated_at=$2::TIMESTAMP WITH TIME ZONE
    WHERE chat_messages.id = $3::UUID"""
BLANK = """UPDATE model_call_stats SET request_data=NULL, response_data=NULL,
    updated_at=$1::TIMESTAMP WITH TIME ZONE
    WHERE model_call_stats.session_id IN ($2::UUID, $3::UUID)"""
PURGE = "DELETE FROM sessions WHERE sessions.id IN ($1::UUID, $2::UUID)"
FIGURE = """SELECT count(tasks.id) AS count_1 FROM tasks JOIN runs ON tasks.run_id = runs.id
    JOIN sessions ON runs.session_id = sessions.id
    WHERE tasks.created_at >= $1::TIMESTAMP WITH TIME ZONE AND sessions.agent_id = $2::UUID"""
WITHOUT_AGENT = """UPDATE tasks SET agent_id=$1::UUID, updated_at=$2::TIMESTAMP WITH TIME ZONE
    WHERE tasks.id = $3::UUID"""


def by_id(table: str) -> str:
    return f"DELETE FROM {table} WHERE {table}.id = $1::UUID"


@pytest.fixture(scope="module")
def database():
    with citus.cluster(NAME) as connection:
        create_agent_tables(connection, "agents")
        assert citus.distribute(connection).returncode == 0
        yield connection


class Runtime:
    """Sends statements as prepared ones, like the runtime's driver."""

    def __init__(self, database, **options):
        defaults = {"search_path": "agents", **options}
        given = " ".join(f"-c {name}={value}" for name, value in defaults.items())
        self.connection = psycopg.connect(
            database.info.dsn, options=given, cursor_factory=psycopg.RawCursor
        )
        self.now = datetime.now(UTC)

    def send(self, statement: str, *values):
        cursor = self.connection.execute(statement, values, prepare=True)
        return cursor.fetchall() if cursor.description else cursor.rowcount

    def commit(self, statement: str, *values):
        with self.connection.transaction():
            return self.send(statement, *values)

    def times(self):
        return self.now, self.now

    def agent(self):
        pk = uuid.uuid4()
        self.commit(AGENT, pk, "Shop", None, None, None, '{"nodes": []}', *self.times())
        return pk

    def session(self, agent, name="ticket"):
        """A session with a run, a message, a task and a model call."""
        session, run, message, task, call = (uuid.uuid4() for _ in range(5))
        with self.connection.transaction():
            self.send(SESSION, session, agent, name, *self.times())
            self.send(ACTIVE, self.now, session)
            self.send(RUN, run, session, "{}", None, None, *self.times())
        self.commit(MESSAGE, message, agent, session, run, "user", "Hi", *self.times())
        self.commit(TASK, task, agent, session, run, "step", *self.times())
        self.commit(CALL, call, "llm", "m", agent, session, run, *self.times())
        return session, run, message, task, call


@pytest.fixture
def runtime(database):
    made = Runtime(database)
    yield made
    made.connection.close()


@pytest.fixture
def configured(database):
    """With the settings from docs/scale.md."""
    found = re.findall(r"SET (\S+) = '?(\w+)'?;", SETTINGS)
    assert len(found) == 2
    made = Runtime(database, **dict(found))
    yield made
    made.connection.close()


def test_a_run_is_written_and_read(runtime):
    agent = runtime.agent()
    session, run, *_ = runtime.session(agent)
    assert runtime.commit(NEWEST, agent, "ticket", 1) == [(session,)]
    assert runtime.commit(RESULT, '{"a": 1}', None, 1.5, runtime.now, run) == 1
    assert runtime.commit(READ_RUN, run) == [({"a": 1},)]


def test_rows_are_deleted_by_id(runtime):
    _, run, message, task, call = runtime.session(runtime.agent())
    assert runtime.commit(by_id("tasks"), task) == 1
    with runtime.connection.transaction():
        assert runtime.send(WITHOUT_RUN, None, runtime.now, message) == 1
        assert runtime.send(by_id("runs"), run) == 1
    assert runtime.commit(by_id("model_call_stats"), call) == 1


def test_sessions_are_purged(runtime):
    agent = runtime.agent()
    ids = [runtime.session(agent)[0] for _ in range(2)]
    with runtime.connection.transaction():
        assert runtime.send(BLANK, runtime.now, *ids) == 2
        assert runtime.send(PURGE, *ids) == 2
    assert runtime.commit(NEWEST, agent, "ticket", 1) == []


def test_deleting_only_a_run_is_refused_while_it_has_messages(runtime):
    _, run, *_ = runtime.session(runtime.agent())
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        runtime.commit(by_id("runs"), run)


def test_a_model_call_without_a_session_is_refused(runtime):
    values = (uuid.uuid4(), "llm", "m", runtime.agent(), None, None, *runtime.times())
    with pytest.raises(psycopg.Error, match="NULL in the partition column"):
        runtime.commit(CALL, *values)


def test_a_view_gives_it_its_own_id_as_its_session(database, runtime):
    roles = "SELECT FROM pg_roles WHERE rolname = 'kavalai'"
    if database.execute(roles).rowcount:
        pytest.skip("The cluster has a role kavalai, which this test would change.")
    database.execute("CREATE ROLE kavalai LOGIN")
    try:
        for statement in (
            "GRANT USAGE ON SCHEMA agents TO kavalai",
            "GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA agents TO kavalai",
            VIEW,
        ):
            database.execute(statement)
        pk = uuid.uuid4()
        limited = Runtime(database, search_path="kavalai,agents", role="kavalai")
        limited.commit(CALL, pk, "llm", "m", None, None, None, *runtime.times())
        limited.connection.close()
        query = "SELECT session_id FROM agents.model_call_stats WHERE id = $1"
        assert runtime.commit(query, pk) == [(pk,)]
    finally:
        database.execute("DROP SCHEMA IF EXISTS kavalai CASCADE")
        database.execute("DROP OWNED BY kavalai")
        database.execute("DROP ROLE kavalai")


def test_figures_of_an_agent_need_repartitioned_joins(runtime, configured):
    agent = runtime.agent()
    runtime.session(agent)
    asked = (FIGURE, runtime.now - timedelta(days=1), agent)
    with pytest.raises(psycopg.Error, match="requires repartitioning"):
        runtime.commit(*asked)
    assert configured.commit(*asked) == [(1,)]


def test_deleting_an_agent_needs_one_shard_after_another(runtime, configured):
    agent = runtime.agent()
    *_, task, _ = runtime.session(agent)

    def delete(by):
        with by.connection.transaction():
            by.send(WITHOUT_AGENT, None, by.now, task)
            return by.send(by_id("agents"), agent)

    with pytest.raises(psycopg.Error, match="parallel DML access"):
        delete(runtime)
    assert delete(configured) == 1
    assert runtime.commit(NEWEST, agent, "ticket", 1) == []
