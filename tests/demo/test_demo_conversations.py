"""The demo conversations have the shape of rows that the runtime recorded."""

import random
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction

from demo import write_demo
from demo.agents import AGENTS
from demo.scripts import load
from demo.slots import fill

pytestmark = [
    pytest.mark.django_db(databases=["default", "agents", "agents_write"]),
    pytest.mark.xdist_group("demo_conversations"),
]

NOW = datetime(2026, 3, 18, 14, 30, tzinfo=UTC)
FAILED = "runs.context->>'status' = 'failed'"
ANSWERED = "runs.output_data IS NOT NULL"


@pytest.fixture
def query():
    """Asks the agent database: the rows of a statement."""

    def run(statement, *parameters):
        with connections["agents_write"].cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall()

    return run


@pytest.fixture(scope="module")
def written(django_db_setup, django_db_blocker):
    """300 conversations in the agent database, until the tests of this file have ended."""
    connection = connections["agents_write"]
    with django_db_blocker.unblock(), transaction.atomic(using="agents_write"):
        assert write_demo(connection.connection, seed=3, now=NOW) == 300
        yield
        transaction.set_rollback(True, using="agents_write")


@pytest.fixture
def demo(written, query):
    """The way to ask for them."""
    return query


@pytest.fixture
def empty(query):
    """As if nobody had written any yet."""
    query("WITH gone AS (DELETE FROM agents) SELECT 1")
    query("WITH gone AS (DELETE FROM model_call_stats) SELECT 1")


def test_agents_describe_themselves_and_their_workflow(demo):
    rows = demo("SELECT name, description, workflow FROM agents ORDER BY created_at")
    assert [name for name, _, _ in rows] == [agent.name for agent in AGENTS]
    assert all(description for _, description, _ in rows)
    assert demo("SELECT DISTINCT workflow->>'version' FROM agents") == [("2.0",)]
    input_types = demo(
        "SELECT DISTINCT input_schema->'properties'->'user_message'->>'type',"
        " output_schema->'properties'->'agent_response'->>'type' FROM agents"
    )
    assert input_types == [("string", "string")]


def test_every_kind_of_step_uses_json_null_where_the_runtime_does(demo):
    """Per node type: is inputs, output (then prompt, in SQL) null? As in recorded rows."""
    assert demo("SELECT count(*) FROM tasks WHERE num_nulls(inputs, output, errors) > 0") == [(0,)]
    shapes = demo(
        "SELECT DISTINCT node_type, inputs = 'null', output = 'null', prompt IS NULL FROM tasks"
        " ORDER BY 1, 3"
    )
    assert shapes == [
        ("agent", False, False, False),
        ("agent", False, True, False),  # it ran out of steps
        ("end", True, True, True),
        ("if", False, False, True),
        ("llm", False, False, False),
        ("parallel", True, False, True),
        ("start", True, True, True),
        ("switch", False, False, True),
        ("tool_call", False, False, True),
    ]


def test_seq_counts_the_visits_of_a_run(demo):
    """A node that fails or still runs leaves no row: an agent's number is then the only gap."""
    gaps = demo(
        "SELECT max(seq) + 1 - count(*), bool_and(output_data IS NULL AND"
        " context -> 'input' IS NULL) FROM tasks JOIN runs ON runs.id = run_id GROUP BY run_id"
        " HAVING min(seq) <> 0 OR max(seq) + 1 <> count(*)"
    )
    assert gaps
    assert set(gaps) == {(1, True)}
    assert (
        demo("SELECT count(*) FROM tasks GROUP BY run_id HAVING count(*) <> count(DISTINCT seq)")
        == []
    )
    assert demo(
        f"SELECT count(*) FROM runs WHERE {ANSWERED} AND NOT EXISTS (SELECT FROM tasks"
        " WHERE run_id = runs.id AND node_type = 'end')"
    ) == [(0,)]


def test_tool_calls_name_the_agent_node_above_them(demo):
    rows = demo(
        "SELECT DISTINCT tool_uri = 'python://' || name, parent_task_name IS NOT NULL,"
        " inputs ?& ARRAY['args', 'step', 'call_id'] FROM tasks WHERE node_type = 'tool_call'"
    )
    assert rows == [(True, True, True)]
    orphans = demo(
        f"SELECT count(*) FROM tasks AS call JOIN runs ON runs.id = run_id WHERE {ANSWERED}"
        " AND node_type = 'tool_call' AND NOT EXISTS (SELECT FROM tasks AS parent"
        " WHERE parent.run_id = call.run_id AND parent.name = call.parent_task_name"
        " AND parent.seq < call.seq)"
    )
    assert orphans == [(0,)]
    assert demo(
        "SELECT count(*) FROM tasks WHERE node_type <> 'tool_call'"
        " AND num_nonnulls(tool_uri, parent_task_name) > 0"
    ) == [(0,)]


def test_parallel_branches_finish_out_of_order(demo):
    ((pairs,),) = demo(
        "SELECT count(*) FROM tasks AS a JOIN tasks AS b ON a.run_id = b.run_id"
        " AND a.node_type = 'llm' AND b.node_type = 'llm'"
        " AND a.seq < b.seq AND a.created_at > b.created_at"
    )
    assert pairs > 20


def test_failed_runs_have_a_question_an_error_and_no_answer(demo):
    ((runs, failed),) = demo(f"SELECT count(*), count(*) FILTER (WHERE {FAILED}) FROM runs")
    assert 0.04 < failed / runs < 0.13
    wrong = demo(
        f"SELECT id FROM runs WHERE {FAILED} AND (output_data IS NOT NULL"
        " OR duration_seconds IS NULL OR NOT context ?& ARRAY['data', 'error', 'status']"
        " OR (SELECT array_agg(role) FROM chat_messages WHERE run_id = runs.id) <> '{user}'"
        " OR NOT EXISTS (SELECT FROM model_call_stats WHERE run_id = runs.id"
        " AND response_code IS NULL AND request_data IS NULL AND total_tokens IS NULL"
        " AND response_data #>> '{}' = context ->> 'error'))"
    )
    assert wrong == []
    ((errors,),) = demo(f"SELECT count(DISTINCT context ->> 'error') FROM runs WHERE {FAILED}")
    assert errors >= 4


def test_two_runs_are_running_and_one_was_interrupted(demo):
    rows = demo(
        "SELECT context = 'null', output_data IS NULL, %s - (SELECT max(updated_at) FROM tasks"
        " WHERE run_id = runs.id) FROM runs WHERE duration_seconds IS NULL ORDER BY 3",
        NOW,
    )
    assert [row[:2] for row in rows] == [(True, True)] * 3
    assert [age < timedelta(minutes=5) for _, _, age in rows] == [True, True, False]
    assert rows[2][2] > timedelta(hours=1)


def test_empty_answers_are_runs_without_output_and_without_error(demo):
    rows = demo(
        "SELECT context -> 'output' = 'null', content, duration_seconds > 0 FROM runs"
        " JOIN chat_messages ON run_id = runs.id WHERE role = 'assistant' AND output_data IS NULL"
    )
    assert rows
    assert set(rows) == {(True, "", True)}


def test_some_tool_calls_fail_in_the_words_of_the_runtime(demo):
    ((calls, failed),) = demo(
        "SELECT count(*), count(*) FILTER (WHERE output ->> 'result' LIKE"
        " 'Error: Error executing python_tool ''' || name || ''': %') FROM tasks"
        " WHERE node_type = 'tool_call'"
    )
    assert 0.02 < failed / calls < 0.12


def test_odd_payloads_are_there(demo):
    errors = demo("SELECT jsonb_typeof(errors) FROM tasks WHERE errors <> 'null' ORDER BY 1")
    assert errors == [("array",), ("object",)]
    assert demo(
        "SELECT count(*) FROM tasks WHERE output ?& ARRAY['truncated', 'bytes', 'preview']"
    ) == [(1,)]
    codes = demo(
        "SELECT response_code, count(*) FROM model_call_stats WHERE response_code > 200"
        " GROUP BY 1 ORDER BY 1"
    )
    assert codes == [(429, 2), (500, 1)]


def test_model_calls_hold_json_text_in_json_strings(demo):
    assert demo(
        "SELECT DISTINCT jsonb_typeof(request_data), jsonb_typeof(response_data),"
        " (request_data #>> '{}')::jsonb ?& ARRAY['model', 'messages', 'response_model'],"
        " jsonb_typeof((response_data #>> '{}')::jsonb),"
        " total_tokens = prompt_tokens + completion_tokens"
        " FROM model_call_stats WHERE response_code = 200"
    ) == [("string", "string", True, "object", True)]


def test_tokens_are_as_each_providers_client_writes_them(demo):
    """Cached within the prompt or apart from it, reasoning recorded or not."""
    assert demo(
        "SELECT split_part(model, '/', 1), bool_or(cached_prompt_tokens > prompt_tokens),"
        " count(cached_prompt_tokens) > 0, count(reasoning_tokens) > 0,"
        " bool_and(reasoning_tokens <= completion_tokens)"
        " FROM model_call_stats WHERE response_code = 200 GROUP BY 1 ORDER BY 1"
    ) == [
        ("anthropic", True, True, False, None),
        ("gemini", False, True, True, False),
        ("ollama", None, False, False, None),
        ("openai", False, True, True, True),
    ]


def test_context_input_and_output_agree(demo):
    assert demo(
        "SELECT DISTINCT context -> 'input' = input_data, context -> 'output' = output_data,"
        f" input_data ? 'user_message', output_data ? 'agent_response' FROM runs WHERE {ANSWERED}"
    ) == [(True, True, True, True)]


def test_sessions_were_touched_just_before_their_last_run(demo):
    rows = demo(
        "SELECT min(last_run - updated_at), max(last_run - updated_at) FROM (SELECT"
        " sessions.updated_at, max(runs.created_at) AS last_run FROM sessions"
        " JOIN runs ON session_id = sessions.id GROUP BY sessions.id) AS pairs"
    )
    ((least, most),) = rows
    assert timedelta() < least <= most < timedelta(milliseconds=10)


def test_times_are_ordered_and_never_in_the_future(demo):
    for table in ("sessions", "runs", "tasks", "chat_messages", "model_call_stats"):
        ((newest, backwards),) = demo(
            f"SELECT max(updated_at), count(*) FILTER (WHERE updated_at < created_at) FROM {table}"
        )
        assert newest <= NOW, table
        assert backwards == 0, table
    assert demo(
        "SELECT count(*) FROM tasks JOIN runs ON runs.id = run_id JOIN sessions"
        " ON sessions.id = runs.session_id WHERE tasks.created_at < runs.created_at"
        " OR runs.created_at < sessions.created_at"
        " OR (runs.duration_seconds > 0 AND tasks.created_at > runs.updated_at)"
    ) == [(0,)]
    # Nobody writes the next message before the run before it has ended.
    assert demo(
        "SELECT count(*) FROM (SELECT created_at - lag(updated_at) OVER"
        " (PARTITION BY session_id ORDER BY created_at) AS pause FROM runs) AS pauses"
        " WHERE pause < interval '1 second'"
    ) == [(0,)]


def test_activity_covers_a_month_up_to_now(demo):
    ((oldest, newest, days),) = demo(
        "SELECT min(updated_at), max(updated_at), count(DISTINCT updated_at::date) FROM sessions"
    )
    assert timedelta(minutes=0) < NOW - newest < timedelta(minutes=5)
    assert timedelta(days=25) < NOW - oldest < timedelta(days=31)
    assert days > 22


def test_conversations_differ(demo):
    ((openings,),) = demo(
        "SELECT count(DISTINCT content) FROM (SELECT DISTINCT ON (session_id) content"
        " FROM chat_messages ORDER BY session_id, created_at) AS first"
    )
    assert openings > 150
    counts = demo(
        "SELECT runs FROM (SELECT count(runs.id) AS runs FROM sessions LEFT JOIN runs"
        " ON session_id = sessions.id GROUP BY sessions.id) AS counted ORDER BY 1"
    )
    assert counts[0] == (0,)
    assert 6 <= counts[-1][0] <= 16
    assert sum(1 <= runs <= 5 for (runs,) in counts) > 280
    roles = demo("SELECT role FROM chat_messages WHERE run_id IS NULL ORDER BY role")
    assert roles == [("system",), ("tool",)]


def test_external_ids_are_of_every_kind(demo):
    for pattern, least in [("ticket-%", 50), ("%@example.%", 50), ("%-user-%", 20)]:
        ((number,),) = demo("SELECT count(*) FROM sessions WHERE external_id LIKE %s", pattern)
        assert number >= least, pattern
    assert demo("SELECT count(*) > 20 FROM sessions WHERE external_id IS NULL") == [(True,)]
    assert demo("SELECT count(*) FROM sessions WHERE external_id ~ '^eval:[^:]+:case-[0-9]+$'") == [
        (15,)
    ]


def test_no_slot_stays_open(demo):
    assert demo(r"SELECT content FROM chat_messages WHERE content ~ '\{\w+\}'") == []
    rows = demo(r"SELECT prompt FROM tasks WHERE prompt ~ '\{\w+\}' OR inputs::text ~ '\{\w+\}'")
    assert rows == []


def test_the_same_seed_writes_the_same_conversations(empty, query):
    connection = connections["agents_write"]
    connection.ensure_connection()
    written = []
    for _ in range(2):
        write_demo(connection.connection, count=40, seed=8, now=NOW)
        written.append(query("SELECT id, content, created_at FROM chat_messages ORDER BY id"))
        query("WITH gone AS (DELETE FROM agents) SELECT 1")
        query("WITH gone AS (DELETE FROM model_call_stats) SELECT 1")
    assert written[0] == written[1]


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.key)
def test_scripts_name_only_tools_and_slots_that_exist(agent):
    for script in load(agent.key):
        slots = fill(random.Random(0), script.language, NOW, "Ann", "ann@example.com")
        for turn in script.turns:
            for text in [*turn.users, *turn.replies]:
                text.format_map(slots)
            for tool in [tool for step in turn.steps for tool in step]:
                assert tool.name in agent.tool_errors
                tool.result.format_map(slots)
            # Tools are called by agent nodes only.
            assert not turn.steps or agent.final(turn.intent)[1] == "agent", turn


def test_command_fills_an_empty_database_only(empty, query):
    out = StringIO()
    call_command("demo_conversations", count=25, stdout=out)
    assert out.getvalue() == "Wrote 25 demo conversations.\n"
    assert query("SELECT count(*) FROM sessions") == [(25,)]
    with pytest.raises(CommandError, match="already has agents"):
        call_command("demo_conversations", count=25)
    assert query("SELECT count(*) FROM sessions") == [(25,)]


def test_command_names_a_database_that_it_does_not_know():
    with pytest.raises(CommandError, match="no database 'nowhere'"):
        call_command("demo_conversations", database="nowhere")
