import re
import uuid
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connections
from django.urls import reverse
from django.utils import timezone

from conversations.models import Session
from conversations.selection.conditions import has_problem
from conversations.selection.pagination import Cursor

from ..support.factories import (
    NULL,
    Json,
    make_agent,
    make_conversation,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..support.listing import listed, match
from ..support.pages import HTMX, LIST, get, text

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 6, 1, 12, tzinfo=ZoneInfo("UTC"))


# Rows


def test_a_row_shows_what_staff_need_and_links_to_the_conversation(support_client):
    now = timezone.now()
    session = make_session(
        make_agent("Shop & co"),
        external_id="ticket-7",
        created_at=now - timedelta(days=3),
        updated_at=now - timedelta(minutes=5),
    )
    run = make_run(session, output_data=None)
    make_task(run, session)
    make_message(session, content="Where is it?")
    make_message(session, content="Hello?")
    make_model_call(session, run, response_code=None)
    page = get(support_client)
    html = page.content.decode()
    assert f'href="{reverse("conversations:detail", args=[session.id])}"' in html
    shown = text(page)
    for words in (
        "Shop &amp; co",
        "ticket-7",
        "Where is it?",
        "Hello?",
        "1 run ",
        "1 task ",
        "2 messages",
        "0 errors",
        "Failed",
        "1 model call failed",
        "5\xa0minutes ago".replace("\xa0", " "),
        "created 3 days ago",
    ):
        assert words in shown, words
    assert re.search(r'<time datetime="[^"]+" title="\d+ \w+ \d{4}, [\d:]+ UTC">', html)


def test_messages_are_cut_in_sql(support_client):
    make_message(make_session(), content="x" * 250)
    [row] = get(support_client).context["rows"]
    assert row.first_message == row.last_message == "x" * 200


def test_newest_activity_comes_first_and_the_id_breaks_ties(support_client):
    agent = make_agent()
    low, high = sorted(uuid.uuid4() for _ in range(2))
    make_session(agent, id=low, updated_at=NOON)
    make_session(agent, id=high, updated_at=NOON)
    newest = make_session(agent, created_at=NOON, updated_at=NOON + timedelta(microseconds=1))
    assert listed(get(support_client)) == [newest.id, high, low]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "completed"),
        ({"output_data": None}, "failed"),
        ({"output_data": NULL}, "failed"),
        ({"output_data": None, "duration_seconds": None}, "interrupted"),
        ({"output_data": NULL, "duration_seconds": None}, "interrupted"),
        (
            {"output_data": None, "duration_seconds": None, "created_at": timezone.now()},
            "running",
        ),
    ],
)
def test_the_status_is_the_last_runs(support_client, fields, status):
    session = make_session()
    make_run(session, created_at=NOON, output_data=None)
    make_run(session, **fields)
    [row] = get(support_client).context["rows"]
    assert row.status == status


def test_an_empty_answer_is_an_answer(support_client):
    session = make_session()
    run = make_run(session, output_data=None)
    make_message(session, "assistant", "", run_id=run.id)
    [row] = get(support_client).context["rows"]
    assert row.status == "completed"
    assert row.problems == []


@pytest.mark.parametrize("sign", ["task", "model call"])
def test_a_silent_run_whose_steps_go_on_is_running(support_client, sign):
    session = make_session()
    run = make_run(session, output_data=None, duration_seconds=None, created_at=NOON)
    if sign == "task":
        make_task(run, session, created_at=timezone.now())
    else:
        make_model_call(session, run, created_at=timezone.now())
    assert get(support_client).context["rows"][0].status == "running"


def test_problems_are_told_apart_and_counted(support_client):
    session = make_session()
    failed = make_run(session, output_data=None, created_at=NOON)
    make_run(session, output_data=None, duration_seconds=None, created_at=NOON)
    make_run(session)
    for code in (None, 429, 500, 200, 399):
        make_model_call(session, failed, response_code=code)
    for result in ("Error: offline", "Error:", "error: no", "fine", 42, None):
        make_task(failed, session, node_type="tool_call", output=Json({"result": result}))
    make_task(failed, session, node_type="llm", output=Json({"result": "Error: not a tool"}))
    make_task(failed, session, errors=Json("boom"))
    [row] = get(support_client).context["rows"]
    assert dict(row.problems) == {
        "failed": 1,
        "interrupted": 1,
        "model_error": 3,
        "tool_error": 2,
        "task_error": 1,
    }
    assert row.errors_count == 1


# Pages


def test_pages_of_fifty_follow_each_other_without_gap_or_repeat(support_client):
    agent = make_agent()
    times = [NOON - timedelta(minutes=n // 7) for n in range(120)]
    made = [make_session(agent, updated_at=moment) for moment in times]
    expected = [s.id for s in sorted(made, key=lambda s: (s.updated_at, s.id), reverse=True)]
    seen, query = [], ""
    for size in (50, 50, 20):
        page = get(support_client, LIST + query)
        assert len(listed(page)) == size
        seen += listed(page)
        older = re.search(r'rel="next" href="([^"]+)"', page.content.decode())
        query = older[1].replace("&amp;", "&") if older else None
    assert query is None
    assert seen == expected


def test_exactly_fifty_have_no_older_page(support_client):
    agent = make_agent()
    for _ in range(50):
        make_session(agent)
    page = get(support_client)
    assert len(listed(page)) == 50
    assert page.context["next_cursor"] == ""


def test_older_pages_keep_the_filters_and_lead_back_to_the_newest(support_client):
    agent = make_agent()
    for _ in range(60):
        make_session(agent)
    page = get(support_client, f"{LIST}?agent={agent.id}")
    older = f"?agent={agent.id}&amp;after={page.context['next_cursor']}"
    assert f'href="{older}"' in page.content.decode()
    page = get(support_client, LIST + older.replace("&amp;", "&"))
    assert f'href="?agent={agent.id}"' in page.content.decode()
    assert page.context["total"] == {"exact": 60}
    assert "60 conversations" in text(page)


def test_a_cursor_whose_row_is_gone_still_marks_its_place(support_client):
    agent = make_agent()
    old = make_session(agent, updated_at=NOON)
    make_session(agent, updated_at=NOON + timedelta(hours=2))
    cursor = Cursor(NOON + timedelta(hours=1), uuid.uuid4())
    assert listed(get(support_client, f"{LIST}?after={cursor}")) == [old.id]


def test_behind_the_last_row_the_page_says_so(support_client):
    make_session(updated_at=NOON)
    page = get(support_client, f"{LIST}?after={Cursor(NOON - timedelta(days=1), uuid.uuid4())}")
    assert "No older conversations" in text(page)
    assert "Newest" in text(page)


@pytest.mark.parametrize(
    "after",
    [
        "x",
        "1",
        "1.",
        ".0",
        "1.zz",
        "1." + "0" * 31,
        "1." + "0" * 33,
        "1." + "G" * 32,
        "9" * 18 + "." + "0" * 32,
        "9" * 5000 + "." + "0" * 32,
        "-" + "9" * 18 + "." + "0" * 32,
        "１." + "0" * 32,
        "1.0%00" + "0" * 30,
        "2026-11-23T00:00:00+25:00." + "0" * 32,
        "1e5." + "0" * 32,
        " 1." + "0" * 32,
        "1." + "0" * 32 + "%0A",
    ],
)
@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_malformed_cursor_is_a_400_page(support_client, after, headers):
    make_session()
    response = get(support_client, f"{LIST}?after={after}", headers=headers, status=400)
    assert "This address is not valid" in text(response)


# Filters


def test_filter_by_agent(support_client):
    one, _ = make_session(), make_session()
    assert match(support_client, agent=one.agent_id) == [one.id]


@pytest.mark.parametrize("search", ["100%", "_x_", "b\\s", "ÕUN"])
def test_search_treats_wildcards_as_letters(support_client, search):
    found, other = make_session(), make_session()
    make_message(found, content="100% _x_ b\\s õun")
    make_message(other, content="1000 yxy b/s oun")
    assert match(support_client, search=search) == [found.id]


def test_external_id_matches_its_beginning_literally(support_client):
    agent = make_agent()
    found = make_session(agent, external_id="a%b-1")
    make_session(agent, external_id="axb-1")
    make_session(agent, external_id="x-a%b-1")
    make_session(agent)
    assert match(support_client, external_id="a%b") == [found.id]


def test_a_date_means_the_viewers_day(support_client):
    support_client.cookies["timezone"] = "Europe/Tallinn"
    zone = ZoneInfo("Europe/Tallinn")
    first = make_session(created_at=datetime(2026, 6, 1, 0, 0, tzinfo=zone), updated_at=NOON)
    last = make_session(
        created_at=datetime(2026, 6, 1, 23, 59, 59, 999_999, tzinfo=zone),
        updated_at=NOON - timedelta(1),
    )
    make_session(created_at=datetime(2026, 6, 2, 0, 0, tzinfo=zone))
    make_session(created_at=datetime(2026, 5, 31, 23, 59, 59, tzinfo=zone))
    day = "2026-06-01"
    assert match(support_client, start_date=day, end_date=day) == [first.id, last.id]


@pytest.mark.parametrize(
    "moment",
    [
        "2026-06-01T12:00",
        "2026-06-01 12:00",
        "2026-06-01T12:00:00",
        "2026-06-01T15:00+03:00",
        "2026-06-01T15:00 03:00",
        "2026-06-01T12:00Z",
    ],
)
def test_a_time_bounds_to_the_moment_and_includes_it(support_client, moment):
    session = make_session(created_at=NOON)
    before = make_session(created_at=NOON - timedelta(seconds=1))
    after = make_session(created_at=NOON + timedelta(seconds=1))
    assert match(support_client, start_date=moment, end_date=moment) == [session.id]
    assert set(match(support_client, start_date=moment)) == {session.id, after.id}
    assert set(match(support_client, end_date=moment)) == {session.id, before.id}


def test_each_problem_is_found_and_no_other(support_client):
    agent = make_agent()
    made = {
        name: make_session(agent)
        for name in ("fine", "failed", "running", "interrupted", "task", "tool", "model")
    }
    runs = {name: make_run(session) for name, session in made.items() if name == "fine"}
    make_run(made["failed"], output_data=None)
    make_run(made["running"], output_data=None, duration_seconds=None, created_at=timezone.now())
    make_run(made["interrupted"], output_data=None, duration_seconds=None)
    run = make_run(made["task"])
    make_task(run, made["task"], errors=Json(["x"]))
    run = make_run(made["tool"])
    make_task(run, made["tool"], node_type="tool_call", output=Json({"result": "Error: x"}))
    make_model_call(made["model"], make_run(made["model"]), response_code=500)
    make_task(runs["fine"], made["fine"], errors=Json([]))
    make_model_call(made["fine"], runs["fine"])

    def found(problem):
        condition = has_problem(problem)
        # However PostgreSQL is asked, and by the list itself.
        found = [
            set(Session.objects.filter(form).values_list("pk", flat=True))
            for form in (condition.as_subquery(), condition.as_collected(), condition.as_probe())
        ]
        found.append(set(match(support_client, problem=problem)))
        assert found == [found[0]] * 4, problem
        return {name for name, session in made.items() if session.id in found[0]}

    assert found("failed") == {"failed"}
    assert found("running") == {"running"}
    assert found("interrupted") == {"interrupted"}
    assert found("task_error") == {"task"}
    assert found("tool_error") == {"tool"}
    assert found("model_error") == {"model"}
    assert found("any") == {"failed", "interrupted", "task", "tool", "model"}


def test_filters_combine(support_client):
    agent = make_agent()
    session = make_session(agent, external_id="t-1", created_at=NOON)
    make_message(session, content="needle")
    make_run(session, output_data=None)
    query = {
        "agent": agent.id,
        "search": "needle",
        "external_id": "t-",
        "problem": "failed",
        "start_date": "2026-06-01",
        "end_date": "2026-06-01",
        "active_from": "2026-05-01",
        "active_until": "2036-05-01",
        "problem_from": "2026-05-01",
        "problem_until": "2036-05-01",
    }
    assert match(support_client, **query) == [session.id]
    for name, other in [
        ("agent", make_agent().id),
        ("search", "hay"),
        ("external_id", "u-"),
        ("problem", "running"),
        ("start_date", "2026-06-02"),
        ("end_date", "2026-05-31"),
        ("active_from", "2036-05-01"),
        ("active_until", "2026-05-31"),
        ("problem_from", "2036-05-01"),
        ("problem_until", "2026-05-31"),
    ]:
        changed = {**query, name: other}
        if name in ("start_date", "end_date"):
            changed.pop("end_date" if name == "start_date" else "start_date")
        assert match(support_client, **changed) == [], name


INVALID = [
    ("agent=x", "agent"),
    (f"agent={uuid.UUID(int=1)}", "agent"),
    ("agent=%00", "agent"),
    ("search=%00", "search"),
    ("search=" + "x" * 201, "search"),
    ("search=x", "search"),
    ("search=%20x%20", "search"),
    ("search=%20%20%20", "search"),
    ("search=xx&scope=messages", "scope"),
    ("external_id=a%00b", "external_id"),
    ("problem=everything", "problem"),
    ("problem=incomplete", "problem"),
    ("error=a%00b", "error"),
    ("error=" + "x" * 401, "error"),
    ("evals=shown", "evals"),
    ("start_date=yesterday", "start_date"),
    ("active_from=yesterday", "active_from"),
    ("active_until=2026-02-30", "active_until"),
    ("problem_from=yesterday", "problem_from"),
    ("problem_until=2026-02-30", "problem_until"),
    ("problem_from=2026-06-02&problem_until=2026-06-01", "problem_until"),
    ("active_from=2026-06-02&active_until=2026-06-01", "active_until"),
    ("start_date=2026-02-30", "start_date"),
    ("start_date=2026-06-01T25:00", "start_date"),
    ("start_date=0001-01-01T00:00%2B14:00", "start_date"),
    ("end_date=9999-12-31", "end_date"),
    ("end_date=9999-12-31T23:59-12:00", "end_date"),
    ("end_date=" + "9" * 5000, "end_date"),
    ("end_date=%00", "end_date"),
    ("start_date=2026-06-02&end_date=2026-05-01", "end_date"),
    ("start_date=2026-06-02&end_date=2026-06-01", "end_date"),
    ("start_date=%EF%BC%92026-06-01", "start_date"),
    ("agnet=1", "__all__"),
    ("agent=&agent=", "__all__"),
    ("search=aa&search=bb", "__all__"),
    ("%00=1", "__all__"),
]


@pytest.mark.parametrize(("query", "field"), INVALID, ids=[query[:40] for query, _ in INVALID])
@pytest.mark.parametrize("headers", [{}, HTMX])
def test_an_invalid_filter_is_explained_and_shows_nothing(support_client, query, field, headers):
    make_message(make_session(), content="x aa bb")
    response = get(support_client, f"{LIST}?{query}", headers=headers)
    assert listed(response) == []
    errors = response.context["filter"].errors
    assert list(errors) == [field]
    assert str(errors[field][0]).replace("’", "'")[:20] in text(response).replace("&#x27;", "'")
    assert "Fix the highlighted filter" in text(response)
    assert "No conversations yet" not in text(response)


def test_active_filters_are_chips_that_lead_to_the_list_without_them(support_client):
    agent = make_agent("Shop")
    make_session(agent, external_id="t")
    page = get(support_client, f"{LIST}?agent={agent.id}&external_id=t&search=")
    chips = page.context["chips"]
    assert [(chip["label"], chip["text"]) for chip in chips] == [
        ("Agent", "Shop"),
        ("External id starts with", "t"),
    ]
    assert [chip["without"] for chip in chips] == ["external_id=t", f"agent={agent.id}"]
    assert "Clear all" in text(page)


def test_a_filter_that_makes_sense_stays_removable_beside_one_that_does_not(support_client):
    page = get(support_client, f"{LIST}?search=aa&start_date=x")
    [chip] = page.context["chips"]
    assert (chip["label"], chip["text"], chip["without"]) == ("Search", "aa", "start_date=x&tz=UTC")


def test_an_agent_in_capitals_is_shown_as_chosen(support_client):
    agent = make_agent()
    session = make_session(agent)
    page = get(support_client, f"{LIST}?agent={str(agent.id).upper()}")
    assert listed(page) == [session.id]
    assert f'value="{agent.id}" selected' in page.content.decode()


def test_blanks_separate_words_unless_they_are_quoted(support_client):
    found, other = make_session(), make_session()
    make_message(found, content="an   eel ")
    make_message(other, content="eel and ham")
    assert match(support_client, search=" an   eel ") == [other.id, found.id]
    assert match(support_client, search='"an  eel"') == [found.id]
    assert match(support_client, search='" eel"') == [found.id]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("2026-06-01", "date"),
        ("2026-06-01T12:00", "datetime-local"),
        ("2026-02-31", "text"),
        ("2026-06-01T12:00Z", "text"),
        ("soon", "text"),
    ],
)
def test_a_date_field_never_drops_what_was_typed(support_client, value, kind):
    page = get(support_client, f"{LIST}?start_date={value}").content.decode()
    field = re.search(r'<input type="([^"]+)" name="start_date" value="([^"]+)"', page)
    assert field.groups() == (kind, value)


def test_a_date_can_be_given_a_time(support_client):
    page = get(support_client, f"{LIST}?start_date=2026-06-01&end_date=2026-06-02T10:00&search=aa")
    assert page.context["filter"].with_time() == {
        "start_date": "start_date=2026-06-01T00%3A00&end_date=2026-06-02T10%3A00&search=aa&tz=UTC"
    }
    assert "Set a time" in text(page)


def test_with_a_time_an_end_keeps_the_last_minute_of_its_day(support_client):
    made = make_session(created_at=datetime(2026, 6, 2, 23, 59, 30, tzinfo=UTC))
    with_time = get(support_client, end_date="2026-06-02").context["filter"].with_time()
    assert listed(get(support_client, f"{LIST}?{with_time['end_date']}")) == [made.id]


# Empty


def test_no_conversations_yet_is_not_nothing_matches(support_client):
    assert "No conversations yet" in text(get(support_client))
    make_session()
    page = text(get(support_client, f"{LIST}?search=zzz"))
    assert "Nothing matches" in page
    assert "No conversations yet" not in page


def test_the_total_is_exact_up_to_its_cap(support_client, monkeypatch):
    agent = make_agent()
    for _ in range(55):
        make_session(agent)
    monkeypatch.setattr("conversations.listing.counts.UP_TO", 55)
    page = get(support_client)
    assert page.context["total"] == {"exact": 55}
    assert "55 conversations" in text(page)
    monkeypatch.setattr("conversations.listing.counts.UP_TO", 54)
    page = get(support_client)
    assert page.context["total"] == {"at_least": 54}
    assert "54+ conversations" in text(page)


# Page, fragment, history


def test_htmx_gets_the_fragment_and_everyone_else_the_page(support_client):
    make_session(external_id="t-1")
    page, fragment = get(support_client), get(support_client, headers=HTMX)
    assert b"<html" in page.content
    assert b"<html" not in fragment.content
    # htmx takes the title from it.
    title, inside = fragment.content.strip().split(b"\n", 1)
    assert title == b"<title>Conversations \xc2\xb7 Conversation Desk</title>"
    assert inside.strip().startswith(b'<main id="browse">')
    assert inside.strip() in page.content


@pytest.mark.parametrize("more", [{"HX-History-Restore-Request": "true"}, {"HX-Boosted": "true"}])
def test_a_history_restore_and_a_boosted_link_get_the_page(support_client, more):
    response = get(support_client, headers={**HTMX, **more})
    assert b"<html" in response.content


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_answers_vary_on_what_decides_them(support_client, headers):
    vary = get(support_client, headers=headers)["Vary"]
    for header in ("HX-Request", "HX-Boosted", "HX-History-Restore-Request", "Cookie"):
        assert header in vary


def test_the_list_pushes_its_address_without_empty_parameters(support_client):
    replaced = {**HTMX, "HX-Target": "main#browse"}
    empty = "&agent=&problem=&scope=&error=&evals=&go=1"
    response = get(support_client, f"{LIST}?search=a%26b{empty}", headers=replaced)
    assert response["HX-Push-Url"] == "/conversations/?search=a%26b"
    assert get(support_client, headers=replaced, search="")["HX-Push-Url"] == "/conversations/"
    assert "HX-Push-Url" not in get(support_client, f"{LIST}?search=a")


def test_the_list_beside_a_conversation_leaves_the_address_alone(support_client):
    assert "HX-Push-Url" not in get(support_client, f"{LIST}?search=a", headers=HTMX)


def test_a_row_leads_to_the_conversation_with_the_way_back(support_client):
    session = make_session(updated_at=NOON)
    after = Cursor(NOON + timedelta(1), uuid.uuid4())
    page = get(support_client, f"{LIST}?external_id=&agent={session.agent_id}&after={after}")
    link = f'href="/conversations/{session.id}/?agent={session.agent_id}&amp;after={after}"'
    assert link in page.content.decode()


# Cost


@pytest.mark.parametrize("sessions", [1, 49])
def test_a_page_costs_the_same_queries_however_much_it_shows(
    support_client, sessions, django_assert_num_queries
):
    agent = make_agent()
    for _ in range(sessions):
        make_conversation(agent=agent, messages=3, runs=2, tasks=3)
    get(support_client)
    # The places of the page's rows, the rows, and the agents to choose from.
    with django_assert_num_queries(3, connection=connections["agents"]):
        assert len(listed(get(support_client))) == sessions


@pytest.mark.parametrize("sessions", [1, 49])
def test_words_of_failures_and_of_messages_cost_the_same_for_many_rows(
    support_client, sessions, django_assert_num_queries
):
    agent = make_agent()
    for _ in range(sessions):
        session = make_session(agent)
        run = make_run(session, output_data=None)
        make_task(run, session, "look-up", "tool_call", output=Json({"result": "Error: offline"}))
        make_message(session, content="Where is my needle?")
    query = "?search=needle&problem=tool_error"
    get(support_client, LIST + query)
    # The external ids that begin so, the agents and the rows; under a time limit each, which within
    # the test's transaction takes three more, the external ids, two for the places, the failures'
    # words, what the customers got and the messages' excerpts.
    with django_assert_num_queries(3 + 5 + 3 + 4 + 5, connection=connections["agents"]):
        page = get(support_client, LIST + query)
    assert len(listed(page)) == sessions
    assert text(page).count("run failed: tool look-up: offline") == sessions
    assert page.content.count(b"<mark>needle</mark>") == sessions


def test_a_page_reads_no_payload_column_and_sorts_by_the_index(support_client):
    make_conversation()
    with connections["agents"].execute_wrapper(record := Recorder()):
        get(support_client)
    for sql in record.statements:
        for column in ("inputs", "context", "input_data", "workflow", "request_data"):
            assert f'"{column}"' not in sql, column
    assert not [sql for sql in record.statements if "OFFSET" in sql]
    [places] = [sql for sql in record.statements if "LIMIT 51" in sql]
    assert places == (
        'SELECT "sessions"."updated_at" AS "updated_at", "sessions"."id" AS "pk" FROM "sessions" '
        'ORDER BY 1 DESC, "sessions"."id" DESC LIMIT 51'
    )
    [rows] = [sql for sql in record.statements if "first_message" in sql]
    assert "content" in rows.split(" FROM ")[0]
    assert 'WHERE "sessions"."id" IN (SELECT unnest(%s::uuid[]))' in rows


class Recorder:
    def __init__(self):
        self.statements = []

    def __call__(self, execute, sql, params, many, context):
        self.statements.append(sql)
        return execute(sql, params, many, context)
