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
from ..support.pages import HTMX, LIST, get, text, url, words

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
    for expected in (
        "Shop &amp; co",
        "ticket-7",
        "Where is it?",
        "Hello?",
        "1 run ",
        "1 task ",
        "2 messages",
        "No answer 1 run failed 1 model call failed",
        "5\xa0minutes ago".replace("\xa0", " "),
        "created 3 days ago",
    ):
        assert expected in shown, expected
    assert re.search(r'<time datetime="[^"]+" title="\d+ \w+ \d{4}, [\d:]+ UTC">', html)


def test_a_row_without_problems_only_has_counts(support_client):
    run = make_run(session := make_session())
    make_message(session, content="Where is it?")
    make_message(session, "assistant", content="Here.", run_id=run.id)
    html = get(support_client).content.decode()
    assert 'class="state"' not in html
    assert words(re.search(r'<span class="counts">(.*)</span>', html)[1]) == "1 run 2 messages"


def test_errors_of_the_original_system_are_called_task_errors(support_client):
    make_task(make_run(session := make_session()), session, errors=Json(["x"]))
    assert "1 task error" in text(get(support_client))
    page = text(get(support_client, url("detail", session.id)))
    assert "1 run, 1 task, 0 messages, 1 task error " in page


def test_previews_have_no_markdown_signs(support_client):
    session = make_session()
    make_message(session, content="Is `A-1` **mine**?")
    make_message(
        session, "assistant", content="## Order\n[Yes](https://shop.example/a-1), *yours*."
    )
    [row] = get(support_client).context["rows"]
    assert row.first_message == "Is A-1 mine?"
    assert row.last_message == "Order\nYes, yours."


def test_messages_are_cut_in_sql(support_client):
    make_message(make_session(), content="x" * 250)
    [row] = get(support_client).context["rows"]
    assert row.first_message == row.last_message == "x" * 200


def test_conversations_are_sorted_by_last_activity_then_id(support_client):
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
def test_the_status_is_that_of_the_last_run(support_client, fields, status):
    session = make_session()
    make_run(session, created_at=NOON, output_data=None)
    make_run(session, **fields)
    [row] = get(support_client).context["rows"]
    assert row.status == status


def test_an_empty_answer_completes_a_run(support_client):
    session = make_session()
    run = make_run(session, output_data=None)
    make_message(session, "assistant", "", run_id=run.id)
    [row] = get(support_client).context["rows"]
    assert row.status == "completed"
    assert row.problems == []


@pytest.mark.parametrize("sign", ["task", "model call"])
def test_a_run_with_recent_steps_is_running(support_client, sign):
    session = make_session()
    run = make_run(session, output_data=None, duration_seconds=None, created_at=NOON)
    if sign == "task":
        make_task(run, session, created_at=timezone.now())
    else:
        make_model_call(session, run, created_at=timezone.now())
    assert get(support_client).context["rows"][0].status == "running"


def test_each_kind_of_problem_is_counted(support_client):
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


def test_pages_of_fifty_neither_skip_nor_repeat_conversations(support_client):
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


def test_exactly_fifty_conversations_have_no_older_page(support_client):
    agent = make_agent()
    for _ in range(50):
        make_session(agent)
    page = get(support_client)
    assert len(listed(page)) == 50
    assert page.context["next_cursor"] == ""


def test_older_pages_keep_the_filters_and_link_to_the_newest(support_client):
    agent = make_agent()
    for _ in range(60):
        make_session(agent)
    page = get(support_client, f"{LIST}?agent={agent.id}")
    older = f"?agent={agent.id}&amp;after={page.context['next_cursor']}"
    assert f'href="{older}"' in page.content.decode()
    page = get(support_client, LIST + older.replace("&amp;", "&"))
    assert f'href="{LIST}?agent={agent.id}"' in page.content.decode()
    assert page.context["total"] == {"exact": 60}
    assert "60 conversations" in text(page)


def test_a_cursor_works_after_its_row_is_deleted(support_client):
    agent = make_agent()
    old = make_session(agent, updated_at=NOON)
    make_session(agent, updated_at=NOON + timedelta(hours=2))
    cursor = Cursor(NOON + timedelta(hours=1), uuid.uuid4())
    assert listed(get(support_client, f"{LIST}?after={cursor}")) == [old.id]


def test_a_page_after_the_last_row_says_so(support_client):
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
        *(
            f"1.{'0' * 32}{number}"
            for number in (".", ".x", ".-1", ".01", ".1e3", ".１", f".{'9' * 10}", f".{'9' * 5000}")
        ),
        *(f"1.{'0' * 32}.50{moment}" for moment in (".", ".x", f".{'9' * 18}", ".1.1", "..1")),
    ],
)
@pytest.mark.parametrize("name", ["after", "before"])
@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_malformed_cursor_gets_a_400_page(support_client, after, name, headers):
    make_session()
    response = get(support_client, f"{LIST}?{name}={after}", headers=headers, status=400)
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


def test_the_filter_by_external_id_treats_percent_as_a_letter(support_client):
    agent = make_agent()
    found = make_session(agent, external_id="a%b-1")
    make_session(agent, external_id="axb-1")
    make_session(agent, external_id="x-a%b-1")
    make_session(agent)
    assert match(support_client, external_id="a%b") == [found.id]


def test_a_date_is_a_day_in_the_viewers_time_zone(support_client):
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
def test_a_time_includes_its_own_moment(support_client, moment):
    session = make_session(created_at=NOON)
    before = make_session(created_at=NOON - timedelta(seconds=1))
    after = make_session(created_at=NOON + timedelta(seconds=1))
    assert match(support_client, start_date=moment, end_date=moment) == [session.id]
    assert set(match(support_client, start_date=moment)) == {session.id, after.id}
    assert set(match(support_client, end_date=moment)) == {session.id, before.id}


def test_each_problem_is_found_and_nothing_else(support_client):
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
        # Every form of the condition finds the same, and so does the list.
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
    ("start_date=someday", "start_date"),
    ("active_from=someday", "active_from"),
    ("active_until=2026-02-30", "active_until"),
    ("problem_from=someday", "problem_from"),
    ("problem_until=2026-02-30", "problem_until"),
    ("problem_from=2026-06-02&problem_until=2026-06-01", "problem_until"),
    ("active_from=2026-06-02&active_until=2026-06-01", "active_until"),
    ("node=a%00b", "node"),
    ("tool=" + "x" * 201, "tool"),
    ("node=a&step=slow", "step"),
    ("node=a&step_from=2026-06-02&step_until=2026-06-01", "step_until"),
    ("step=failed", "step"),
    ("step_from=2026-06-02&problem=any", "step_from"),
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


def test_active_filters_are_chips_that_remove_them(support_client):
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


def test_a_valid_filter_can_be_removed_beside_an_invalid_one(support_client):
    page = get(support_client, f"{LIST}?search=aa&start_date=x")
    [chip] = page.context["chips"]
    assert (chip["label"], chip["text"], chip["without"]) == ("Search", "aa", "start_date=x&tz=UTC")


def test_an_agent_in_capitals_is_shown_as_chosen(support_client):
    agent = make_agent()
    session = make_session(agent)
    page = get(support_client, f"{LIST}?agent={str(agent.id).upper()}")
    assert listed(page) == [session.id]
    assert f'value="{agent.id}" selected' in page.content.decode()


def test_spaces_separate_words_unless_quoted(support_client):
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
def test_a_date_field_keeps_any_typed_text(support_client, value, kind):
    page = get(support_client, f"{LIST}?start_date={value}").content.decode()
    field = re.search(r'<input type="([^"]+)" name="start_date" value="([^"]+)"', page)
    assert field.groups() == (kind, value)


def test_a_link_adds_a_time_to_a_date(support_client):
    page = get(support_client, f"{LIST}?start_date=2026-06-01&end_date=2026-06-02T10:00&search=aa")
    assert page.context["filter"].with_time() == {
        "start_date": "start_date=2026-06-01T00%3A00&end_date=2026-06-02T10%3A00&search=aa&tz=UTC"
    }
    assert "Set a time" in text(page)


def test_adding_a_time_to_an_end_date_keeps_its_last_minute(support_client):
    made = make_session(created_at=datetime(2026, 6, 2, 23, 59, 30, tzinfo=UTC))
    with_time = get(support_client, end_date="2026-06-02").context["filter"].with_time()
    assert listed(get(support_client, f"{LIST}?{with_time['end_date']}")) == [made.id]


# Empty


def test_an_empty_history_and_an_empty_result_read_differently(support_client):
    assert "No conversations yet" in text(get(support_client))
    make_session()
    page = text(get(support_client, f"{LIST}?search=zzz"))
    assert "Nothing matches" in page
    assert "No conversations yet" not in page


def test_the_total_is_exact_up_to_its_limit(support_client, monkeypatch):
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


def test_htmx_gets_the_fragment_and_others_get_the_page(support_client):
    make_session(external_id="t-1")
    page, fragment = get(support_client), get(support_client, headers=HTMX)
    assert b"<html" in page.content
    assert b"<html" not in fragment.content
    # htmx takes the page's title from it.
    title, inside = fragment.content.strip().split(b"\n", 1)
    assert title == b"<title>Conversations \xc2\xb7 Conversation Desk</title>"
    assert inside.strip().startswith(b'<main id="browse">')
    assert inside.strip() in page.content


@pytest.mark.parametrize("more", [{"HX-History-Restore-Request": "true"}, {"HX-Boosted": "true"}])
def test_a_history_restore_and_a_boosted_link_get_the_page(support_client, more):
    response = get(support_client, headers={**HTMX, **more})
    assert b"<html" in response.content


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_answers_vary_on_the_headers_that_change_them(support_client, headers):
    vary = get(support_client, headers=headers)["Vary"]
    for header in ("HX-Request", "HX-Boosted", "HX-History-Restore-Request", "Cookie"):
        assert header in vary


def test_the_pushed_address_has_no_empty_parameters(support_client):
    replaced = {**HTMX, "HX-Target": "main#browse"}
    empty = "&agent=&problem=&scope=&error=&evals=&go=1"
    response = get(support_client, f"{LIST}?search=a%26b{empty}", headers=replaced)
    assert response["HX-Push-Url"] == "/conversations/?search=a%26b"
    assert get(support_client, headers=replaced, search="")["HX-Push-Url"] == "/conversations/"
    assert "HX-Push-Url" not in get(support_client, f"{LIST}?search=a")


BESIDE = {**HTMX, "HX-Target": "div#beside"}


def test_the_list_beside_a_conversation_pushes_no_address(support_client):
    assert "HX-Push-Url" not in get(support_client, f"{LIST}?search=a", headers=BESIDE)


@pytest.mark.parametrize("query", ["", "?problem=failed&agent=", "?external_id=s-"])
def test_the_list_beside_a_conversation_is_the_rows_of_the_list(support_client, query):
    for number in range(3):
        make_run(make_session(external_id=f"s-{number}", updated_at=NOON), output_data=None)
    rows = re.compile(r'<ol class="rows".*?</ol>', re.S)
    [whole] = rows.findall(get(support_client, f"{LIST}{query}").content.decode())
    beside = get(support_client, f"{LIST}{query}", headers=BESIDE).content.decode()
    assert whole.count("<li") == 3
    assert beside.strip() == whole


@pytest.mark.parametrize("query", ["", "?agent=nonsense", "?search=zzz"])
def test_the_list_beside_a_conversation_may_be_empty(support_client, query):
    assert get(support_client, f"{LIST}{query}", headers=BESIDE).content.strip() == b""


def test_a_row_links_to_the_conversation_with_the_way_back(support_client):
    session = make_session(updated_at=NOON)
    after = Cursor(NOON + timedelta(1), uuid.uuid4())
    page = get(support_client, f"{LIST}?external_id=&agent={session.agent_id}&after={after}")
    link = f'href="/conversations/{session.id}/?agent={session.agent_id}&amp;after={after}"'
    assert link in page.content.decode()


# Cost


@pytest.mark.parametrize("sessions", [1, 49])
def test_a_page_has_the_same_number_of_queries_for_any_number_of_rows(
    support_client, sessions, django_assert_num_queries
):
    agent = make_agent()
    for _ in range(sessions):
        make_conversation(agent=agent, messages=3, runs=2, tasks=3)
    get(support_client)
    # One each for the rows' cursors, the rows, and the agents to choose from.
    with django_assert_num_queries(3, connection=connections["agents"]):
        assert len(listed(get(support_client))) == sessions


@pytest.mark.parametrize("sessions", [1, 49])
def test_problems_and_snippets_take_the_same_number_of_queries_for_many_rows(
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
    # External ids that begin with the search, agents, and rows. Then five more have a time limit,
    # which takes three more statements within the test's transaction: external ids, two for the
    # rows' cursors, problems, outcomes and snippets.
    with django_assert_num_queries(3 + 5 + 3 + 4 + 5, connection=connections["agents"]):
        page = get(support_client, LIST + query)
    assert len(listed(page)) == sessions
    assert text(page).count("run failed: tool look-up: offline") == sessions
    assert page.content.count(b"<mark>needle</mark>") == sessions


def test_a_page_reads_no_payloads_and_sorts_by_the_index(support_client):
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
