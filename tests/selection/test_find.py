"""Pages of the list compared to a simple model, in every way of looking back for them."""

import random
import re
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connections
from django.http import QueryDict
from django.utils import timezone
from psycopg.errors import QueryCanceled

from backoffice.databases import time_limits
from backoffice.databases.errors import is_timeout
from conversations.indexes import catalogue, state
from conversations.models import Session
from conversations.selection import conditions, find, look_back
from conversations.selection import matching as selection_matching
from conversations.selection.filters import ConversationFilter
from conversations.selection.matching import Part
from conversations.selection.pagination import Cursor

from ..support.factories import make_agent, make_message, make_session
from ..support.histories import AGENTS, SAME_ERROR, build_indexes, expected, key, make_history
from ..support.listing import be_patient, listed
from ..support.pages import get, text

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
PAGE = 10
PROBLEMS = ["any", "failed", "running", "interrupted", "model_error", "tool_error", "task_error"]
NEWEST_FIRST = 'ORDER BY 1 DESC, "sessions"."id" DESC'
RANGE = {"start_date": "2026-06-03", "end_date": "2026-06-05"}
ACTIVE = {"active_from": "2026-06-03", "active_until": "2026-06-04"}
UNTIL = {"end_date": "2026-06-05T12:00"}

# Filters without and with conditions on other tables.
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
    {"tool": "step"},
    {"tool": "step", "step": "failed", **UNTIL},
    {"node": "step", "agent": AGENTS[0]},
    {"model": "step", "search": "alpha"},
    {"search": "alpha", "problem": "any"},
    {"search": "beta", "external_id": "user-1"},
    {"problem": "failed", "external_id": "user-", **UNTIL},
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
    """Go through all pages like the list; each must be right. Returns what was `reached`."""
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
    """Records calls of find.collect, and whether it returned rows."""

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
    """Makes steps small, and collecting preferable after the first step."""
    monkeypatch.setattr(find, "FIRST_LOOK", 7)
    monkeypatch.setattr(find, "WORTH_WALKING", 0)
    monkeypatch.setattr(find, "WORTH_COLLECTING", 0)
    monkeypatch.setattr(conditions, "QUICK_PROBES", 7)
    # The default of `probes`.
    monkeypatch.setattr(conditions.Condition.__init__, "__defaults__", (7, (), (), None, None))


@pytest.fixture
def clock(monkeypatch):
    """Time passes only when a pass begins and ends: the listed seconds, then 1 s each."""
    steps, now = [], SimpleNamespace(elapsed=0.0)

    def passing():
        now.elapsed += steps.pop(0) if steps else 1
        return now.elapsed

    monkeypatch.setattr(look_back, "time", SimpleNamespace(monotonic=passing))
    monkeypatch.setattr(time_limits, "time", SimpleNamespace(monotonic=lambda: now.elapsed))
    return steps


def test_the_history_covers_everything(history):
    for filters in [*PLAIN, *CONDITIONED]:
        found = expected(history, filters)
        assert bool(found) == (filters.get("search") != "missing"), filters
    assert len({each.updated_at for each in history}) < len(history) / 3
    assert any(each.updated_at < each.created_at for each in history)


# Probing one by one


def test_page_after_page_without_indexes_of_ours(history, collected):
    for filters in [*PLAIN, *CONDITIONED]:
        assert check(history, filters) == []
    assert collected.given == []


@pytest.mark.parametrize("indexed", [False, True])
def test_the_page_above_any_place(short_history, eager, indexed):
    if indexed:
        build_indexes()
    places = [made.place for made in short_history[::7]]
    for filters in [*PLAIN, *CONDITIONED]:
        wanted = expected(short_history, filters)
        for cursor in places:
            above = [each for each in wanted if key(each) >= key(cursor)][::-1]
            assert find.newer_page(matching(filters), cursor, PAGE, 60) == above[:PAGE], filters


@pytest.mark.parametrize(
    ("filters", "indexed", "at_most", "few"),
    [
        ({"external_id": "user-1"}, True, 300, True),
        ({"external_id": "user-1", "search": "beta"}, True, 300, True),
        ({"external_id": "user-1", **UNTIL}, True, 300, True),
        ({"external_id": "user-1"}, True, 1, False),
        ({"external_id": "user-1"}, False, 300, False),
        ({"agent": AGENTS[0]}, True, 300, False),
    ],
)
def test_external_ids_that_begin_alike_are_found_at_once_and_then_sorted(
    history, monkeypatch, filters, indexed, at_most, few
):
    """Walking back from the newest conversation might pass all others first."""
    monkeypatch.setattr(selection_matching, "WORTH_SORTING_ALIKE", at_most)
    if indexed:
        build_indexes()
    assert check(history, filters) == []
    above = key(history[0].place)
    parts = [
        *matching(filters).parts(None),
        *matching(filters).parts_above(Cursor(*above)),
        matching(filters).part(Session.objects.all()),
    ]
    assert {part.is_few for part in parts} == {few}
    assert (" + interval '0'" in str(parts[0].newest_first().query)) == few


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


def test_few_conversations_are_probed_instead_of_collected(short_history, collected):
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
            # In the middle of a word, so there is no trigram to look up.
            assert collected.given == []
        elif filters != {"search": "ALPHA"}:
            assert collected.given != [], filters


def test_matches_are_collected_as_soon_as_a_look_back_finds_nothing(collected, monkeypatch):
    monkeypatch.setattr(find, "FIRST_LOOK", 7)
    monkeypatch.setattr(find, "WORTH_WALKING", 0)
    monkeypatch.setattr(find, "WORTH_COLLECTING", 0)
    history = make_history(seed=1, size=60)
    build_indexes()
    newest = sorted(history, key=lambda made: key(made.place))[-7:]
    assert not any("task_error" in made.problems for made in newest)
    assert any("alpha" in made.words for made in newest)
    for filters, number in (({"problem": "task_error"}, 1), ({"search": "alpha"}, 0)):
        collected.given.clear()
        check(history, filters, page=60)
        assert len(collected.given) == number, filters


@dataclass(frozen=True)
class Rows:
    """A condition of which PostgreSQL expects a number of rows."""

    number: int
    indexed: bool = True
    covered_by: tuple[str, ...] = ()

    def expected_rows(self):
        return self.number


def rarest(given: list[Rows]) -> list[bool]:
    found = find.rarest(Part(Session.objects.all()), given)
    return [each in found for each in given]


@pytest.mark.parametrize(
    ("given", "are_rare"),
    [
        ([Rows(50_000)], [True]),
        ([Rows(50_000, indexed=False)], [False]),
        ([Rows(100), Rows(50_000)], [True, False]),
        ([Rows(50_000), Rows(100)], [False, True]),
        # Probing would take longer.
        ([Rows(100), Rows(1_500)], [True, True]),
        ([Rows(100), Rows(1_500, covered_by=("index",))], [True, False]),
        ([Rows(100, indexed=False), Rows(50_000)], [False, True]),
    ],
)
def test_only_the_rarest_conditions_are_collected(monkeypatch, given, are_rare):
    monkeypatch.setattr(find, "expected_rows", lambda rows: 1_000_000)
    assert rarest(given) == are_rare


def test_nothing_is_collected_if_the_other_filters_leave_few_conversations(monkeypatch):
    monkeypatch.setattr(find, "expected_rows", lambda rows: 20)
    assert rarest([Rows(500), Rows(100)]) == [False, True]
    assert rarest([Rows(500), Rows(100, covered_by=("index",))]) == [False, False]


def test_collecting_that_takes_too_long_gives_the_same_pages(
    short_history, collected, eager, monkeypatch
):
    build_indexes()
    monkeypatch.setattr(look_back, "COLLECT_SHARE", 0.0005)

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


@pytest.mark.parametrize("seed", range(4))
def test_other_histories_with_some_of_the_indexes(collected, eager, seed):
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


# When time runs out


def test_it_says_how_far_it_looked_when_time_is_up(short_history, clock, monkeypatch):
    monkeypatch.setattr(find, "FIRST_LOOK", 7)
    for filters in CONDITIONED:
        ends = check(short_history, filters, seconds=5)
        # With common words the page fills earlier, and few conversations take little time.
        if filters != {"search": "ALPHA"} and not filters.keys() & {"agent", "start_date"}:
            assert ends, filters


def test_it_says_how_far_it_looked_with_indexes_too(short_history, clock, eager, collected):
    build_indexes(lambda index: "lifetime" in index.name or "task_error" in index.name)
    ends = [check(short_history, filters, seconds=6) for filters in CONDITIONED]
    assert any(ends)
    assert collected.given


@pytest.fixture
def second_step_sleeps(monkeypatch, clock):
    """The first step has plenty of time; the second has 50 ms and takes longer."""
    monkeypatch.setattr(find, "FIRST_LOOK", 7)
    monkeypatch.setattr(look_back, "STEP_SECONDS", 100)
    # Before the first pass, after it, and before the second one.
    clock += [0, 1, 98.95]
    slow = []

    def wrapper(execute, sql, params, many, context):
        slow.append(sql)
        if sum("OFFSET" in each for each in slow) == 2:
            execute("SELECT pg_sleep(5)", [], False, context)
        return execute(sql, params, many, context)

    with connections["agents"].execute_wrapper(wrapper):
        yield


def test_a_stopped_step_keeps_what_was_found_before(history, second_step_sleeps):
    filters = {"search": "alpha"}
    newest = sorted((each.place for each in history), key=key, reverse=True)
    found, reached = find.find(matching(filters), None, 51, seconds=100)
    assert reached == newest[6]
    assert found == [each for each in expected(history, filters) if key(each) >= key(reached)]
    assert found


@contextmanager
def stopped_at(words: str, number: int):
    """Time is up at this number of statements with these words; yields the statements."""
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
    # Leaves out the end of the first step, and the search for external ids before it.
    number += 1
    filters = {"search": "alpha"}
    with stopped_at(statement, number) as matched:
        [reached] = check(short_history, filters, page=200)
    assert len(matched) > number
    assert reached


@pytest.mark.parametrize("filters", [UNTIL, {**UNTIL, "search": "beta"}])
def test_a_range_of_dates_continues_where_its_first_part_ended(short_history, filters):
    until = matching(filters).until
    # Conversations still active at the end take one statement, or two with a condition.
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


def test_other_errors_are_not_taken_for_the_time_limit(history, monkeypatch):
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
def test_the_page_says_if_not_even_the_newest_could_be_searched(support_client, history, filters):
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


def test_the_page_says_how_far_it_looked_and_links_further(support_client, clock, monkeypatch):
    monkeypatch.setattr(find, "FIRST_LOOK", 7)
    agent = make_agent()
    made = [make_session(agent) for _ in range(60)]
    for oldest in made[:2]:
        make_message(oldest, content="needle")
    make_message(made[-1], content="needle")
    response = get(support_client, search="needle")
    assert listed(response) == [made[-1].id]
    assert "These are the matches since" in text(response)
    assert "1+ conversations" in text(response)
    seen, pages = listed(response), 1
    while response.context["reached"]:
        assert "Searching older conversations would have taken too long" in text(response)
        assert 'hx-get="/conversations/counts/' not in response.content.decode()
        if not listed(response):
            assert "No matches since" in text(response)
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


def test_a_complete_page_does_not_mention_time(support_client):
    make_message(make_session(), content="hay")
    response = get(support_client, search="needle")
    assert "Nothing matches" in text(response)
    assert "not looked at" not in text(response)


def test_a_cursor_may_lie_between_rows(history):
    for filters in ({}, {"search": "alpha"}, UNTIL, {"problem": "any", **UNTIL}):
        wanted = expected(history, filters)
        for at in sorted({each.updated_at for each in history})[::7]:
            for number in (0, 2**127, 2**128 - 1):
                cursor = Cursor(at, uuid.UUID(int=number))
                found, _ = find.find(matching(filters), cursor, 3, 60)
                assert found == behind(wanted, cursor)[:3]


def test_what_an_id_finds_far_back_is_not_repeated_on_every_page(monkeypatch, db):
    now = timezone.now()
    newest, second, oldest = (make_session(updated_at=now - timedelta(days=n)) for n in (1, 2, 3))
    filters = matching({"search": str(oldest.id)})
    cursor, reached = (Cursor(each.updated_at, each.id) for each in (newest, second))
    monkeypatch.setattr(find, "search", lambda *others: ([], reached))
    assert [place.id for place in find.find(filters, None, 10, 60)[0]] == [oldest.id]
    assert find.find(filters, cursor, 10, 60) == ([], reached)
