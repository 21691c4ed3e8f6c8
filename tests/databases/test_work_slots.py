"""Heavy reading waits for a free slot, so that pages stay fast."""

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connections
from django.http import HttpResponse, QueryDict
from django.test import override_settings

from backoffice import client as backoffice_client
from backoffice.databases import work_slots
from backoffice.databases.errors import is_timeout
from backoffice.databases.time_limits import time_limit
from backoffice.databases.work_slots import WorkSlot, wait_for_slot
from conversations.exports import stream
from conversations.indexes import state
from conversations.listing import counts
from conversations.models import Session
from conversations.selection import conditions, find, look_back
from conversations.selection.conditions import SLOW_PROBES
from conversations.selection.filters import ConversationFilter
from conversations.selection.matching import Matching

from ..support.exports import export, slots_taken
from ..support.factories import make_message, make_session
from ..support.histories import build_indexes, key, make_history

# A slot is held until its transaction ends, which here is the end of the test.
pytestmark = pytest.mark.django_db
ALL = (1, 2)


@pytest.fixture(autouse=True)
def _two_slots(monkeypatch):
    monkeypatch.setattr(work_slots, "SLOTS", len(ALL))
    # As if there were four processors.
    monkeypatch.setattr(backoffice_client, "REST_RATIO", 2)
    state.forget()
    yield
    state.forget()


def matching(query=""):
    found = ConversationFilter(QueryDict(query), queryset=Session.objects.all())
    assert found.is_valid(), found.errors
    return found.matching


def gets_a_slot(work: WorkSlot, seconds: float = 30) -> bool:
    try:
        with time_limit("agents", seconds), wait_for_slot("agents", work):
            return True
    except OperationalError as error:
        if not is_timeout(error):
            raise
        return False


def test_no_more_run_than_there_are_slots():
    with slots_taken(*ALL, work=WorkSlot.LOOK_BACK):
        assert not gets_a_slot(WorkSlot.LOOK_BACK, 0.3)
        assert gets_a_slot(WorkSlot.COUNT)
    with slots_taken(1, work=WorkSlot.LOOK_BACK):
        assert gets_a_slot(WorkSlot.LOOK_BACK)


def test_waiting_ends_when_a_slot_is_free():
    began, took = threading.Event(), threading.Event()

    def wait():
        try:
            began.set()
            with wait_for_slot("agents", WorkSlot.COUNT):
                took.set()
        finally:
            connections["agents"].close()

    with ThreadPoolExecutor(1) as pool:
        with slots_taken(*ALL, work=WorkSlot.COUNT):
            waiting = pool.submit(wait)
            assert began.wait(10)
            assert not took.wait(0.3)
        waiting.result(10)
    assert took.is_set()


def small_steps(monkeypatch):
    monkeypatch.setattr(find, "FIRST_LOOK", 7)
    monkeypatch.setattr(conditions.Condition.__init__, "__defaults__", (7, (), (), None, None))


def test_a_search_needs_a_slot_to_look_back_further(monkeypatch):
    history = make_history(seed=1, size=100)
    small_steps(monkeypatch)
    newest = sorted((each.place for each in history), key=key, reverse=True)
    with slots_taken(*ALL, work=WorkSlot.LOOK_BACK):
        found, reached = find.find(matching("search=missing"), None, 51, 1)
    assert (found, reached) == ([], newest[6])
    found, reached = find.find(matching("search=missing"), None, 51, 60)
    assert (found, reached) == ([], None)


def test_the_newest_conversations_are_searched_without_a_slot():
    make_history(seed=1, size=100)
    with slots_taken(*ALL, work=WorkSlot.LOOK_BACK):
        for query in ("", "search=missing", "search=alpha", "problem=any"):
            _, reached = find.find(matching(query), None, 51, 60)
            assert reached is None, query


def test_collecting_waits_for_a_slot(monkeypatch):
    make_history(seed=1, size=100)
    build_indexes()
    small_steps(monkeypatch)
    monkeypatch.setattr(find, "WORTH_WALKING", 0)
    collected = []
    collect = find.collect

    def spied(*args):
        collected.append(collect(*args))
        return collected[-1]

    monkeypatch.setattr(find, "collect", spied)
    with slots_taken(*ALL, work=WorkSlot.COLLECT):
        find.find(matching("search=missing"), None, 51, 1)
    find.find(matching("search=missing"), None, 51, 60)
    assert collected == [None, ([], None)]


def test_a_step_releases_its_slot_soon(monkeypatch):
    """A row takes 10 ms here, so a step has at most ten rows, however much time there is."""
    make_history(seed=1, size=60)
    small_steps(monkeypatch)
    steps = []
    places = find.places

    def spied(queryset, limit, skipped=0):
        if limit == 1:
            steps.append(skipped + 1)
            with connections["agents"].cursor() as cursor:
                cursor.execute("SELECT pg_sleep(%s)", [steps[-1] / 100])
        return places(queryset, limit, skipped)

    monkeypatch.setattr(find, "places", spied)
    find.find(matching("search=missing"), None, 51, 60)
    assert steps[0] == 7
    assert len(steps) >= 6
    assert max(steps) <= 10


def test_only_counts_with_a_condition_wait_for_a_slot(monkeypatch):
    make_history(seed=1, size=100)
    with slots_taken(*ALL, work=WorkSlot.COUNT):
        assert counts.full_total(matching()) == {"exact": 100}
        with monkeypatch.context() as hasty, override_settings(STATEMENT_TIMEOUT_SECONDS=0.5):
            hasty.setattr(counts, "PROBLEM_SECONDS", 0.1)
            hasty.setattr(counts, "COMMON_SECONDS", 0.1)
            assert counts.full_total(matching("problem=any")) == {}
    assert counts.full_total(matching("problem=any"))["exact"] > 0


def test_few_conversations_are_counted_without_a_slot(monkeypatch):
    make_history(seed=1, size=100)
    filters = ConversationFilter(QueryDict(), queryset=Session.objects.all())
    with slots_taken(*ALL, work=WorkSlot.COUNT):
        # As if finding out their number had been quick.
        monkeypatch.setattr(counts, "SECONDS", 60)
        asked = counts.counted(filters)["numbers"]
        monkeypatch.setattr(counts, "PROBLEM_SECONDS", 0.05)
        monkeypatch.setattr(counts, "SECONDS", 0)
        assert set(counts.counted(filters)["numbers"].values()) == {None}
        # Not if there are more of them than are probed one by one.
        assert set(counts.of_problems(filters, SLOW_PROBES + 1).values()) == {None}
    monkeypatch.setattr(counts, "PROBLEM_SECONDS", 5)
    assert counts.of_problems(filters, SLOW_PROBES + 1) == asked
    assert asked["any"] > 0


@pytest.mark.parametrize(
    ("query", "ways"), [("problem=any", [0, 1]), ("search=alpha", [1]), ("", [0])]
)
def test_a_total_is_counted_in_the_fastest_way_first(monkeypatch, query, ways):
    """Rows with a problem are collected if indexes hold them; words are probed."""
    make_history(seed=1, size=100)
    build_indexes()
    tried = []
    queryset = Matching.queryset

    def spied(self, probes=0):
        tried.append(probes)
        return queryset(self, probes)

    monkeypatch.setattr(Matching, "queryset", spied)
    monkeypatch.setattr(counts, "count", lambda *args, **options: None)
    assert counts.full_total(matching(query)) == {}
    # The last try is exact.
    assert tried == ([*ways, 0] if query else ways)


def test_slow_counts_are_cached_longer(monkeypatch):
    monkeypatch.setattr(counts, "CACHE_SECONDS", 10)
    monkeypatch.setattr(counts, "CACHE_TIMES", 20)
    filters = ConversationFilter(QueryDict(), queryset=Session.objects.all())
    kept = []
    monkeypatch.setattr(counts.cache, "get", lambda key: None)
    monkeypatch.setattr(counts.cache, "set", lambda key, value, seconds: kept.append(seconds))
    times = iter([0, 0.1, 100, 102, 200, 202, 300, 302])
    monkeypatch.setattr(counts, "time", SimpleNamespace(monotonic=lambda: next(times)))
    whole, part = {"total": {"exact": 1}, "numbers": {"any": 1}}, {"total": {}, "numbers": {}}
    for found in (whole, whole, part):
        monkeypatch.setattr(counts, "counted", lambda filters, found=found: found)
        counts.of_list(filters)
    assert kept == [10, 40, 10]
    # A count that was cancelled because the client left.
    left = backoffice_client.current_client.set(SimpleNamespace(has_left=True))
    counts.of_list(filters)
    backoffice_client.current_client.reset(left)
    assert len(kept) == 3


def ask_elsewhere():
    answer = backoffice_client.watch_client(lambda request: HttpResponse())
    thread = threading.Thread(
        target=answer, args=[type("Request", (), {"META": {}, "method": "GET"})]
    )
    thread.start()
    thread.join()


def test_requests_count_for_a_second_and_for_each_process(monkeypatch, client):
    monkeypatch.setattr(backoffice_client, "_began", deque())
    client.get("/livez")
    assert backoffice_client.others() == 0
    ask_elsewhere()
    assert backoffice_client.others() == 1
    ask_elsewhere()
    assert backoffice_client.others() == 2
    monkeypatch.setattr(backoffice_client, "processes", 4)
    assert backoffice_client.others() == 8
    monkeypatch.setattr(backoffice_client, "ACTIVE_SECONDS", 0)
    assert backoffice_client.others() == 0


@pytest.mark.parametrize(
    ("others", "worked", "rest"), [(0, 0.5, 0), (1, 0.5, 1), (2, 0.5, 2), (3, 0.5, 2), (1, 9, 0)]
)
def test_rests_grow_with_the_number_of_other_requests(monkeypatch, others, worked, rest):
    rests = []
    monkeypatch.setattr(backoffice_client, "others", lambda: others)
    monkeypatch.setattr(backoffice_client, "time", SimpleNamespace(sleep=rests.append))
    # If time has run out, there is no rest.
    backoffice_client.give_way(worked, 2 if worked < 1 else -1)
    assert rests == [rest]


def test_an_export_gives_way_after_each_burst(support_client, monkeypatch):
    for _ in range(4):
        make_message(make_session(), content="word " * 30_000)
    given, now = [], iter(range(10_000))
    monkeypatch.setattr(stream, "give_way", lambda worked, at_most: given.append(worked))
    # Each reading of the clock is a tenth of a second later than the last.
    clock = SimpleNamespace(monotonic=lambda: next(now) / 10)
    monkeypatch.setattr(stream, "time", clock)
    assert export(support_client, "messages.csv").count(b"word " * 30_000) == 4
    assert given
    least = stream.BURST * stream.PATIENCE
    assert all(least < worked < 10 * stream.PATIENCE for worked in given)


def test_a_search_gives_way_before_each_pass_with_a_slot(monkeypatch):
    make_history(seed=1, size=60)
    small_steps(monkeypatch)
    given, slots = [], []

    def spied(alias, work):
        slots.append(work)
        return wait_for_slot(alias, work)

    monkeypatch.setattr(look_back, "give_way", lambda worked, at_most: given.append(at_most))
    monkeypatch.setattr(look_back, "wait_for_slot", spied)
    find.find(matching("search=missing"), None, 51, 60)
    assert set(slots) == {WorkSlot.LOOK_BACK}
    assert len(given) == len(slots)
    assert set(given) == {look_back.REST_SECONDS}


@pytest.mark.parametrize(("share", "rests"), [(0.5, True), (0, False)])
def test_an_export_rests_only_in_the_first_part_of_its_time(
    support_client, monkeypatch, share, rests
):
    for _ in range(4):
        make_message(make_session(), content="word " * 30_000)
    given = []
    monkeypatch.setattr(stream, "give_way", lambda worked, at_most: given.append(at_most))
    monkeypatch.setattr(stream, "BURST", -1)
    monkeypatch.setattr(stream, "REST_SHARE", share)
    assert export(support_client, "messages.csv").count(b"word " * 30_000) == 4
    assert given
    assert all((at_most == stream.REST_SECONDS) == rests for at_most in given)
    assert all((at_most > 0) == rests for at_most in given)
