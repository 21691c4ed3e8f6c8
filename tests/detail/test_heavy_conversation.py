"""Pages of conversations as large and as odd as the database allows."""

import re
from html import unescape

import pytest
from django.db import connections

from conversations.agentdb.fields import PayloadField

from ..support.factories import (
    NULL,
    Json,
    add_messages,
    add_runs,
    add_tasks,
    make_agent,
    make_conversation,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..support.pages import url
from ..support.tables import sql

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

FIRST_PAINT = 300_000
PAYLOAD_COLUMNS = (
    "input_data|output_data|context|inputs|output|prompt|errors|request_data|response_data|workflow"
)
# A payload selected as a column. Payloads in conditions are fine, because they are not fetched.
SELECTED_PAYLOAD = re.compile(rf'(?:SELECT|,) "\w+"\."(?:{PAYLOAD_COLUMNS})"(?= AS |,| FROM)')
# Text that PostgreSQL cannot compress, so it is stored outside the row.
RANDOM_TEXT = "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, {} / 32))"


def run_ids(session):
    ids = sql("SELECT id FROM runs WHERE session_id = %s ORDER BY created_at", [session.id])
    return [run_id for (run_id,) in ids]


def small_page(client, path):
    response = client.get(path)
    assert response.status_code == 200
    assert len(response.content) < FIRST_PAINT, f"{len(response.content):,} bytes"
    # Numbers are joined to their nouns with no-break spaces.
    return response.content.decode().replace("\xa0", " ")


def link(html, words):
    """The address of the link whose text begins with these words; None if there is none."""
    found = re.search(rf'<a [^>]*?href="([^"]*)"[^>]*>{words}', html)
    return found and unescape(found[1])


def messages_on(html):
    return re.findall(r'id="message-([0-9a-f-]{36})"', html)


def queries_of(client, path):
    client.get(path)
    connection = connections["agents"]
    connection.force_debug_cursor = True
    connection.queries_log.clear()
    try:
        assert client.get(path).status_code == 200
        return [query["sql"] for query in connection.queries]
    finally:
        connection.force_debug_cursor = False


@pytest.fixture
def no_payload_is_read(monkeypatch):
    def refuse(self, value, expression, connection):
        raise AssertionError(f"{self} was read")

    monkeypatch.setattr(PayloadField, "from_db_value", refuse)


# Messages


@pytest.fixture
def long_conversation(db):
    session = make_session(external_id="long")
    add_runs(session, 300)
    add_messages(session, 10)
    return session


def test_following_later_messages_shows_all_three_thousand_once(support_client, long_conversation):
    session = long_conversation
    ids = sql(
        "SELECT id::text FROM chat_messages WHERE session_id = %s ORDER BY created_at", [session.id]
    )
    path, shown, runs = url("detail", session.id) + "?from=0", [], []
    while path:
        html = small_page(support_client, path)
        shown += messages_on(html)
        runs += re.findall(r'id="run-([0-9a-f-]{36})"', html)
        path = link(html, "Later messages")
    assert shown == [message_id for (message_id,) in ids]
    assert runs == [str(run_id) for run_id in run_ids(session)]


def test_earlier_messages_lead_back_to_the_beginning(support_client, long_conversation):
    ids = sql(
        "SELECT id::text FROM chat_messages WHERE session_id = %s ORDER BY created_at LIMIT 300",
        [long_conversation.id],
    )
    path, shown = url("detail", long_conversation.id) + "?from=330", set()
    while path := link(small_page(support_client, path), "Earlier messages"):
        shown.update(messages_on(small_page(support_client, path)))
    assert shown == {message_id for (message_id,) in ids}


def test_a_link_to_a_message_in_the_middle_shows_it(support_client, long_conversation):
    [(message_id,)] = sql(
        "SELECT id::text FROM chat_messages WHERE session_id = %s "
        "ORDER BY created_at OFFSET 1500 LIMIT 1",
        [long_conversation.id],
    )
    html = small_page(support_client, url("detail", long_conversation.id) + f"?m={message_id}")
    assert message_id in messages_on(html)
    assert re.search(rf'<article class="[^"]*\bfocus\b[^"]*" id="message-{message_id}"', html)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("repeat('x', 5000)", id="letters"),
        pytest.param("repeat('A sentence, then the next. ', 200)", id="prose"),
        pytest.param("repeat('<\"', 2500)", id="markup"),
        pytest.param("repeat('\U0001f600', 5000)", id="four-byte letters"),
        pytest.param("repeat('> a' || chr(10) || chr(10), 1000)", id="quotes"),
        pytest.param("repeat('|' || chr(10), 2) || repeat('|-|' || chr(10), 1000)", id="rules"),
        pytest.param("'[' || repeat('1,', 1000) || '1]'", id="JSON"),
    ],
)
def test_a_page_of_long_messages_is_small(support_client, content):
    session = make_session()
    add_runs(session, 8)
    add_messages(session, 20, content)
    html = small_page(support_client, url("detail", session.id))
    assert len(messages_on(html)) > 20
    assert link(html, "Earlier messages")


def test_a_message_of_a_megabyte_is_cut_and_can_be_opened_whole(support_client):
    session = make_session()
    add_runs(session, 1)
    add_messages(session, 1, RANDOM_TEXT.format(1_000_000))
    html = small_page(support_client, url("detail", session.id))
    assert "Show all 1,000,000 characters" in html
    whole = support_client.get(link(html, "Open the whole message")).content.decode()
    [(content,)] = sql("SELECT content FROM chat_messages WHERE session_id = %s", [session.id])
    assert content in whole


# Runs and tasks


def test_pages_of_a_run_with_five_thousand_large_tasks_are_small(
    support_client, no_payload_is_read
):
    session = make_session()
    add_runs(session, 1)
    large = f"jsonb_build_object('result', n || {RANDOM_TEXT.format(20_000)})"
    add_tasks(session, 5000, inputs=large)
    html = small_page(support_client, url("detail", session.id))
    assert "5,000 tasks" in html
    [run_id] = run_ids(session)
    path, shown = url("run", session.id, run_id), []
    while path:
        html = small_page(support_client, path)
        shown += re.findall(r'id="task-([0-9a-f-]{36})"', html)
        path = link(html, "More steps")
    ids = sql("SELECT id::text FROM tasks WHERE run_id = %s ORDER BY seq", [run_id])
    assert shown == [task_id for (task_id,) in ids]
    small_page(support_client, url("task", session.id, shown[2500]))


def test_a_page_of_many_runs_with_many_steps_is_small(support_client):
    session = make_session()
    add_runs(session, 100)
    add_tasks(session, 30, name="'a_step_with_a_name_of_forty_letters_' || n")
    html = small_page(support_client, url("detail", session.id))
    assert link(html, "Earlier messages")


def test_a_page_of_runs_that_all_failed_with_long_reasons_is_small(support_client):
    session = make_session()
    add_runs(session, 100)
    sql("UPDATE runs SET output_data = NULL WHERE session_id = %s", [session.id])
    add_tasks(session, 5, output="jsonb_build_object('result', 'Error: ' || repeat('<', 5000))")
    small_page(support_client, url("detail", session.id))


def test_pages_with_very_long_names_are_small(support_client):
    agent = make_agent(name="a" * 200_000)
    session = make_session(agent)
    run = make_run(session)
    task = make_task(run, session, name="t" * 200_000, node_type="n" * 200_000)
    small_page(support_client, url("detail", session.id))
    small_page(support_client, url("run", session.id, run.id))
    assert support_client.get(url("task", session.id, task.id)).status_code == 200


def test_pages_of_a_run_with_huge_and_deep_payloads_are_small(support_client):
    session = make_session()
    run = make_run(session)
    sql(
        f"""
        UPDATE runs SET output_data = (repeat('[', 600) || repeat(']', 600))::jsonb, context = (
            SELECT jsonb_object_agg('key-' || n, {RANDOM_TEXT.format(5_000)} || n)
            FROM generate_series(1, 1000) n)
        WHERE id = %s
        """,
        [run.id],
    )
    add_messages(session, 2)
    small_page(support_client, url("detail", session.id))
    small_page(support_client, url("run", session.id, run.id))
    for field, words in [("context", "key-1"), ("output_data", "nested deeper than is shown")]:
        path = url("payload", session.id, "runs", run.id, field)
        html = small_page(support_client, path)
        assert words in html
        assert "Not all of it is shown" in html
        [(text,)] = sql(f"SELECT {field}::text FROM runs WHERE id = %s", [run.id])
        assert support_client.get(path + "raw/").content.decode() == text


@pytest.mark.parametrize("letter", ["x", "<", "\U0001f600"])
def test_a_task_whose_payloads_are_all_large_makes_a_small_page(support_client, letter):
    session = make_session()
    value = Json({f"key-{n}": letter * 5000 for n in range(100)})
    task = make_task(
        make_run(session),
        session,
        inputs=value,
        output=value,
        errors=value,
        prompt=letter * 500_000,
    )
    small_page(support_client, url("task", session.id, task.id))


# Queries


def test_queries_do_not_grow_with_messages_runs_or_tasks(support_client):
    small, large = make_conversation(messages=1, runs=1, tasks=1), make_session()
    add_runs(large, 300)
    add_messages(large, 10)
    add_tasks(large, 10)

    def counts(session):
        paths = [
            url("detail", session.id),
            url("run", session.id, run_ids(session)[0]),
            url("transcript", session.id, "txt"),
        ]
        return [len(queries_of(support_client, path)) for path in paths]

    assert counts(small) == counts(large)


def test_no_page_selects_a_payload_that_it_does_not_show(support_client, no_payload_is_read):
    session = make_session()
    run = make_run(session, output_data=None, context=Json({"a": 1}))
    make_message(session, run_id=run.id)
    make_task(run, session, "lookup", "tool_call", output=Json({"result": "Error: offline"}))
    task = make_task(run, session, "bad", inputs=Json([1]), errors=Json("x"), prompt="Hello")
    make_model_call(session, run, response_code=500, response_data=Json("down"))
    for path in [
        url("list"),
        url("list") + "?problem=any&search=hello",
        url("detail", session.id),
        url("run", session.id, run.id),
        url("task", session.id, task.id),
        url("payload", session.id, "runs", run.id, "context"),
    ]:
        queries = queries_of(support_client, path)
        assert queries
        for query in queries:
            assert not SELECTED_PAYLOAD.search(query), (path, query)


# Odd rows


def test_only_real_errors_count_as_errors(support_client):
    session = make_session()
    run = make_run(session, output_data=None)
    make_message(session, run_id=run.id)
    errors = [["first"], "text", {"code": 5}, 42, False, "", {}, [None], [], None, NULL.value]
    tasks = [
        make_task(run, session, f"step-{seq}", seq=seq, errors=Json(value))
        for seq, value in enumerate(errors)
    ]
    tasks.append(make_task(run, session, "none", seq=len(errors), errors=None))
    html = small_page(support_client, url("detail", session.id))
    assert "8 task errors" in html
    shown = support_client.get(url("run", session.id, run.id)).context["list"].steps
    # The last one is the step at which the run ended.
    assert [step.failed for step, _ in shown] == [True] * 8 + [False] * 4 + [True]
    small_page(support_client, url("run", session.id, run.id))
    for task in tasks:
        small_page(support_client, url("task", session.id, task.id))


@pytest.mark.parametrize("workflow", [None, NULL, *map(Json, ([1], "text", 42, True, {}, [[]]))])
def test_odd_workflows_and_empty_names_break_no_page(support_client, workflow):
    agent = make_agent(name="", workflow=workflow)
    session = make_session(agent, external_id="")
    run = make_run(session)
    make_message(session, role="", content="", run_id=run.id)
    make_message(session, role="assistant", content=" \n", run_id=run.id)
    make_model_call(session, run, model="", call_type="")
    tasks = [
        make_task(run, session, name, kind, parent_task_name=parent)
        for name in ("", None)
        for kind in ("", None)
        for parent in ("", None)
    ]
    small_page(support_client, url("list"))
    assert "(no role)" in small_page(support_client, url("detail", session.id))
    html = small_page(support_client, url("run", session.id, run.id))
    for task in tasks:
        assert f'id="task-{task.id}"' in html
        small_page(support_client, url("task", session.id, task.id))
