"""The page Errors: equal problems are counted together, and each group links to the list."""

import itertools
import re
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from django.db import OperationalError, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from conversations.display.charts import Bar, Trend
from conversations.errors import collect, periods
from conversations.errors import groups as errors
from conversations.indexes import catalogue, state
from conversations.models import Agent
from conversations.selection import look_back

from ..support.admin_panel import lone_call
from ..support.factories import (
    NULL,
    Json,
    insert,
    make_agent,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..support.listing import TYPING, listed, match
from ..support.pages import HTMX, error_links, get, text

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
URL = "/conversations/errors/"
SECONDS = 5
# The days that the page shows by default.
DAYS = 14


@pytest.fixture(autouse=True)
def _fresh_indexes(db):
    state.forget()
    yield
    state.forget()


def build_indexes():
    with connections["agents_write"].cursor() as cursor:
        for index in catalogue.indexes():
            if not index.needs_pg_trgm:
                cursor.execute(index.create(concurrently=False))
                cursor.execute(index.describe())
    state.forget()


@pytest.fixture
def with_indexes(db):
    build_indexes()


@pytest.fixture(params=["without indexes", "with indexes"])
def either_way(request, monkeypatch, db):
    """Both ways of reading, with the other one disabled."""

    def wrong(*args):
        raise AssertionError("The other way of reading was taken.")

    if request.param == "with indexes":
        build_indexes()
        monkeypatch.setattr(collect, "look_back", wrong)
    else:
        monkeypatch.setattr(collect, "from_indexes", wrong)


def ago(**units):
    return timezone.now() - timedelta(**units)


def tool_failure(text="gone", name="look_up", agent=None, session=None, **fields):
    session = session or make_session(agent)
    fields.setdefault("output", Json({"result": f"Error: {text}"}))
    make_task(make_run(session), session, name, "tool_call", **fields)
    return session


def model_failure(data="overloaded", code=500, session=None, run=None, **fields):
    session = session or make_session()
    run = run or make_run(session)
    make_model_call(session, run, response_code=code, response_data=Json(data), **fields)
    return session


def task_failure(recorded, name="step", **fields):
    session = make_session()
    make_task(make_run(session), session, name, errors=Json(recorded), **fields)
    return session


def found(kind="", agent=None):
    return errors.errors(SECONDS, kind, agent and Agent.objects.get(pk=agent.id))


def groups(**filters):
    """{message, or kind of run: number}"""
    return {group.message or group.kind: group.number for group in found(**filters).groups}


# Groups


def test_numbers_ids_and_quoted_words_make_no_difference(either_way):
    for words in (
        'order 17 of "Ann" (3f2504e0-4f89-11d3-9a0c-0305e82c3301) is late',
        'order 4,711 of "Bob" (3f2504e0-4f89-11d3-9a0c-0305e82c3302) is late',
    ):
        tool_failure(words)
    assert groups() == {"look_up: order … of … (…) is late": 2}


def test_different_words_tools_or_kinds_are_different_groups(either_way):
    tool_failure("gone")
    tool_failure("lost")
    tool_failure("gone", name="send")
    model_failure("gone", model="look_up")
    task_failure(["gone"], name="look_up")
    assert [group.number for group in found().groups] == [1] * 5
    assert groups() == {"look_up: gone": 1, "look_up: lost": 1, "send: gone": 1} | {
        "look_up: 500: gone": 1
    }
    kinds = {group.kind for group in found().groups}
    assert kinds == {"tool_error", "model_error", "task_error"}


def test_the_most_frequent_come_first_then_the_latest(either_way):
    tool_failure("old", created_at=ago(days=3))
    tool_failure("young", created_at=ago(days=1))
    tool_failure("frequent", created_at=ago(days=9))
    tool_failure("frequent", created_at=ago(days=9))
    names = [group.words for group in found().groups]
    assert names == ["frequent", "young", "old"]


def test_a_group_shows_numbers_and_times(either_way):
    first, last = ago(days=5), ago(hours=2)
    session = tool_failure(created_at=last)
    tool_failure(session=session, created_at=first)
    tool_failure(created_at=ago(days=1))
    [group] = found().groups
    assert (group.number, group.conversations) == (3, 2)
    assert (group.first, group.last) == (first, last)
    assert found().number == 3


def test_healthy_rows_are_not_shown(either_way):
    session = make_session()
    run = make_run(session)
    make_task(run, session, output=Json({"result": "Error: but no tool"}))
    make_task(run, session, node_type="tool_call", output=Json({"result": "fine"}))
    make_task(run, session, errors=Json([]))
    make_model_call(session, run)
    assert groups() == {}


def test_only_the_last_days_are_read(either_way):
    session = make_session(updated_at=timezone.now())
    tool_failure("long ago", session=session, created_at=ago(days=DAYS))
    tool_failure("lately", session=session, created_at=ago(days=DAYS - 1))
    assert groups() == {"look_up: lately": 1}


def test_a_failure_a_little_younger_than_its_conversation_is_found(either_way):
    session = make_session(updated_at=periods.named("14d").since - timedelta(hours=1))
    tool_failure(session=session, created_at=ago(days=DAYS - 1))
    assert groups() == {"look_up: gone": 1}


def test_calls_without_a_conversation_are_left_out(either_way):
    make_model_call(response_code=500)
    insert(
        "model_call_stats",
        call_type="llm",
        model="m",
        session_id="00000000-0000-0000-0000-000000000001",
    )
    assert groups() == {}


def test_agents_come_from_the_conversations_most_affected_first(either_way):
    often, *others = (make_agent(name) for name in ("Often", "B", "C", "D", "E"))
    for agent in (often, often, *others):
        tool_failure(agent=agent)
    [group] = found().groups
    assert group.agents[0].name == "Often"
    assert len(group.agents) == collect.AGENTS
    assert group.agents_left_out == 2


def test_a_task_without_an_agent_counts_for_its_conversations(either_way):
    session = tool_failure(agent=make_agent("Shop"))
    with connections["agents_write"].cursor() as cursor:
        cursor.execute("UPDATE tasks SET agent_id = NULL WHERE session_id = %s", [session.id])
    [group] = found().groups
    assert [agent.name for agent in group.agents] == ["Shop"]


def test_less_frequent_groups_are_left_out_and_counted(either_way, monkeypatch, support_client):
    monkeypatch.setattr(collect, "GROUPS", 2)
    for words in ("a", "a", "b", "b", "c", "d"):
        tool_failure(words)
    assert groups() == {"look_up: a": 2, "look_up: b": 2}
    assert found().groups_left_out == 2
    assert found().number == 6
    assert "2 less frequent errors not shown." in text(get(support_client, URL))


# Runs without an error text


def test_runs_without_a_recorded_reason_form_groups(either_way):
    for fields in ({}, {}, {"duration_seconds": None, "created_at": ago(hours=3)}):
        session = make_session()
        make_run(session, output_data=NULL, **fields)
    assert groups() == {"failed": 2, "interrupted": 1}


def test_running_and_answered_runs_are_not_problems(either_way):
    session = make_session()
    make_run(session, output_data=NULL, duration_seconds=None, created_at=timezone.now())
    run = make_run(session, output_data=NULL)
    make_message(session, "assistant", "", run_id=run.id)
    assert groups() == {}


@pytest.mark.parametrize("reason", ["tool", "model", "task"])
def test_a_run_with_a_recorded_reason_counts_only_as_that(either_way, reason):
    session = make_session()
    run = make_run(session, output_data=NULL)
    if reason == "tool":
        make_task(run, session, "t", "tool_call", output=Json({"result": "Error: gone"}))
    elif reason == "model":
        model_failure("gone", session=session, run=run, model="t")
    else:
        make_task(run, session, "t", errors=Json("gone"))
    assert groups() == {"t: 500: gone" if reason == "model" else "t: gone": 1}


def test_another_runs_reason_does_not_count(either_way):
    session = make_session()
    make_run(session, output_data=NULL)
    tool_failure(session=session)
    assert groups() == {"failed": 1, "look_up: gone": 1}


# First seen


def test_with_an_index_first_seen_is_the_first_time_ever(with_indexes, support_client):
    first = ago(days=400)
    tool_failure("number 1", created_at=first)
    tool_failure("number 2")
    [group] = found().groups
    assert (group.number, group.first, group.first_is_known) == (1, first, True)
    assert "first 1 year ago" in text(get(support_client, URL))


def test_without_an_index_first_seen_may_be_earlier(support_client):
    session = make_session(updated_at=timezone.now())
    tool_failure("number 1", session=session, created_at=ago(days=400))
    tool_failure("number 2", session=session, created_at=ago(days=2))
    [group] = found().groups
    assert not group.first_is_known
    assert "first 2 days ago or earlier" in text(get(support_client, URL))


def test_first_seen_is_for_the_chosen_agent(with_indexes):
    shop = make_agent("Shop")
    tool_failure(created_at=ago(days=400))
    first = ago(days=300)
    tool_failure(agent=shop, created_at=first)
    tool_failure(agent=shop)
    [group] = found(agent=shop).groups
    assert group.first == first


def test_groups_first_seen_today_are_new(with_indexes, support_client):
    tool_failure("new one")
    assert "Tool call failed new look_up" in text(get(support_client, URL))
    tool_failure("new one", created_at=ago(days=2))
    assert "Tool call failed look_up" in text(get(support_client, URL))


# The trend


def test_days_are_in_the_viewers_time_zone(either_way, monkeypatch):
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    monkeypatch.setattr(timezone, "now", lambda: now)
    # 23:30 on the 21st in UTC is already the 22nd in Tallinn.
    moment = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)
    tool_failure(created_at=moment)
    tool_failure(created_at=now)

    def days():
        [group] = found().groups
        return {
            timezone.localtime(day.start).day: day.number for day in group.trend.all if day.number
        }

    assert days() == {21: 1, 23: 1}
    with timezone.override("Europe/Tallinn"):
        assert days() == {22: 1, 23: 1}


def test_days_begin_at_midnight_when_clocks_change(monkeypatch):
    zone = ZoneInfo("Europe/Tallinn")
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 10, 30, 12, tzinfo=UTC))
    with timezone.override(zone):
        starts = periods.named("14d").starts
    assert len(starts) == DAYS
    assert {start.astimezone(zone).hour for start in starts} == {0}
    assert starts[-1] - starts[0] == timedelta(days=13)
    assert starts[-1].utcoffset() != starts[0].utcoffset()


def test_the_trend_is_an_svg_with_words(support_client, monkeypatch):
    noon = timezone.now().replace(hour=12)
    monkeypatch.setattr(timezone, "now", lambda: noon)
    yesterday = ago(days=1)
    for moment in (yesterday, yesterday, noon):
        tool_failure(created_at=moment)
    html = get(support_client, URL).content.decode()
    svg = ElementTree.fromstring(re.search(r"<svg class=\"trend\".*?</svg>", html, re.DOTALL)[0])
    days = f"2 on {yesterday.day} {yesterday:%b}, 1 on {noon.day} {noon:%b}"
    assert svg.find("title").text == f"Per day: {days}"
    *_, bars = svg.findall("path")
    assert bars.get("d") == "M84 24v-24.0h5v24.0zM91 24v-12.0h5v12.0z"
    assert svg.get("role") == "img"
    assert "style=" not in html


def test_bars_are_as_high_as_their_days_and_never_invisible():
    day = datetime(2026, 11, 1, tzinfo=UTC)
    days = [Bar(day, number, True) for number in (1000, 0, 500, 1)]
    trend = Trend(days)
    assert trend.bars() == "M0 24v-24.0h5v24.0zM14 24v-12.0h5v12.0zM21 24v-2h5v2z"
    assert trend.incomplete() == ""
    days[0] = days[1] = Bar(day, 3, False)
    assert trend.incomplete() == "M0 24v-24h14v24z"
    assert trend.words().endswith("incomplete until 1 Nov")


# Limits


def test_the_page_says_how_far_back_a_capped_kind_is_counted(
    either_way, monkeypatch, support_client
):
    monkeypatch.setattr(collect, "NEWEST", 2)
    moments = [ago(days=4), ago(days=2), ago(days=1)]
    for moment in moments:
        tool_failure(created_at=moment)
    model_failure()
    page = found()
    assert page.capped == {"tool_error": moments[1]}
    assert page.number == 3
    [tools, models] = page.groups
    assert (tools.number, tools.last) == (2, moments[2])
    whole = [day.whole for day in tools.trend.all]
    assert whole == sorted(whole)
    assert (whole[0], whole[-1]) == (False, True)
    assert all(day.whole for day in models.trend.all)
    shown = text(get(support_client, URL))
    assert "3 or more problems" in shown
    assert "Only the newest 2 of each kind are counted: “Tool call failed” back to" in shown


def test_calls_without_a_conversation_do_not_take_the_place_of_others(either_way, monkeypatch):
    monkeypatch.setattr(collect, "NEWEST", 3)
    moments = [ago(hours=hours) for hours in range(5, 9)]
    for moment in moments:
        model_failure(created_at=moment)
    for number in range(3):
        lone_call(
            session_id=uuid.uuid4() if number else None,
            response_code=500,
            response_data=Json("overloaded"),
            created_at=ago(hours=1),
        )
    page = found()
    assert page.number == 3
    assert page.is_partial
    assert page.capped == {"model_error": moments[2]}


def hasten(monkeypatch):
    """A pass takes two of the three seconds, so that a second pass is not worth trying."""
    clock = itertools.count(step=2)
    monkeypatch.setattr(look_back, "time", SimpleNamespace(monotonic=lambda: next(clock)))


def test_the_page_says_how_far_it_got_when_time_ran_out(monkeypatch, support_client):
    monkeypatch.setattr(collect, "FIRST_LOOK", 2)
    newest, second, third = (ago(days=days) for days in (1, 2, 3))
    for moment in (newest, second, third):
        session = make_session(updated_at=moment)
        tool_failure(session=session, created_at=moment)
    hasten(monkeypatch)
    page = found()
    assert page.reached == second
    [group] = page.groups
    assert group.number == 2
    assert not group.trend.all[0].whole
    shown = text(get(support_client, URL))
    assert "This covers conversations back to" in shown
    assert "2 or more problems" in shown


def test_nothing_found_yet_is_not_called_nothing_wrong(monkeypatch, support_client):
    monkeypatch.setattr(collect, "FIRST_LOOK", 1)
    make_session(updated_at=ago(days=1))
    tool_failure(session=make_session(updated_at=ago(days=2)))
    hasten(monkeypatch)
    shown = text(get(support_client, URL))
    assert "Nothing found yet" in shown
    assert "Nothing went wrong" not in shown


def test_looking_back_continues_while_there_is_time(monkeypatch):
    monkeypatch.setattr(collect, "FIRST_LOOK", 1)
    for days in range(10):
        tool_failure(session=make_session(updated_at=ago(days=days)), created_at=ago(days=days))
    page = found()
    assert (page.number, page.reached) == (10, None)


def slow(monkeypatch, times=1):
    """Makes the first reads of that kind hit the database's own time limit."""
    reading = collect.grouped
    left = [times]

    def grouped(*args):
        if left[0]:
            left[0] -= 1
            with connections["agents"].cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = 10")
                cursor.execute("SELECT pg_sleep(5)")
        return reading(*args)

    monkeypatch.setattr(collect, "grouped", grouped)


def test_it_looks_back_if_the_indexes_take_too_long(with_indexes, monkeypatch):
    tool_failure()
    slow(monkeypatch)
    assert groups() == {"look_up: gone": 1}


@pytest.mark.parametrize("headers", [{}, TYPING])
def test_a_timeout_is_a_503_that_keeps_the_filters(monkeypatch, support_client, headers):
    agent = make_agent("Shop")
    slow(monkeypatch, times=9)
    page = get(support_client, f"{URL}?agent={agent.id}", headers, 503)
    assert "That took too long" in text(page)
    assert f'value="{agent.id}" selected' in page.content.decode()
    assert "Nothing went wrong" not in text(page)


def test_an_outage_is_not_reported_as_a_timeout(monkeypatch, support_client):
    def gone(*args):
        raise OperationalError("the connection is closed")

    monkeypatch.setattr(collect, "grouped", gone)
    support_client.raise_request_exception = False
    assert "The database is not responding" in text(get(support_client, URL, status=503))


# Links


AWKWARD = [
    "plain words",
    "100 % & more = a+b #1 ?x",
    "",
    "  spaces around  ",
    "line one\nline two\r\nline three\ttab",
    "\x07bell \x1b[31mred",
    "\u202eturned\u2067 around",
    "<script>alert(1)</script> 'it's' \"quoted",
    "many words " * 100,
    "漢字 and 😀",
    "back\\slash and {braces} {{ variable }} %s",
]


@pytest.mark.parametrize("words", AWKWARD)
@pytest.mark.parametrize("kind", ["tool", "model", "task"])
def test_a_link_finds_exactly_its_conversations(support_client, kind, words):
    wanted = {
        "tool": lambda: tool_failure(words, name=None if words == "" else words),
        "model": lambda: model_failure({"error": {"message": words}}, model=words),
        "task": lambda: task_failure([words], name=words),
    }[kind]().id
    for others in (tool_failure, model_failure, lambda: task_failure("other")):
        others()
    page = get(support_client, f"{URL}?kind={kind}_error")
    mine = [link for link in error_links(page) if match(support_client, link) == [wanted]]
    assert len(mine) == 1


def test_a_link_for_runs_leads_to_runs_without_a_reason(support_client):
    session, told = make_session(), make_session()
    make_run(session, output_data=NULL)
    make_task(make_run(told, output_data=NULL), told, "t", errors=Json("why"))
    [link] = [link for link in error_links(get(support_client, URL)) if "problem=failed" in link]
    assert match(support_client, link) == [session.id]


def test_a_link_keeps_the_agent(support_client):
    agent = make_agent("Shop")
    session = tool_failure(agent=agent)
    tool_failure()
    [link] = error_links(get(support_client, f"{URL}?agent={agent.id}"))
    assert match(support_client, link) == [session.id]


# Filters


def test_kind_and_agent_narrow_the_page(either_way):
    agent = make_agent("Shop")
    tool_failure("hers", agent=agent)
    tool_failure("his")
    model_failure("hers", model="m")
    make_run(make_session(agent), output_data=NULL)
    assert groups(kind="tool_error") == {"look_up: hers": 1, "look_up: his": 1}
    assert groups(agent=agent) == {"look_up: hers": 1, "failed": 1}
    assert groups(kind="tool_error", agent=agent) == {"look_up: hers": 1}
    assert groups(kind="failed") == {"failed": 1}


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("?kind=any", "Kind: Select a valid choice"),
        ("?kind=tool_error&kind=failed", "“kind” is given twice."),
        ("?agent=00000000-0000-0000-0000-000000000000", "There is no such agent."),
        ("?agent=nobody", "is not a valid UUID"),
        ("?kind=%00", "Kind: Select a valid choice"),
        ("?problem=failed", "There is no filter called “problem”."),
        ("?after=1", "There is no filter called “after”."),
    ],
)
def test_an_invalid_filter_is_explained_and_matches_nothing(support_client, query, reason):
    tool_failure()
    page = get(support_client, URL + query)
    assert reason in text(page)
    assert "Fix the highlighted filter to see results." in text(page)
    assert error_links(page) == []


def test_empty_filters_are_dropped_from_the_address(support_client):
    tool_failure()
    page = get(support_client, f"{URL}?kind=&agent=", TYPING)
    assert len(error_links(page)) == 1
    assert page["HX-Push-Url"] == URL


def test_links_to_kinds_keep_the_agent(support_client):
    agent = make_agent("Shop")
    html = get(support_client, f"{URL}?agent={str(agent.id).upper()}").content.decode()
    assert f'href="{URL}?agent={agent.id}&amp;kind=tool_error"' in html
    assert f'value="{agent.id}" selected' in html


# The page


def test_htmx_gets_the_fragment_alone(support_client):
    page = get(support_client, URL, HTMX)
    assert b"<html" not in page.content
    assert b'<main id="browse"' in page.content
    assert b"<html" in get(support_client, URL).content
    restored = {**HTMX, "HX-History-Restore-Request": "true"}
    assert b"<html" in get(support_client, URL, restored).content
    assert "HX-Request" in page["Vary"]


def test_the_page_says_when_nothing_went_wrong(support_client):
    assert "No problem was recorded in the last 14 days." in text(get(support_client, URL))
    assert "There was no such problem" in text(get(support_client, f"{URL}?kind=tool_error"))


def test_failed_runs_with_a_reason_are_not_passed_over_in_silence(support_client):
    session = make_session()
    run = make_run(session, output_data=None)
    make_model_call(session, run, response_code=500)
    page = get(support_client, f"{URL}?kind=failed")
    assert "Nothing went wrong" not in text(page)
    assert "Run failed, no reason" in text(page)
    assert "None without a reason" in text(page)
    [link] = re.findall(
        r'href="([^"]+)">Show all conversations with “Run failed”', page.content.decode()
    )
    assert len(listed(get(support_client, link.replace("&amp;", "&")))) == 1


def test_hostile_words_stay_text(support_client):
    hostile = "<script>alert(1)</script>"
    tool_failure(hostile, name=hostile, agent=make_agent(hostile))
    tool_failure("", name=None, agent=make_agent(""))
    html = get(support_client, URL).content.decode()
    assert hostile not in html
    assert html.count("&lt;script&gt;alert(") >= 2
    shown = text(get(support_client, URL))
    assert "(no name)" in shown
    assert "(no error text)" in shown


@pytest.mark.parametrize("recorded", ["x", {}, 42, False, "", [None], [{"message": "boom"}], [[]]])
def test_errors_of_any_shape_are_shown(support_client, recorded):
    session = task_failure(recorded)
    [link] = error_links(get(support_client, URL))
    assert match(support_client, link) == [session.id]


def test_the_navigation_leads_here_and_says_so(support_client):
    link = f'<a href="{URL}" aria-current="page">Errors</a>'
    assert link in get(support_client, URL).content.decode()
    assert f'<a href="{URL}">Errors</a>' in support_client.get("/conversations/").content.decode()


def test_the_number_of_queries_is_the_same_for_any_number_of_groups(with_indexes, support_client):
    def count():
        with CaptureQueriesContext(connections["agents"]) as queries:
            get(support_client, URL)
        return len(queries)

    for fail in (tool_failure, model_failure, lambda: task_failure("x")):
        fail()
    get(support_client, URL)
    few = count()
    for number in range(30):
        tool_failure("a" * (number + 1), agent=make_agent(f"Agent {number}"))
        make_run(make_session(), output_data=NULL)
    assert count() == few


# Revisions


@pytest.mark.parametrize("number", ["0002", "0003", "0004", "0005", "0006"])
@pytest.mark.parametrize("indexed", [False, True])
def test_every_revision_shows_the_problems_that_it_records(
    at_revision, support_client, number, indexed
):
    tool_failure("gone")
    task_failure("boom")
    model_failure("overloaded", model="m")
    make_run(make_session(), output_data=NULL)
    at_revision(number)
    if indexed:
        build_indexes()
    expected = {"look_up: gone": 1, "step: boom": 1}
    if number >= "0005":
        expected["m: 500: overloaded"] = 1
    expected["failed" if number >= "0006" else "incomplete"] = 1
    assert groups() == expected
    page = get(support_client, URL)
    assert len(error_links(page)) == len(expected)
    for link in error_links(page):
        assert len(match(support_client, link)) == 1
    assert (
        "Fix the highlighted filter" in text(get(support_client, f"{URL}?kind=incomplete"))
        or number < "0006"
    )


def test_the_page_says_when_it_was_counted(support_client):
    before = timezone.now()
    page = get(support_client, URL)
    [moment] = re.findall(r'as of <time datetime="([^"]+)"', page.content.decode())
    assert before <= datetime.fromisoformat(moment) <= timezone.now()
