import json
import re
import uuid
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from ..support.factories import (
    NULL,
    Json,
    make_conversation,
    make_message,
    make_run,
    make_session,
    make_task,
)
from ..support.pages import HTMX, VARIES, get, text, url

pytestmark = pytest.mark.django_db


def main_of(response):
    """The text without the navigation above it."""
    return text(response).partition("Sign out")[2]


def steps_of(response):
    """(name, depth) of each step on the page."""
    return [(step.name, step.depth) for step, _ in response.context["list"].steps]


def in_order(page, *words):
    places = [page.index(word) for word in words]
    return places == sorted(places)


# The conversation


def test_the_header_shows_ids_contents_and_status(support_client):
    session = make_conversation(external_id="ticket-9", messages=3, runs=2, tasks=2)
    page = text(get(support_client, url("detail", session.id)))
    assert "ticket-9" in page
    assert str(session.id) in page
    assert "2 runs, 4 tasks, 3 messages" in page
    assert "UTC" in page
    assert "Completed" in page


def test_times_are_in_the_viewers_zone(support_client):
    moment = timezone.datetime(2026, 6, 1, 12, tzinfo=timezone.get_default_timezone())
    session = make_session(created_at=moment, updated_at=moment)
    support_client.cookies["timezone"] = "Asia/Tokyo"
    assert "1 Jun 2026, 21:00:00 JST" in text(get(support_client, url("detail", session.id)))
    support_client.cookies["timezone"] = "Nowhere/Else"
    assert "1 Jun 2026, 12:00:00 UTC" in text(get(support_client, url("detail", session.id)))


def test_messages_are_in_time_order_even_if_runs_overlap(support_client):
    session = make_session()
    now = timezone.now() - timedelta(hours=2)
    second = make_run(session, created_at=now + timedelta(minutes=10))
    first = make_run(session, created_at=now)
    silent = make_run(session, created_at=now + timedelta(minutes=20))
    make_message(session, content="question two", run_id=second.id, created_at=second.created_at)
    # The answer of the first run, written after the second run began.
    late = now + timedelta(minutes=11)
    make_message(session, "assistant", "answer one", run_id=first.id, created_at=late)
    make_message(session, "system", "a loose note", created_at=now + timedelta(minutes=5))
    make_message(session, "tool", "gone run", run_id=None, created_at=now + timedelta(minutes=30))
    page = get(support_client, url("detail", session.id))
    entries = page.context["transcript"].entries
    assert [entry.run and entry.run.pk for entry in entries] == [
        None,
        second.id,
        first.id,
        silent.id,
        None,
    ]
    shown = text(page)
    assert in_order(
        shown,
        "a loose note",
        "question two",
        "answer one",
        "A run without messages.",
        "gone run",
    )
    assert in_order(shown, "Agent ", "system ", "User ", "tool ")


def test_a_run_shows_status_duration_and_its_steps_in_order(support_client):
    session = make_session()
    run = make_run(session, duration_seconds="4.25")
    for seq, name in [(1, "answer"), (0, "classify")]:
        make_task(run, session, name, seq=seq)
    page = text(get(support_client, url("detail", session.id)))
    assert re.search(r"Completed\s+2 tasks · 4\.2 s\s+classify\s+answer", page)


def test_a_run_with_many_steps_names_the_first_ones_and_counts_the_rest(support_client):
    session = make_session()
    run = make_run(session)
    for seq in range(30):
        make_task(run, session, f"step-{seq:02}", seq=seq)
    page = text(get(support_client, url("detail", session.id)))
    assert "step-23 + 6" in page
    assert "step-24" not in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"output_data": None}, "The run failed: there was no answer."),
        ({"output_data": None, "duration_seconds": None}, "The run was interrupted"),
    ],
)
def test_an_unanswered_run_shows_its_status_in_place_of_the_answer(support_client, fields, words):
    session = make_session()
    run = make_run(session, **fields)
    make_message(session, content="Hello?", run_id=run.id)
    page = text(get(support_client, url("detail", session.id)))
    assert in_order(page, "Hello?", words)


def test_empty_messages_say_so_and_long_ones_are_cut(support_client):
    session = make_session()
    make_message(session, content="")
    make_message(session, content="y" * 3001)
    page = text(get(support_client, url("detail", session.id)))
    assert "(empty message)" in page
    assert "Show all 3,001 characters" in page
    assert "y" * 3000 in page
    assert "y" * 3001 not in page


def test_a_conversation_without_runs_and_messages_says_so(support_client):
    page = text(get(support_client, url("detail", make_session().id)))
    assert "Nothing was recorded" in page
    assert "No runs" in page


def test_the_link_back_to_the_list_keeps_the_filters(support_client):
    session = make_session()
    page = get(support_client, url("detail", session.id) + "?search=a%26b&after=1.a&agent=&evil=1")
    assert 'href="/conversations/?search=a%26b&amp;after=1.a"' in page.content.decode()


@pytest.mark.parametrize(("messages", "runs", "tasks"), [(1, 1, 1), (40, 10, 12)])
def test_the_number_of_queries_does_not_depend_on_the_size_of_the_conversation(
    support_client, messages, runs, tasks, django_assert_num_queries
):
    session = make_conversation(messages=messages, runs=runs, tasks=tasks)
    get(support_client, url("detail", session.id))
    # The session; whether another agent has its agent's name; ids and times of its runs and
    # messages; the runs and messages shown, and their steps; the next newer and next older
    # conversation, each under its own time limit; the totals of model calls.
    with django_assert_num_queries(16, connection=connections["agents"]):
        get(support_client, url("detail", session.id))


# A run


def test_tool_calls_are_nested_under_the_task_that_made_them(support_client):
    session = make_session()
    run = make_run(session)
    for seq, (name, parent) in enumerate(
        [
            ("begin", None),
            ("left", None),
            ("right", None),
            ("search", "left"),
            ("look", "right"),
            ("search", "left"),
            ("orphan", "nobody"),
            ("early", "later"),
            ("later", None),
        ]
    ):
        make_task(run, session, name, seq=seq, parent_task_name=parent)
    assert steps_of(get(support_client, url("run", session.id, run.id))) == [
        ("begin", 0),
        ("left", 0),
        ("search", 1),
        ("search", 1),
        ("right", 0),
        ("look", 1),
        ("orphan", 0),
        ("later", 0),
        ("early", 1),
    ]


def test_the_calls_of_an_agent_that_ran_twice_go_to_the_right_one(support_client):
    session = make_session()
    run = make_run(session)
    names = [("agent", None), ("a", "agent"), ("agent", None), ("b", "agent")]
    for seq, (name, parent) in enumerate(names):
        make_task(run, session, name, seq=seq, parent_task_name=parent)
    shown = steps_of(get(support_client, url("run", session.id, run.id)))
    assert [name for name, _ in shown] == ["agent", "a", "agent", "b"]


def test_calls_made_by_calls_are_nested_deeper(support_client):
    session = make_session()
    run = make_run(session)
    for seq, (name, parent) in enumerate([("a", None), ("b", "a"), ("c", "b"), ("d", "a")]):
        make_task(run, session, name, seq=seq, parent_task_name=parent)
    assert steps_of(get(support_client, url("run", session.id, run.id))) == [
        ("a", 0),
        ("b", 1),
        ("c", 2),
        ("d", 1),
    ]


def test_tasks_are_shown_even_if_each_names_the_other_as_its_caller(support_client):
    session = make_session()
    run = make_run(session)
    for seq, (name, parent) in enumerate([("a", "b"), ("b", "a"), ("a", "a")]):
        make_task(run, session, name, seq=seq, parent_task_name=parent)
    shown = steps_of(get(support_client, url("run", session.id, run.id)))
    assert sorted(name for name, _ in shown) == ["a", "a", "b"]


def test_a_task_is_found_under_its_own_conversation_only(support_client):
    session, other = make_session(), make_session()
    task = make_task(make_run(session), session)
    for name, *rest in (("task", task.id), ("payload", "tasks", task.id, "inputs")):
        get(support_client, url(name, session.id, *rest))
        get(support_client, url(name, other.id, *rest), status=404)


def test_a_task_that_names_itself_as_its_caller_is_still_shown(support_client):
    session = make_session()
    run = make_run(session)
    make_task(run, session, "loop", parent_task_name="loop")
    shown = steps_of(get(support_client, url("run", session.id, run.id)))
    assert [name for name, _ in shown] == ["loop"]


def test_failed_tasks_are_marked(support_client):
    session = make_session()
    run = make_run(session)
    make_task(run, session, "fine", seq=0)
    make_task(run, session, "bad", seq=1, errors=Json({"code": 1}))
    make_task(run, session, "tool", "tool_call", seq=2, output=Json({"result": "Error: offline"}))
    shown = get(support_client, url("run", session.id, run.id)).context["list"].steps
    assert [step.failed for step, _ in shown] == [False, True, True]


def test_the_steps_of_a_long_run_are_in_pages(support_client):
    session = make_session()
    run = make_run(session)
    for seq in range(205):
        make_task(run, session, f"step-{seq:03}", seq=seq)
    path = url("run", session.id, run.id)
    first = get(support_client, path)
    assert len(steps_of(first)) == 200
    assert f'href="{path}?from=200"' in first.content.decode()
    assert "More steps (5 left)" in text(first)
    rest = get(support_client, path + "?from=200", HTMX)
    assert steps_of(rest) == [(f"step-{n}", 0) for n in range(200, 205)]
    assert "More steps" not in text(rest)


@pytest.mark.parametrize("start", ["-1", "x", "9" * 5000, "%00", "１", "1.5", "2", "5000"])
def test_an_invalid_position_in_a_run_is_a_404(support_client, start):
    session = make_conversation()
    run = support_client.get(url("detail", session.id)).context["transcript"].entries[0].run
    get(support_client, url("run", session.id, run.pk) + f"?from={start}", status=404)


def test_a_run_without_tasks_says_so(support_client):
    session = make_session()
    run = make_run(session)
    assert "No steps were recorded" in text(get(support_client, url("run", session.id, run.id)))


@pytest.mark.parametrize("tasks", [2, 60])
def test_opening_a_run_reads_no_payload_whole(support_client, tasks, django_assert_num_queries):
    session = make_session()
    run = make_run(session)
    for seq in range(tasks):
        make_task(run, session, seq=seq, inputs=Json({"secret": seq}))
    path = url("run", session.id, run.id)
    get(support_client, path)
    # The run; its tasks; excerpts of those shown; the run's messages; its model calls and their
    # totals; the conversation, for the title.
    with django_assert_num_queries(7, connection=connections["agents"]) as captured:
        get(support_client, path)
    for query in captured:
        selected = query["sql"].split(" FROM ")[0]
        for column in ("inputs", "output", "prompt", "errors", "context", "request_data"):
            assert not re.search(rf'(SELECT|,) "\w+"\."{column}"', selected), column


# A task


@pytest.mark.parametrize(
    ("errors", "shown"),
    [
        (["first", "second"], '"first'),
        ("just text", "just text"),
        ({"code": 5, "why": "x"}, "why"),
        (42, "42"),
        (False, "false"),
        ("", "Errors"),
        ({}, "Errors"),
        ([None], "null"),
    ],
)
def test_errors_of_every_shape_are_shown(support_client, errors, shown):
    session = make_session()
    task = make_task(make_run(session), session, errors=Json(errors))
    page = main_of(get(support_client, url("task", session.id, task.id)))
    assert "Errors" in page
    assert shown.strip('"') in page


@pytest.mark.parametrize("errors", [None, NULL, Json([])])
def test_a_task_without_errors_has_no_errors_section(support_client, errors):
    session = make_session()
    task = make_task(make_run(session), session, errors=errors)
    assert "Errors" not in main_of(get(support_client, url("task", session.id, task.id)))


def test_a_task_shows_all_its_fields(support_client):
    session = make_session()
    task = make_task(
        make_run(session),
        session,
        "restart",
        "tool_call",
        duration_seconds="0.012",
        prompt="Please restart",
        inputs=Json({"args": {"serial": "SN-1"}}),
        output=Json({"result": "Error: offline"}),
        tool_uri="python://restart",
        parent_task_name="technical",
    )
    page = text(get(support_client, url("task", session.id, task.id)))
    for words in (
        "restart",
        "tool_call",
        "12 ms",
        "Please restart",
        "serial SN-1",
        "Error: offline",
        "The tool call failed",
        "python://restart",
        "Called by technical",
    ):
        assert words in page, words


def test_a_long_prompt_is_cut_and_can_be_downloaded_whole(support_client):
    session = make_session()
    task = make_task(make_run(session), session, prompt="p" * 500_000)
    page = get(support_client, url("task", session.id, task.id))
    assert len(page.content) < 30_000
    assert "Not all of it is shown" in text(page)
    path = url("payload_file", session.id, "tasks", task.id, "prompt")
    assert len(get(support_client, path).content) == 500_000
    assert 'prompt.txt"' in get(support_client, path + "?download")["Content-Disposition"]


def test_the_placeholder_of_a_payload_too_large_to_record_is_shown_as_it_is(support_client):
    session = make_session()
    value = {"truncated": True, "bytes": 5_000_000, "preview": "The first words"}
    task = make_task(make_run(session), session, output=Json(value))
    page = text(get(support_client, url("task", session.id, task.id)))
    assert "5000000" in page
    assert "The first words" in page


@pytest.mark.parametrize("shape", ["deep", "wide", "long", "huge number"])
def test_a_large_payload_is_cut_on_its_page_and_whole_in_its_file(support_client, shape):
    raw = {
        "deep": "[" * 2000 + "]" * 2000,
        "wide": json.dumps({f"key-{n}": n for n in range(20_000)}),
        "long": json.dumps("z" * 3_000_000),
        "huge number": "1" * 5000,
    }[shape]
    session = make_session()
    task = make_task(make_run(session), session, output=raw)
    response = get(support_client, url("task", session.id, task.id))
    assert len(response.content) < 150_000
    assert "Not all of it is shown" in text(response)
    if shape == "long":
        assert "z" * 4000 in text(response)
    response = get(support_client, url("payload_file", session.id, "tasks", task.id, "output"))
    assert response.content.decode().replace(" ", "") == raw.replace(" ", "")


@pytest.mark.parametrize("letter", ["x", "<", "\U0001f600"])
def test_raw_data_is_escaped_text_and_cut_to_the_size_of_a_page(support_client, letter):
    session = make_session()
    task = make_task(make_run(session), session, output=Json([letter * 500_000]))
    path = url("payload", session.id, "tasks", task.id, "output")
    page = get(support_client, path, HTMX, raw="")
    assert len(page.content) < 150_000
    assert "Not all of it is shown" in text(page)
    assert "[&quot;" in page.content.decode()
    assert "<<" not in page.content.decode()


def test_raw_data_of_a_small_payload_is_complete(support_client):
    session = make_session()
    task = make_task(make_run(session), session, output=Json({"a": [1, None]}))
    path = url("payload", session.id, "tasks", task.id, "output")
    page = text(get(support_client, path, HTMX, raw=""))
    assert "{&quot;a&quot;: [1, null]}" in page
    assert "Not all" not in page


# Payloads


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("runs", "input_data"),
        ("runs", "output_data"),
        ("runs", "context"),
        ("tasks", "inputs"),
        ("tasks", "output"),
        ("tasks", "errors"),
    ],
)
def test_each_payload_has_a_page_a_fragment_and_a_file(support_client, kind, field):
    session = make_session()
    run = make_run(session, **({field: Json({"k": "v"})} if kind == "runs" else {}))
    row = run
    if kind == "tasks":
        row = make_task(run, session, **{field: Json({"k": "v"})})
    path = url("payload", session.id, kind, row.id, field)
    page, fragment = get(support_client, path), get(support_client, path, HTMX)
    assert b"<html" in page.content
    assert fragment.content.strip().startswith(b'<div class="payload">')
    # A printout shows the second at which it was made.
    whole, part = (re.sub(rb"data-now>[^<]+", b"", each.content) for each in (page, fragment))
    assert part.strip() in whole
    file_path = url("payload_file", session.id, kind, row.id, field)
    raw = get(support_client, file_path)
    assert raw["Content-Type"] == "text/plain; charset=utf-8"
    assert json.loads(raw.content) == {"k": "v"}
    download = get(support_client, file_path + "?download")
    assert download["Content-Disposition"].startswith('attachment; filename="')
    assert json.loads(download.content) == {"k": "v"}


@pytest.mark.parametrize("value", [None, NULL])
def test_a_payload_without_a_value_says_so_and_its_file_is_null(support_client, value):
    session = make_session()
    run = make_run(session, context=value)
    assert "No value" in text(
        get(support_client, url("payload", session.id, "runs", run.id, "context"))
    )
    path = url("payload_file", session.id, "runs", run.id, "context")
    assert get(support_client, path).content == b"null"


# Pages, fragments and addresses


def pages_of(session, run, task):
    return {
        "detail": url("detail", session.id),
        "run": url("run", session.id, run.id),
        "task": url("task", session.id, task.id),
        "payload": url("payload", session.id, "runs", run.id, "context"),
    }


@pytest.mark.parametrize("name", ["detail", "run", "task", "payload"])
def test_a_fragment_is_part_of_its_page(support_client, name):
    # Old enough that the page and the fragment both say "2 days ago".
    session = make_session(updated_at=timezone.now() - timedelta(days=2, hours=12))
    run = make_run(session, context=Json({"a": 1}))
    task = make_task(run, session, inputs=Json([1]))
    path = pages_of(session, run, task)[name]
    page, fragment = get(support_client, path), get(support_client, path, HTMX)
    restored = get(support_client, path, {**HTMX, "HX-History-Restore-Request": "true"})
    assert b"<html" not in fragment.content
    # Each printout says when it was made.
    whole, part = (VARIES.sub("", each.content.decode()) for each in (page, fragment))
    assert part.strip() in whole
    assert b"<html" in restored.content
    for response in (page, fragment, restored):
        assert "HX-Request" in response["Vary"]


def test_rows_of_another_conversation_are_a_404(support_client):
    mine, other = make_session(), make_session()
    run = make_run(other)
    task = make_task(run, other)
    paths = pages_of(mine, run, task)
    paths["detail"] = url("detail", uuid.uuid4())
    for path in paths.values():
        assert "Nothing at this address" in text(get(support_client, path, status=404))


@pytest.mark.parametrize(
    "path",
    [
        "/conversations/x/",
        "/conversations/123/",
        "/conversations/00000000-0000-0000-0000-00000000000g/",
        f"/conversations/{uuid.UUID(int=0)}/runs/x/",
        f"/conversations/{uuid.UUID(int=0)}/tasks/{uuid.UUID(int=0)}/",
        f"/conversations/{uuid.UUID(int=0)}/runs/{uuid.UUID(int=0)}/",
        f"/conversations/{uuid.UUID(int=0)}/runs/{uuid.UUID(int=0)}/session_id/",
        f"/conversations/{uuid.UUID(int=0)}/agents/{uuid.UUID(int=0)}/name/",
        f"/conversations/{uuid.UUID(int=0)}/tasks/{uuid.UUID(int=0)}/name/raw/",
        "/conversations/%00/",
        "/nowhere/",
    ],
)
def test_unknown_and_invalid_addresses_show_our_404_page(support_client, path):
    page = get(support_client, path, status=404)
    assert "Nothing at this address" in text(page)
    assert b"app.css" in page.content


# Older revisions


@pytest.mark.parametrize("number", ["0002", "0003", "0004", "0005", "0006"])
def test_every_page_works_at_every_revision(support_client, at_revision, number):
    session = make_session(external_id="t")
    run = make_run(session, output_data=None)
    task = make_task(run, session, "call", "tool_call", output=Json({"result": "Error: x"}))
    make_message(session, run_id=run.id)
    at_revision(number)
    response = get(support_client, "/conversations/?problem=tool_error&search=hello")
    [row] = response.context["rows"]
    assert dict(row.problems)["tool_error"] == 1
    status = "failed" if number >= "0006" else "incomplete"
    assert row.status == status
    choices = dict(response.context["filter"].form.fields["problem"].choices)
    assert ("failed" in choices) == (number >= "0006")
    assert ("incomplete" in choices) == (number < "0006")
    assert ("model_error" in choices) == (number >= "0005")
    assert status.title() in text(get(support_client, url("detail", session.id)))
    for path in pages_of(session, run, task).values():
        get(support_client, path)
