"""Above the messages: what the customer got, and what had been done before a run failed."""

import re
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from conversations.agentdb import revision
from conversations.detail import tries as module
from conversations.detail.tries import done_in, tries

from ..support.factories import (
    NULL,
    Json,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..support.pages import LIST, get, text, words
from ..support.payloads import PAYLOADS
from ..support.signing_in import let_in, make_user

pytestmark = pytest.mark.django_db

FAILED = {"output_data": None}
BOOKED = "Booked 1 December 08:00–10:00"
BEGAN = timezone.now() - timedelta(days=1)


def page_of(client, session, query=""):
    return get(client, f"{LIST}{session.id}/{query}")


def run_page(client, run, query=""):
    return get(client, f"{LIST}{run.session_id}/runs/{run.id}/{query}")


def call(run, session, name="book_technician", args=None, result=BOOKED, seq=1, **fields):
    inputs = {"args": {"day": "1 December"} if args is None else args, "step": 0, "call_id": "c1"}
    values = {"inputs": Json(inputs), "output": Json({"result": result}), "seq": seq, **fields}
    return make_task(run, session, name, "tool_call", **values)


def done_section(page) -> list[str]:
    """The lines of the section on what had been done."""
    [section] = re.findall(
        r'<section class="done-before[^"]*">(.*?)</section>', page.content.decode(), re.DOTALL
    )
    lines = re.findall(r"<(?:h2|li|p)>(.*?)</(?:h2|li|p)>", section, re.DOTALL)
    # Tags within a line add no spaces.
    return [words(re.sub(r"</?(?:bdi|a)\b[^>]*>", "", each)) for each in lines]


HEADING = "What had been done before it failed"
LINE = f"book_technician(day: 1 December) → {BOOKED}"


def test_the_section_is_above_the_messages_on_the_runs_page_and_in_print(support_client):
    session = make_session()
    run = make_run(session, **FAILED)
    make_message(session, run_id=run.id)
    task = call(run, session)
    page = page_of(support_client, session)
    assert done_section(page) == [HEADING, LINE]
    html = page.content.decode()
    assert "The customer got no answer." in html
    assert html.index("The customer got no answer.") < html.index(HEADING)
    assert html.index(HEADING) < html.index('id="transcript"')
    assert f'href="{LIST}{session.id}/tasks/{task.id}/"' in html
    assert done_section(run_page(support_client, run)) == [HEADING, LINE]
    assert done_section(get(support_client, f"{LIST}{session.id}/print/")) == [HEADING, LINE]


def test_the_section_lists_the_calls_of_all_tries_since_the_last_answer(support_client):
    session = make_session()
    for number, (name, fields) in enumerate(
        [("before", {}), ("first", FAILED), ("second", FAILED), ("after", {})]
    ):
        run = make_run(session, **fields, created_at=BEGAN + timedelta(minutes=number))
        # Written in the opposite order to seq.
        call(run, session, f"{name}_b", seq=2)
        call(run, session, f"{name}_a", seq=1)
        call(run, session, f"{name}_failed", result="Error: offline", seq=3)
        call(run, session, f"{name}_task_error", seq=4, errors=Json(["x"]))
        make_task(run, session, "classify", "llm", output=Json({"a": "b"}), seq=5)
        if fields:
            failed = run
    page = page_of(support_client, session)
    assert "The customer got an answer later, after 2 more tries." in text(page)
    heading, *lines = done_section(page)
    assert heading == f"{HEADING}, in 2 tries"
    names = ["first_a", "first_b", "second_a", "second_b"]
    assert [line.partition("(")[0] for line in lines] == names
    assert done_section(run_page(support_client, failed)) == [heading, *lines]
    [first] = tries(session.id).last()[:1]
    of_first = done_section(get(support_client, f"{LIST}{session.id}/runs/{first}/"))
    assert [line.partition("(")[0] for line in of_first] == [HEADING, "first_a", "first_b"]
    assert "done-before" not in run_page(support_client, run).content.decode()


def test_workflow_steps_that_call_a_tool_are_listed(support_client):
    session = make_session()
    run = make_run(session, **FAILED)
    make_task(
        run,
        session,
        "send_mail",
        "function",
        inputs=Json({"to": "ops"}),
        output=Json({"id": 7}),
        errors=None,
        seq=1,
    )
    assert done_section(page_of(support_client, session)) == [HEADING, "send_mail(to: ops) → id: 7"]


def test_arguments_and_results_are_cut_to_eighty_characters(support_client):
    session = make_session()
    run = make_run(session, **FAILED)
    call(run, session, args={"q": "x" * 200}, result="y" * 80, seq=1)
    call(run, session, args={}, result="z" * 81, seq=2)
    lines = done_section(page_of(support_client, session))[1:]
    assert lines == [
        f"book_technician(q: {'x' * 77}…) → {'y' * 80}",
        f"book_technician() → {'z' * 80}…",
    ]


@pytest.mark.parametrize("nothing", [None, NULL])
def test_missing_arguments_and_results_are_noted(support_client, nothing):
    session = make_session()
    run = make_run(session, **FAILED)
    call(run, session, inputs=nothing, output=nothing)
    assert done_section(page_of(support_client, session)) == [
        HEADING,
        "book_technician (no arguments were recorded) → its result was not recorded",
    ]


def test_it_says_so_if_nothing_had_been_done(support_client):
    session = make_session()
    run = make_run(session, **FAILED)
    call(run, session, result="Error: offline")
    lines = done_section(page_of(support_client, session))
    assert lines == [HEADING, "Nothing: no tool call had succeeded."]


def test_it_says_so_if_no_steps_were_recorded(support_client):
    session = make_session()
    make_run(session, **FAILED)
    lines = [HEADING, "Unknown: no steps were recorded."]
    assert done_section(page_of(support_client, session)) == lines
    second = make_run(session, **FAILED)
    call(second, session)
    assert done_section(page_of(support_client, session)) == [
        f"{HEADING}, in 2 tries",
        LINE,
        "No steps were recorded for 1 of these tries, so more may have been done.",
    ]


def test_it_says_so_if_the_runtime_did_not_record_tool_calls(support_client, at_revision):
    session = make_session()
    run = make_run(session, **FAILED)
    # Written before an upgrade, so without seq.
    make_task(run, session, "classify", "llm")
    why = "at that time, the runtime did not record which tools its agents called."
    assert done_section(page_of(support_client, session)) == [HEADING, f"Unknown: {why}"]
    at_revision("0003")
    assert done_section(page_of(support_client, session)) == [HEADING, f"Unknown: {why}"]
    task = {"name": "look_up", "node_type": "tool_call", "output": Json({"result": "found"})}
    make_task(run, session, inputs=Json({"args": {}}), **task)
    assert done_section(page_of(support_client, session)) == [
        HEADING,
        "look_up() → found",
        f"There may have been more: {why}",
    ]


def test_calls_beyond_the_first_ones_are_counted(support_client, monkeypatch):
    monkeypatch.setattr(module, "CALLS_SHOWN", 3)
    session = make_session()
    run = make_run(session, **FAILED)
    for number in range(8):
        call(run, session, f"tool_{number}", args={}, result="ok", seq=number)
    assert done_section(page_of(support_client, session)) == [
        HEADING,
        *(f"tool_{number}() → ok" for number in range(3)),
        "5 more tool calls succeeded.",
    ]


def test_personal_data_in_calls_is_masked(client, settings):
    settings.MASK_PERSONAL_DATA = True
    session = make_session()
    run = make_run(session, **FAILED)
    call(run, session, args={"to": "ella.quist@example.com"}, result="Sent to +372 5555 1234")
    let_in(client, make_user("viewer", "Viewer"))
    for page in (page_of(client, session), run_page(client, run)):
        html = page.content.decode()
        assert "ella.quist" not in html
        assert not re.search(r"5555\s*1234", html)
        assert "book_technician" in html


@pytest.mark.parametrize("first", range(0, len(PAYLOADS), module.CALLS_SHOWN))
def test_hostile_text_stays_text(support_client, first):
    payloads = PAYLOADS[first : first + module.CALLS_SHOWN]
    session = make_session()
    run = make_run(session, **FAILED)
    for number, payload in enumerate(payloads):
        call(run, session, payload, args={payload: payload}, result=payload, seq=number)
    make_model_call(session, run, response_code=None, model=payloads[0], response_data=Json("<b>"))
    for page in (page_of(support_client, session), run_page(support_client, run)):
        assert len(done_section(page)) == len(payloads) + 1
        html = page.content.decode().lower()
        assert not re.search(r"<(script>|img|svg onload|iframe|math|style)", html)


def test_a_conversation_without_problems_has_no_such_section(support_client):
    session = make_session()
    make_run(session)
    make_run(session, output_data=None, duration_seconds=None, created_at=timezone.now())
    html = page_of(support_client, session).content.decode()
    assert "The customer" not in html
    assert "done-before" not in html


@pytest.mark.parametrize("size", [1, 40])
def test_tries_and_calls_take_one_query_each(django_assert_num_queries, size):
    session = make_session()
    for _ in range(size):
        run = make_run(session, **FAILED)
        call(run, session)
    revision.has_task_order()
    with django_assert_num_queries(1, connection=connections["agents"]):
        found = tries(session.id, "any")
    with django_assert_num_queries(1, connection=connections["agents"]):
        assert len(done_in(session.id, found.last()).calls) == size


# Arriving from a problem


def test_a_list_of_problems_links_to_the_newest_run_with_the_problem(support_client):
    session = make_session()
    runs = [make_run(session, created_at=BEGAN + timedelta(minutes=n)) for n in range(3)]
    for run in runs:
        make_message(session, run_id=run.id)
    for run in runs[:2]:
        call(run, session, result="Error: offline")
    html = get(support_client, problem="tool_error").content.decode()
    assert f'href="{LIST}{session.id}/?problem=tool_error#problem"' in html
    assert "#problem" not in get(support_client).content.decode()
    html = page_of(support_client, session, "?problem=tool_error").content.decode()
    assert html.count('id="problem"') == 1
    [before, after] = html.split('id="problem"')
    assert f'id="run-{runs[1].id}"' in before
    assert f'id="run-{runs[2].id}"' in after
    assert 'id="problem"' not in page_of(support_client, session).content.decode()
    # Filtered by a problem that the conversation does not have.
    assert (
        'id="problem"' not in page_of(support_client, session, "?problem=failed").content.decode()
    )


@pytest.mark.parametrize("kind", ["any", "failed", "model_error", "tool_error", "task_error"])
def test_a_long_conversation_opens_at_the_problem(support_client, kind):
    session = make_session()
    for number in range(130):
        run = make_run(session, **(FAILED if number == 60 else {}))
        make_message(session, content=f"needle {number}", run_id=run.id)
        if number == 60:
            sought = run
            make_model_call(session, run, response_code=500)
            call(run, session, result="Error: offline")
            make_task(run, session, errors=Json("x"))
    for query in (f"?problem={kind}", f"?problem={kind}&search=needle"):
        html = page_of(support_client, session, query).content.decode()
        [before, _] = html.split('id="problem"')
        assert f'id="run-{sought.id}"' in before
    # A run named in the URL takes precedence.
    html = page_of(support_client, session, f"?problem={kind}&run={run.id}").content.decode()
    assert f'id="run-{run.id}"' in html
