"""The Python contract of conversations/sessions.py."""

import uuid
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from conversations.sessions import get_session_details, get_sessions_summary

from ..support.factories import (
    NULL,
    Json,
    make_agent,
    make_conversation,
    make_message,
    make_run,
    make_session,
    make_task,
)

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 6, 1, 12, tzinfo=ZoneInfo("UTC"))


def ids(**filters):
    return [summary.session_id for summary in get_sessions_summary(**filters)["sessions"]]


def test_a_summary_has_every_field():
    agent = make_agent("Shop")
    session = make_session(agent, external_id="ticket-1", created_at=NOON)
    run = make_run(session)
    make_task(run, session)
    make_task(run, session, errors=Json(["broken"]))
    make_message(session, content="First", created_at=NOON)
    make_message(session, "assistant", "Middle", created_at=NOON + timedelta(seconds=1))
    make_message(session, content="Last", created_at=NOON + timedelta(seconds=2))
    [summary] = get_sessions_summary()["sessions"]
    assert vars(summary) == {
        "session_id": session.id,
        "agent_id": agent.id,
        "agent_name": "Shop",
        "external_id": "ticket-1",
        "runs_count": 1,
        "tasks_count": 2,
        "messages_count": 3,
        "first_message": "First",
        "last_message": "Last",
        "errors_count": 1,
        "created_at": NOON,
        "updated_at": NOON,
    }


def test_a_session_with_nothing_has_zeros_and_no_messages():
    make_session()
    [summary] = get_sessions_summary()["sessions"]
    assert (summary.runs_count, summary.tasks_count, summary.messages_count) == (0, 0, 0)
    assert (summary.first_message, summary.last_message) == (None, None)
    assert summary.errors_count == 0


def test_counts_do_not_multiply_each_other():
    make_conversation(messages=5, runs=3, tasks=4)
    [summary] = get_sessions_summary()["sessions"]
    assert (summary.messages_count, summary.runs_count, summary.tasks_count) == (5, 3, 12)


def test_messages_in_a_summary_are_whole():
    session = make_session()
    make_message(session, content="x" * 60_000)
    [summary] = get_sessions_summary()["sessions"]
    assert len(summary.first_message) == len(summary.last_message) == 60_000


@pytest.mark.parametrize(
    ("errors", "counts"),
    [
        (None, 0),
        (NULL, 0),
        (Json([]), 0),
        (Json(["boom"]), 1),
        (Json([None]), 1),
        (Json([[]]), 1),
        (Json("boom"), 1),
        (Json(""), 1),
        (Json({}), 1),
        (Json({"message": "boom"}), 1),
        (Json(42), 1),
        (Json(0), 1),
        (Json(False), 1),
        (Json(True), 1),
    ],
)
def test_errors_count_by_the_original_rule(errors, counts):
    session = make_session()
    make_task(make_run(session), session, errors=errors)
    assert get_sessions_summary()["sessions"][0].errors_count == counts


def test_an_external_id_is_a_prefix_and_stands_after_the_search():
    agent = make_agent()
    wanted = [
        make_session(agent, external_id=name).id for name in ("eval:a:1", "eval:a%", "eval:a")
    ]
    for name in ("eval:b", "Eval:a", "xeval:a", None, ""):
        make_session(agent, external_id=name)
    assert set(ids(external_id="eval:a")) == set(wanted)
    assert ids(external_id="eval:a%") == [wanted[1]]
    assert ids(external_id="\0") == []
    assert len(ids(external_id="")) == 8
    make_message(make_session(agent, external_id="eval:a:2"), content="Needle")
    found = get_sessions_summary(None, "needle", "eval:a:2")
    assert found["total_count"] == 1
    assert get_sessions_summary(None, "needle", "eval:b")["total_count"] == 0


def test_newest_activity_comes_first_and_the_id_breaks_ties():
    agent = make_agent()
    low, high = sorted(uuid.uuid4() for _ in range(2))
    make_session(agent, id=low, updated_at=NOON)
    make_session(agent, id=high, updated_at=NOON)
    newest = make_session(agent, created_at=NOON, updated_at=NOON + timedelta(microseconds=1))
    assert ids() == [newest.id, high, low]


def test_limit_and_offset_page_through_an_exact_total():
    agent = make_agent()
    made = [make_session(agent, updated_at=NOON - timedelta(minutes=n)).id for n in range(5)]
    response = get_sessions_summary(limit=2, offset=2)
    assert [summary.session_id for summary in response["sessions"]] == made[2:4]
    assert response["total_count"] == 5


@pytest.mark.parametrize("offset", [5, 6, 10**30])
def test_an_offset_past_the_end_gives_nothing_but_the_total(offset):
    agent = make_agent()
    for _ in range(5):
        make_session(agent)
    assert get_sessions_summary(offset=offset) == {"sessions": [], "total_count": 5}


@pytest.mark.parametrize("limit", [0, 10**30])
def test_any_limit_is_fine(limit):
    make_session()
    assert len(get_sessions_summary(limit=limit)["sessions"]) == min(limit, 1)


@pytest.mark.parametrize("wrong", [{"limit": -1}, {"offset": -1}, {"agent_id": "x"}])
def test_invalid_arguments_are_a_value_error(wrong):
    with pytest.raises(ValueError):  # noqa: PT011
        get_sessions_summary(**wrong)


def test_an_agent_filter_takes_a_uuid_or_its_text():
    one, _ = make_session(), make_session()
    assert ids(agent_id=one.agent_id) == ids(agent_id=str(one.agent_id)) == [one.id]
    assert ids(agent_id=uuid.uuid4()) == []


@pytest.mark.parametrize(
    ("search", "content"),
    [
        ("refund", "I want a REFUND now"),
        ("REFUND", "i want a refund"),
        ("õun", "ÕUN ja PIRN"),
        ("100%", "save 100% today"),
        ("_literal_", "a _literal_ word"),
        ("\\", "back\\slash"),
        ("%_\\", "odd %_\\ end"),
        ("'; DROP TABLE", "x'; drop table y"),
    ],
)
def test_search_is_a_literal_substring_without_case(search, content):
    found, other = make_session(), make_session()
    make_message(found, content=content)
    make_message(other, content="save 1000 todaay, a xliteralx word, back/slash, oun")
    assert ids(search=search) == [found.id]


@pytest.mark.slow
def test_any_part_of_what_is_stored_is_found_escapes_included():
    stored = '{"v": "t\\u00fchi \\ud83d\\ude00x"} C:\\users 100% a_b  İß ﬁ'
    session = make_session()
    make_message(session, "assistant", stored)
    for start in range(len(stored)):
        for end in (start + 1, start + 3, start + 6, start + 9):
            assert ids(search=stored[start:end]) == [session.id], stored[start:end]


def test_search_looks_at_every_message_and_lists_a_session_once():
    session = make_session()
    for content in ("needle one", "hay", "needle two"):
        make_message(session, content=content)
    assert ids(search="needle") == [session.id]
    assert get_sessions_summary(search="needle")["total_count"] == 1


@pytest.mark.parametrize("search", ["\0", "a\0b", "\ud800"])
def test_search_for_unstorable_text_finds_nothing(search):
    make_message(make_session(), content="ab")
    assert ids(search=search) == []


def test_empty_search_is_no_filter():
    make_session()
    assert len(ids(search="")) == 1


def test_dates_bound_created_at_and_include_both_ends():
    session = make_session(created_at=NOON, updated_at=NOON + timedelta(days=30))
    tick = timedelta(microseconds=1)
    assert ids(start_date=NOON, end_date=NOON) == [session.id]
    assert ids(start_date=NOON + tick) == []
    assert ids(end_date=NOON - tick) == []


def test_a_date_includes_its_whole_day_in_the_current_time_zone():
    with timezone.override("Europe/Tallinn"):
        last = datetime(2026, 6, 1, 23, 59, 59, 999_999, tzinfo=ZoneInfo("Europe/Tallinn"))
        session = make_session(created_at=last)
        day = date(2026, 6, 1)
        assert ids(start_date=day, end_date=day) == [session.id]
        assert ids(start_date=day + timedelta(days=1)) == []
        assert ids(end_date=day - timedelta(days=1)) == []


def test_filters_narrow_together():
    session = make_session(created_at=NOON)
    make_message(session, content="needle")
    match = {"agent_id": session.agent_id, "search": "needle", "start_date": NOON}
    assert ids(**match) == [session.id]
    assert ids(**{**match, "search": "other"}) == []


@pytest.mark.parametrize("sessions", [1, 30])
def test_a_page_costs_two_queries_however_long_it_is(sessions, django_assert_num_queries):
    from django.db import connections

    agent = make_agent()
    for _ in range(sessions):
        make_conversation(agent=agent, messages=3, runs=2)
    get_sessions_summary()
    with django_assert_num_queries(2, connection=connections["agents"]):
        assert len(ids()) == sessions


# Details


def test_an_unknown_session_has_empty_lists():
    details = get_session_details(uuid.uuid4())
    assert (details.messages, details.runs, details.tasks) == ([], [], [])


def test_a_malformed_session_id_is_a_value_error():
    with pytest.raises(ValueError, match="UUID"):
        get_session_details("nonsense")


def test_details_have_every_field():
    session = make_session()
    run = make_run(
        session,
        input_data=Json({"a": [1]}),
        output_data=Json("text"),
        context=Json([1.5, None]),
        duration_seconds="2.25",
    )
    task = make_task(
        run,
        session,
        name="call",
        node_type="tool_call",
        inputs=Json({"q": "ä"}),
        output=Json({"result": "ok"}),
        errors=Json("bad"),
        prompt="Do it",
        seq=3,
        parent_task_name="agent",
        tool_uri="python://call",
    )
    message = make_message(session, run_id=run.id)
    details = get_session_details(str(session.id))
    assert details.session_id == session.id
    [run_row], [task_row], [message_row] = details.runs, details.tasks, details.messages
    assert vars(run_row) == {
        "id": run.id,
        "session_id": session.id,
        "input_data": {"a": [1]},
        "output_data": "text",
        "context": [1.5, None],
        "tasks_count": 1,
        "duration_seconds": 2.25,
        "created_at": run.created_at,
        "updated_at": run.updated_at,
    }
    assert isinstance(run_row.duration_seconds, float)
    assert vars(task_row) == {
        "id": task.id,
        "agent_id": session.agent_id,
        "session_id": session.id,
        "run_id": run.id,
        "inputs": {"q": "ä"},
        "output": {"result": "ok"},
        "name": "call",
        "node_type": "tool_call",
        "prompt": "Do it",
        "errors": "bad",
        "duration_seconds": 0.5,
        "seq": 3,
        "parent_task_name": "agent",
        "tool_uri": "python://call",
        "created_at": task.created_at,
        "updated_at": task.updated_at,
    }
    assert vars(message_row) == {
        "id": message.id,
        "agent_id": session.agent_id,
        "session_id": session.id,
        "run_id": run.id,
        "role": "user",
        "content": "Hello",
        "created_at": message.created_at,
        "updated_at": message.updated_at,
    }


def test_tasks_follow_their_runs_then_seq_with_nulls_last_then_time_then_id():
    session = make_session()
    later = make_run(session, created_at=NOON + timedelta(hours=1))
    earlier = make_run(session, created_at=NOON)
    low, high = sorted(uuid.uuid4() for _ in range(2))
    make_task(later, session, "only", seq=0, created_at=NOON)
    make_task(earlier, session, "no seq, late", created_at=NOON + timedelta(seconds=9))
    make_task(earlier, session, "tie, high id", id=high, created_at=NOON)
    make_task(earlier, session, "tie, low id", id=low, created_at=NOON)
    make_task(earlier, session, "second", seq=1, created_at=NOON - timedelta(hours=1))
    make_task(earlier, session, "first", seq=0, created_at=NOON + timedelta(hours=2))
    assert [task.name for task in get_session_details(session.id).tasks] == [
        "first",
        "second",
        "tie, low id",
        "tie, high id",
        "no seq, late",
        "only",
    ]


def test_json_null_and_sql_null_both_read_as_none():
    session = make_session()
    run = make_run(session, output_data=None, context=NULL)
    make_task(run, session, inputs=NULL, output=None)
    details = get_session_details(session.id)
    assert details.runs[0].output_data is None
    assert details.runs[0].context is None
    assert details.tasks[0].inputs is None
    assert details.tasks[0].output is None


def test_nesting_deeper_than_the_interpreter_recurses_is_read():
    session = make_session()
    depth = 3000
    run = make_run(session, context="[" * depth + "]" * depth)
    value = get_session_details(session.id).runs[0].context
    found = 1
    while value:
        [value] = value
        found += 1
    assert found == depth
    assert run.id


# Older revisions


@pytest.mark.parametrize("number", ["0002", "0003", "0004", "0005", "0006"])
def test_every_revision_answers_with_none_for_what_it_lacks(at_revision, number):
    session = make_conversation(messages=2, runs=1, tasks=1)
    at_revision(number)
    [summary] = get_sessions_summary(search="message")["sessions"]
    assert (summary.runs_count, summary.tasks_count, summary.messages_count) == (1, 1, 2)
    details = get_session_details(session.id)
    assert details.tasks[0].seq == (0 if number >= "0004" else None)
    assert details.tasks[0].tool_uri is None
    assert details.runs[0].duration_seconds == (1.5 if number >= "0006" else None)


def test_an_end_that_occurs_twice_is_the_later_one():
    twice = [datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1)]
    made = [make_session(created_at=at) for at in twice]
    half_past = datetime.fromisoformat("2026-10-25T02:30")
    with timezone.override("Europe/Berlin"):
        assert set(ids(start_date=half_past, end_date=half_past)) == {each.id for each in made}
        assert ids(start_date=half_past.replace(fold=1), end_date=half_past) == [made[1].id]
    # At midnight, clocks go back an hour, so the day's last hour occurs twice.
    last = make_session(created_at=datetime(2026, 10, 29, 21, 30, tzinfo=UTC))
    with timezone.override("Africa/Cairo"):
        assert ids(start_date=date(2026, 10, 29), end_date=date(2026, 10, 29)) == [last.id]
    for end in (date.max, datetime.fromisoformat("9999-12-31T23:59:59.999999")):
        with timezone.override("America/New_York"):
            assert len(ids(end_date=end)) == 3
