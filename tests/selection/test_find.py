"""Pages of the list against a plain model of it, however one has to look back for them."""

import random
import re
import uuid
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connections
from django.http import QueryDict
from psycopg.errors import QueryCanceled

from backoffice.databases import time_limits
from backoffice.databases.errors import is_timeout
from conversations.indexes import catalogue, state
from conversations.models import Session
from conversations.selection import conditions, find, look_back
from conversations.selection.filters import ConversationFilter
from conversations.selection.pagination import Cursor

from ..support.factories import make_agent, make_message, make_session
from ..support.histories import AGENTS, SAME_ERROR, build_indexes, expected, key, make_history
from ..support.listing import be_patient, listed
from ..support.pages import get, text

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]
PAGE = 10
PROBLEMS = ["any", "failed", "running", "interrupted", "model_error", "tool_error", "task_error"]
NEWEST_FIRST = 'ORDER BY 1 DESC, "sessions"."id" DESC'
RANGE = {"start_date": "2026-06-03", "end_date": "2026-06-05"}
ACTIVE = {"active_from": "2026-06-03", "active_until": "2026-06-04"}
UNTIL = {"end_date": "2026-06-05T12:00"}

# Without conditions on other tables, and with them.
PLAIN = [
    {},
    {"agent": AGENTS[0]},
    {"external_id": "user-1"},
    {"evals": "hidden"},
    {"start_date": "2026-06-08T04:00"},
    UNTIL,
    RANGE,
    {"start_date": "2026-06-05T12:00", **UNTIL},
    {"agent": AGENTS[1], "evals": "hidden", **RANGE},
    {"agent": AGENTS[2], "external_id": "eval:", **UNTIL},
]
CONDITIONED = [
    {"search": "ALPHA"},
    {"search": "beta"},
    {"search": "gamma"},
    {"search": "missing"},
    {"search": "be"},
    {"search": "beta", **UNTIL},
    {"search": "alpha", **RANGE, "agent": AGENTS[0]},
    {"search": "beta", "scope": "all"},
    {"search": "gamma", "scope": "all", **UNTIL},
    {"search": "SN-2", "scope": "all", "evals": "hidden"},
    *({"problem": kind} for kind in PROBLEMS),
    {"problem": "failed", **UNTIL},
    ACTIVE,
    {"active_until": "2026-06-02T04:00"},
    {**ACTIVE, **RANGE, "search": "beta"},
    {"active_from": "2026-06-05T12:00", "active_until": "2026-06-05T16:00", "problem": "any"},
    {"problem": "any", "agent": AGENTS[0], "external_id": "user-"},
    {"error": SAME_ERROR},
    {"error": SAME_ERROR, "problem": "tool_error", **RANGE},
    {"search": "alpha", "problem": "any"},
    {"search": "beta", "problem": "failed", **UNTIL},
    {"search": "off", "scope": "all", "problem": "tool_error", "error": SAME_ERROR},
]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    state.forget()
    be_patient(monkeypatch)
    yield
    state.forget()


@pytest.fixture
def history():
    return make_history(seed=1, size=300)


@pytest.fixture
def short_history():
    return make_history(seed=2, size=120)


def matching(filters):
    data = QueryDict(mutable=True)
    for name, value in filters.items():
        data[name] = str(value)
    found = ConversationFilter(data, queryset=Session.objects.all())
    assert found.is_valid(), found.errors
    return found.matching


def behind(places, cursor):
    return [each for each in places if cursor is None or key(each) < key(cursor)]


def check(history, filters, seconds=60, page=PAGE) -> list[Cursor]:
    """Go through all pages as the list does; each must be right. Returns what was `reached`."""
    wanted = expected(history, filters)
    cursor, seen, ends = None, [], []
    for _ in range(len(history) + 3):
        found, reached = find.find(matching(filters), cursor, page + 1, seconds)
        rest = behind(wanted, cursor)
        assert found == rest[: len(found)], filters
        if reached:
            ends.append(reached)
            assert cursor is None or key(reached) < key(cursor), "no step further"
            assert found == [each for each in rest if key(each) >= key(reached)], filters
        elif len(found) <= page:
            assert found == rest, filters
        seen += found[:page]
        if len(found) > page:
            cursor = found[page - 1]
        elif reached:
            cursor = reached
        else:
            assert seen == wanted, filters
            return ends
    raise AssertionError("no end")


class Spy:
    """What find.collect was asked for, and whether it gave rows."""

    def __init__(self, monkeypatch):
        self.given = []
        self.active = False
        collect = find.collect

        def spied(*args):
            self.active = True
            try:
                self.given.append(collect(*args))
            finally:
                self.active = False
            return self.given[-1]

        monkeypatch.setattr(find, "collect", spied)


@pytest.fixture
def collected(monkeypatch):
    return Spy(monkeypatch)


@pytest.fixture
def eager(monkeypatch):
    """Small steps, and nothing is worth walking for once a step was taken."""
    monkeypatch.setattr(find, "FIRST_LOOK", 7)
    monkeypatch.setattr(find, "WORTH_WALKING", 0)
    monkeypatch.setattr(conditions, "QUICK_PROBES", 7)
    # The default of its `probes`.
    monkeypatch.setattr(conditions.Condition.__init__, "__defaults__", (7, ()))


@pytest.fixture
def clock(monkeypatch):
    """Time passes only as a look begins and ends: as much as the list says, then 1 s each."""
    steps, now = [], SimpleNamespace(elapsed=0.0)

    def passing():
        now.elapsed += steps.pop(0) if steps else 1
        return now.elapsed

    monkeypatch.setattr(look_back, "time", SimpleNamespace(monotonic=passing))
    monkeypatch.setattr(time_limits, "time", SimpleNamespace(monotonic=lambda: now.elapsed))
    return steps


def test_the_model_has_something_of_everything(history):
    for filters in [*PLAIN, *CONDITIONED]:
        found = expected(history, filters)
        assert bool(found) == (filters.get("search") != "missing"), filters
    assert len({each.updated_at for each in history}) < len(history) / 3
    assert any(each.updated_at < each.created_at for each in history)


# Walking


def test_page_after_page_without_indexes_of_ours(history, collected):
    for filters in [*PLAIN, *CONDITIONED]:
        assert check(history, filters) == []
    assert collected.given == []


def test_in_small_steps(short_history, collected, monkeypatch):
    monkeypatch.setattr(find, "FIRST_LOOK", 7)
    for filters in CONDITIONED:
        assert check(short_history, filters) == []
    assert collected.given == []


@pytest.mark.parametrize("step", [1, 3, 10, 11])
def test_steps_that_end_where_a_page_does(monkeypatch, step):
    monkeypatch.setattr(find, "FIRST_LOOK", step)
    monkeypatch.setattr(look_back, "GROWTH", 1)
    history = make_history(seed=9, size=80)
    for filters in ({"search": "alpha"}, {"problem": "any"}, {"search": "beta", **UNTIL}):
        assert check(history, filters) == []


@pytest.mark.parametrize("size", [1, 2, 30, 1000])
def test_pages_of_any_size(eager, size):
    history = make_history(seed=9, size=80)
    build_indexes()
    for filters in ({}, UNTIL, {"search": "alpha"}, {"problem": "any", **UNTIL}):
        assert check(history, filters, page=size) == []


# Collecting


def test_page_after_page_with_all_indexes(history):
    build_indexes()
    for filters in [*PLAIN, *CONDITIONED]:
        assert check(history, filters) == []


def test_few_conversations_are_walked_through_not_collected(short_history, collected):
    build_indexes()
    for filters in CONDITIONED:
        assert check(short_history, filters) == []
    assert collected.given == []


def test_collecting_gives_the_same_pages(short_history, collected, eager):
    build_indexes()
    for filters in CONDITIONED:
        collected.given.clear()
        assert check(short_history, filters) == []
        assert None not in collected.given
        if filters.get("search") == "be":
            # In the middle of a word: no trigram to look up.
            assert collected.given == []
        elif filters != {"search": "ALPHA"}:
            assert collected.given != [], filters


def test_collecting_that_takes_too_long_gives_the_same_pages(
    short_history, collected, eager, monkeypatch
):
    build_indexes()
    monkeypatch.setattr(find, "COLLECT_SHARE", 0.0005)

    def slow(execute, sql, params, many, context):
        if collected.active and "SELECT" in sql:
            execute("SELECT pg_sleep(5)", [], False, context)
        return execute(sql, params, many, context)

    with connections["agents"].execute_wrapper(slow):
        for filters in ({"search": "beta"}, {"problem": "failed"}, {"search": "gamma", **UNTIL}):
            collected.given.clear()
            assert check(short_history, filters) == []
            assert collected.given
            assert set(map(str, collected.given)) == {"None"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_some_of_the_indexes_and_another_history(collected, eager, seed):
    history = make_history(seed + 2, 100)
    chance = random.Random(seed)
    names = build_indexes(lambda index: chance.random() < 0.5)
    for filters in [*PLAIN, *CONDITIONED]:
        collected.given.clear()
        check(history, filters)
        if filters == {"search": "missing"}:
            assert bool(collected.given) == (catalogue.TRIGRAMS.name in names)
        if filters == {"error": SAME_ERROR} and not collected.given:
            assert not {f"desk_{each}_message" for each in (
                "tasks_task_error", "tasks_tool_error", "model_call_stats_model_error"
            )} <= names  # fmt: skip


# Time runs out


@pytest.mark.slow
def test_when_time_is_up_it_says_how_far_it_looked(short_history, clock, monkeypatch):
    monkeypatch.setattr(find, "FIRST_LOOK", 7)
    for filters in CONDITIONED:
        ends = check(short_history, filters, seconds=5)
        # A page of what is common is full before that, and few are soon looked at.
        if filters != {"search": "ALPHA"} and not filters.keys() & {"agent", "start_date"}:
            assert ends, filters


@pytest.mark.slow
def test_when_time_is_up_with_indexes_too(short_history, clock, eager, collected):
    build_indexes(lambda index: "lifetime" in index.name or "task_error" in index.name)
    ends = [check(short_history, filters, seconds=6) for filters in CONDITIONED]
    assert any(ends)
    assert collected.given


@pytest.fixture
def second_step_sleeps(monkeypatch, clock):
    """The first step has all the time that it needs, the second one 50 ms, and takes longer."""
    monkeypatch.setattr(find, "FIRST_LOOK", 7)
    monkeypatch.setattr(look_back, "STEP_SECONDS", 100)
    # Before the first look, after it, and before the second one.
    clock += [0, 1, 98.95]
    slow = []

    def wrapper(execute, sql, params, many, context):
        slow.append(sql)
        if sum("OFFSET" in each for each in slow) == 2:
            execute("SELECT pg_sleep(5)", [], False, context)
        return execute(sql, params, many, context)

    with connections["agents"].execute_wrapper(wrapper):
        yield


def test_a_step_that_is_stopped_leaves_what_was_found_before(history, second_step_sleeps):
    filters = {"search": "alpha"}
    newest = sorted((each.place for each in history), key=key, reverse=True)
    found, reached = find.find(matching(filters), None, 51, seconds=100)
    assert reached == newest[6]
    assert found == [each for each in expected(history, filters) if key(each) >= key(reached)]
    assert found


@contextmanager
def stopped_at(words: str, number: int):
    """Time is up at the so many-th statement that has these words; yields those that had them."""
    matched = []

    def wrapper(execute, sql, params, many, context):
        if words in sql:
            matched.append(sql)
            if len(matched) == number:
                raise OperationalError from QueryCanceled()
        return execute(sql, params, many, context)

    with connections["agents"].execute_wrapper(wrapper):
        yield matched


@pytest.mark.parametrize("statement", [NEWEST_FIRST, "statement_timeout TO DEFAULT"])
@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_wherever_a_step_is_stopped_no_row_is_shown_twice(
    short_history, monkeypatch, statement, number
):
    monkeypatch.setattr(find, "FIRST_LOOK", 7)
    monkeypatch.setattr(look_back, "GROWTH", 1)
    # The first step's own end is not in question, nor the look at external ids before it.
    number += 1
    filters = {"search": "alpha"}
    with stopped_at(statement, number) as matched:
        [reached] = check(short_history, filters, page=200)
    assert len(matched) > number
    assert reached


@pytest.mark.parametrize("filters", [UNTIL, {**UNTIL, "search": "beta"}])
def test_a_range_of_dates_goes_on_where_its_first_part_ended(short_history, filters):
    until = matching(filters).until
    # The part that was still going on then takes one statement, or two with a condition.
    number = 3 if "search" in filters else 2
    with stopped_at(NEWEST_FIRST, number) as matched:
        found, reached = find.find(matching(filters), None, 51, 60)
    assert len(matched) == number
    assert reached.updated_at == until
    wanted = expected(short_history, filters)
    assert found == [each for each in wanted if each.updated_at > until]
    assert found
    rest, _ = find.find(matching(filters), reached, 200, 60)
    assert found + rest == wanted


def test_nothing_but_the_time_limit_is_taken_for_it(history, monkeypatch):
    monkeypatch.setattr(find, "FIRST_LOOK", 7)
    slow = []

    def broken(execute, sql, params, many, context):
        slow.append(sql)
        if sum("OFFSET" in each for each in slow) == 2:
            raise OperationalError("the connection is lost")
        return execute(sql, params, many, context)

    with connections["agents"].execute_wrapper(broken), pytest.raises(OperationalError) as caught:
        find.find(matching({"search": "missing"}), None, 51, seconds=100)
    assert not is_timeout(caught.value)


@pytest.mark.parametrize("filters", [{}, {"search": "alpha"}, {"problem": "any"}, UNTIL])
def test_when_not_even_the_newest_can_be_looked_at_the_page_says_so(
    support_client, history, filters
):
    with stopped_at(NEWEST_FIRST, 1):
        response = support_client.get("/conversations/", filters)
    assert response.status_code == 503
    assert "That took too long" in text(response)
    assert "Nothing matches" not in text(response)
    assert "No conversations" not in text(response)


# The page


def follow(response) -> str:
    older = re.search(r'rel="next" href="\?([^"]+)"[^>]*>([^<]+)<', response.content.decode())
    return older and (older[1].replace("&amp;", "&"), older[2])


def test_the_page_says_how_far_it_looked_and_leads_further(support_client, clock, monkeypatch):
    monkeypatch.setattr(find, "FIRST_LOOK", 7)
    agent = make_agent()
    made = [make_session(agent) for _ in range(60)]
    for oldest in made[:2]:
        make_message(oldest, content="needle")
    make_message(made[-1], content="needle")
    response = get(support_client, search="needle")
    assert listed(response) == [made[-1].id]
    assert "These are the matches back to" in text(response)
    assert "1+ conversations" in text(response)
    seen, pages = listed(response), 1
    while response.context["reached"]:
        assert "Older conversations were not searched" in text(response)
        assert 'hx-get="/conversations/counts/' not in response.content.decode()
        if not listed(response):
            assert "No matches yet, back to" in text(response)
        query, label = follow(response)
        assert label == "Look further back"
        response = support_client.get(f"/conversations/?{query}")
        for claim in ("Nothing matches", "No conversations yet"):
            assert claim not in text(response)
        seen += listed(response)
        pages += 1
    assert pages > 3
    assert seen == [made[-1].id, made[1].id, made[0].id]
    assert follow(response) is None


def test_a_page_that_was_looked_through_to_its_end_does_not_speak_of_time(support_client):
    make_message(make_session(), content="hay")
    response = get(support_client, search="needle")
    assert "Nothing matches" in text(response)
    assert "not looked at" not in text(response)


def test_a_cursor_between_the_rows_is_a_place_too(history):
    for filters in ({}, {"search": "alpha"}, UNTIL, {"problem": "any", **UNTIL}):
        wanted = expected(history, filters)
        for at in sorted({each.updated_at for each in history})[::7]:
            for number in (0, 2**127, 2**128 - 1):
                cursor = Cursor(at, uuid.UUID(int=number))
                found, _ = find.find(matching(filters), cursor, 3, 60)
                assert found == behind(wanted, cursor)[:3]
