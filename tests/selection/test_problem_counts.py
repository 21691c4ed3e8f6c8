"""The filters for problems, one error and evaluations, and the numbers beside them."""

import uuid
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connections
from django.utils import timezone

from conversations.listing import counts as product

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
from ..support.listing import COUNTS, be_patient, listed, match, shown_counts, slowed
from ..support.pages import HTMX, get, text

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
LABELS = {
    "any": "Any problem",
    "failed": "Run failed",
    "running": "Run still running",
    "interrupted": "Run interrupted",
    "model_error": "Model call failed",
    "tool_error": "Tool call failed",
    "task_error": "Task error",
}
# How many conversations `troubled` makes of each kind of problem; one has a second kind as well.
MADE = {
    "failed": 3,
    "running": 2,
    "interrupted": 1,
    "model_error": 3,
    "tool_error": 2,
    "task_error": 1,
}
NUMBERS = {**MADE, "failed": 4, "any": 10}
THOUSAND_FAILED = """
    WITH made AS (
        INSERT INTO sessions (id, agent_id, created_at, updated_at)
        SELECT gen_random_uuid(), %s, now(), now() FROM generate_series(1, 1000) RETURNING id
    )
    INSERT INTO runs (id, session_id, duration_seconds, created_at, updated_at)
    SELECT gen_random_uuid(), id, 1, now(), now() FROM made
"""
PROBLEM_COUNTS = r"SELECT COUNT\(\*\).*(runs|tasks|model_call_stats)"


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    be_patient(monkeypatch)


def make_trouble(kind, agent, **fields):
    """A conversation with that problem twice, so that rows and conversations differ in number."""
    session = make_session(agent, **fields)
    unfinished = {"output_data": None, "duration_seconds": None}
    for _ in range(2):
        if kind == "failed":
            make_run(session, output_data=None)
        elif kind == "running":
            make_run(session, **unfinished, created_at=timezone.now())
        elif kind == "interrupted":
            make_run(session, **unfinished)
        elif kind == "model_error":
            make_model_call(session, make_run(session), response_code=500)
        elif kind == "tool_error":
            make_task(make_run(session), session, node_type="tool_call",
                      output=Json({"result": "Error: x"}))  # fmt: skip
        elif kind == "task_error":
            make_task(make_run(session), session, errors=Json(["x"]))
    return session


@pytest.fixture
def troubled():
    """Conversations of each kind, one that failed and also has model errors, and a healthy one."""
    agent = make_agent()
    made = {kind: [make_trouble(kind, agent) for _ in range(MADE[kind])] for kind in MADE}
    make_run(made["model_error"][0], output_data=None)
    make_trouble("none", agent)


def counts(client, **filters) -> dict[str, str]:
    response = get(client, COUNTS, headers=HTMX, **filters)
    assert "<html" not in response.content.decode()
    return shown_counts(response)


def expected(**numbers) -> dict[str, str]:
    return {LABELS[kind]: str(numbers.get(kind, 0)) for kind in LABELS}


def test_each_kind_is_counted_by_conversations(support_client, troubled):
    assert counts(support_client) == expected(**NUMBERS)


def test_the_numbers_agree_with_their_links(support_client, troubled):
    shown = counts(support_client)
    for problem in get(support_client, COUNTS).context["problems"]:
        if problem["kind"]:
            response = support_client.get(f"/conversations/?{problem['query']}")
            assert len(listed(response)) == int(shown[problem["label"]].replace(",", "")), problem


def test_the_numbers_do_not_depend_on_the_problem_that_is_chosen(support_client, troubled):
    every = counts(support_client)
    for kind in LABELS:
        assert counts(support_client, problem=kind) == every


@pytest.mark.parametrize("chosen", ["tool_error", "any"])
def test_only_the_chosen_tab_counts_one_error(support_client, failing, chosen):
    error = "restart: device SN-… is off"
    query = {"problem": chosen, "error": error}
    every = counts(support_client)
    assert counts(support_client, **query) == every | {LABELS[chosen]: "2"}
    for problem in get(support_client, COUNTS, **query).context["problems"][1:]:
        found = match(support_client, f"/conversations/?{problem['query']}")
        shown = problem["number"]
        assert len(found) == shown, problem
    assert len(match(support_client, error="device SN-… is off", problem=chosen)) == 0


def test_problems_of_a_period_are_counted_in_that_period(support_client):
    now = timezone.now()
    for days in (1, 2, 3):
        session = make_session()
        make_task(make_run(session), session, "t", errors=Json("x"), created_at=ago(now, days))
    since, until = ago(now, 2), ago(now, 1)
    dates = {"problem_from": since.isoformat(), "problem_until": until.isoformat()}
    assert counts(support_client, **dates) == expected(any=1, task_error=1)
    # The start is included, the end is not.
    for query in (dates, {**dates, "problem": "task_error"}, {**dates, "error": "t: x"}):
        assert len(match(support_client, **query)) == 1, query
    assert len(match(support_client, problem_from=since.isoformat())) == 2
    assert len(match(support_client, problem_until=until.isoformat())) == 2
    everything, *_ = get(support_client, COUNTS, **dates).context["problems"]
    assert len(match(support_client, f"/conversations/?{everything['query']}")) == 3


def ago(now, days):
    return now - timedelta(days=days)


def test_the_row_shows_the_error_that_was_filtered_for(support_client):
    session = make_session()
    run = make_run(session)
    now = timezone.now()
    for days, words in ((3, "old 1"), (2, "old 2"), (1, "young")):
        output = Json({"result": f"Error: {words}"})
        make_task(run, session, "t", "tool_call", output=output, created_at=ago(now, days))
    make_task(run, session, "other", errors=Json("newest"), created_at=now)

    def told(**query):
        [row] = get(support_client, **query).context["rows"]
        return row.newest_problem

    assert told() == "task other: newest"
    assert told(error="t: old …") == "tool t: old 2"
    assert told(error="…: old …", problem="tool_error") == "tool t: old 2"
    assert told(problem="tool_error") == "tool t: young"
    assert told(problem_until=ago(now, 2).isoformat()) == "tool t: old 1"
    until = ago(now, 2).isoformat()
    assert told(error="t: old …", problem_until=until) == "tool t: old 1"


def test_runs_without_a_reason_are_found_and_say_so(support_client):
    agent = make_agent()
    silent, told = make_session(agent), make_session(agent)
    make_run(silent, output_data=NULL)
    run = make_run(told, output_data=NULL)
    make_task(run, told, "t", errors=Json("x"))
    none = {"problem": "failed", "error": "no reason was recorded"}
    assert match(support_client, problem="failed") == [told.id, silent.id]
    response = get(support_client, **none)
    assert [row.pk for row in response.context["rows"]] == [silent.id]
    [row] = response.context["rows"]
    assert row.newest_problem == "A run failed, and no reason was recorded"
    assert counts(support_client, **none)[LABELS["failed"]] == "1"


def test_the_numbers_respect_the_other_filters(support_client, troubled):
    agent, now = make_agent(), timezone.now()
    session = make_trouble("failed", agent, external_id="t-1", created_at=now - timedelta(days=40))
    make_message(session, content="a needle")
    make_trouble("tool_error", agent, external_id="eval:x")
    day = (now - timedelta(days=40)).date()
    failed = expected(any=1, failed=1)
    assert counts(support_client, external_id="t-") == failed
    assert counts(support_client, search="NEEDLE") == failed
    assert counts(support_client, search="needle", scope="all") == failed
    assert counts(support_client, start_date=day, end_date=day) == failed
    assert counts(support_client, agent=agent.id, evals="hidden") == failed
    assert counts(support_client, agent=agent.id) == expected(any=2, failed=1, tool_error=1)
    assert counts(support_client, agent=agent.id, search="needle", external_id="u") == expected()


def test_the_words_of_a_tool_call_narrow_the_numbers(support_client, troubled):
    assert counts(support_client, search="xx", scope="all") == expected()
    session = make_trouble("tool_error", make_agent())
    make_task(make_run(session), session, node_type="tool_call", tool_uri="python://needle")
    assert counts(support_client, search="needle", scope="all") == expected(any=1, tool_error=1)


def test_the_fragment_has_the_exact_total_and_marks_what_is_chosen(support_client, troubled):
    response = get(support_client, COUNTS, problem="running")
    assert "2 conversations" in text(response)
    chosen = [each["kind"] for each in response.context["problems"] if each["chosen"]]
    assert chosen == ["running"]
    assert 'hx-trigger="load"' not in response.content.decode()


def test_numbers_beyond_the_limit_are_shown_as_more(support_client, troubled, monkeypatch):
    monkeypatch.setattr("conversations.listing.counts.PROBLEM_UP_TO", 3)
    shown = counts(support_client)
    assert shown == expected(**NUMBERS) | {LABELS["any"]: "3+", LABELS["failed"]: "3+"}
    monkeypatch.setattr("conversations.listing.counts.PROBLEM_UP_TO", 4)
    assert counts(support_client) == expected(**NUMBERS) | {
        LABELS["any"]: "4+",
        LABELS["failed"]: "4",
    }


def test_a_thousand_are_counted_and_one_more_is_not(support_client):
    agent = make_agent()
    with connections["agents_write"].cursor() as cursor:
        cursor.execute(THOUSAND_FAILED, [agent.id])
        # Without statistics, the planner would compare each row with each.
        cursor.execute("ANALYZE sessions, runs")
    assert counts(support_client)[LABELS["failed"]] == "1,000"
    make_trouble("failed", agent)
    shown = counts(support_client)
    assert shown[LABELS["failed"]] == shown[LABELS["any"]] == "1,000+"


@pytest.mark.parametrize(("quick", "ways"), [(60, 2), (0, 1)])
def test_a_number_that_takes_too_long_is_unavailable(
    support_client, troubled, monkeypatch, quick, ways
):
    """A few conversations are counted quickly, by probing each, before all are collected."""
    monkeypatch.setattr("conversations.listing.counts.SECONDS", quick)
    monkeypatch.setattr("conversations.listing.counts.PROBLEM_SECONDS", 0.02)
    with slowed(PROBLEM_COUNTS) as slow:
        response = get(support_client, COUNTS)
    assert len(slow) == ways * len(LABELS)
    assert set(shown_counts(response).values()) == {"unavailable"}
    assert "13 conversations" in text(response)


def test_only_the_kind_that_is_slow_is_unavailable(support_client, troubled, monkeypatch):
    monkeypatch.setattr("conversations.listing.counts.PROBLEM_SECONDS", 0.5)
    with slowed("model_call_stats.*response_code", seconds=60):
        shown = counts(support_client)
    slow = {"any": "unavailable", "model_error": "unavailable"}
    assert shown == expected(**NUMBERS | slow)


def test_counts_without_time_left_are_neither_run_nor_zero(support_client, troubled, monkeypatch):
    monkeypatch.setattr("conversations.listing.counts.PROBLEMS_SECONDS", 0)
    assert set(counts(support_client).values()) == {"unavailable"}


def test_a_search_whose_counts_take_too_long(support_client, troubled, monkeypatch):
    for name in ("PROBLEM_SECONDS", "COMMON_SECONDS"):
        monkeypatch.setattr(f"conversations.listing.counts.{name}", 0.02)
    monkeypatch.setattr("django.conf.settings.STATEMENT_TIMEOUT_SECONDS", 0.05)
    with slowed(r"SELECT COUNT\(\*\)"):
        response = get(support_client, COUNTS, search="needle")
    assert set(shown_counts(response).values()) == {"unavailable"}
    assert "Too many conversations to count in time" in text(response)


def test_an_invalid_filter_has_no_numbers(support_client, troubled):
    response = get(support_client, COUNTS, start_date="soon")
    assert "Fix the highlighted filter to see results" in text(response)
    assert "number" not in response.content.decode()


# The total


def test_the_total_beyond_what_the_list_counts_is_exact(support_client, monkeypatch):
    monkeypatch.setattr("conversations.listing.counts.UP_TO", 54)
    agent = make_agent()
    for _ in range(60):
        make_session(agent)
    assert "54+ conversations" in text(get(support_client))
    assert "60 conversations" in text(get(support_client, COUNTS))
    monkeypatch.setattr("conversations.listing.counts.UP_TO", 60)
    assert " 60 conversations" in text(get(support_client))


def test_common_words_are_counted_up_to_the_limit(support_client, monkeypatch):
    monkeypatch.setattr("conversations.listing.counts.UP_TO", 4)
    agent = make_agent()
    for _ in range(5):
        make_message(make_session(agent), content="hello")
    assert "4+ conversations" in text(get(support_client, COUNTS, search="hello"))
    monkeypatch.setattr("conversations.listing.counts.UP_TO", 5)
    assert " 5 conversations" in text(get(support_client, COUNTS, search="hello"))


def test_a_list_without_its_total_requests_it_and_claims_nothing(support_client, monkeypatch):
    monkeypatch.setattr("conversations.listing.counts.SECONDS", 0.02)
    agent = make_agent()
    for _ in range(60):
        make_session(agent)
    with slowed(r"SELECT COUNT\(\*\)"):
        response = get(support_client)
    assert "50+ conversations" in text(response)
    assert 'hx-get="/conversations/counts/" hx-trigger="load"' in response.content.decode()


# One error, and evaluations


@pytest.fixture
def failing():
    """Three conversations: two with errors that differ only in a number, one with another error."""
    agent = make_agent()
    made = [make_session(agent) for _ in range(3)]
    for session, words in zip(made, ["SN-1 is off", "SN-22 is off", "lost"], strict=True):
        output = Json({"result": f"Error: device {words}"})
        make_task(make_run(session), session, "restart", "tool_call", output=output)
    make_task(make_run(made[2]), made[2], "restart", errors=Json("device lost"))
    return [session.id for session in made]


def test_one_error_finds_all_problems_with_the_same_message(support_client, failing):
    first, second, third = failing
    same = "restart: device SN-… is off"
    assert match(support_client, error=same) == [second, first]
    assert match(support_client, error=same, problem="tool_error") == [second, first]
    assert match(support_client, error=same, problem="task_error") == []
    assert match(support_client, error="restart: device lost", problem="task_error") == [third]
    for other in (same.upper(), same[:-1], "restart: device SN-1 is off", "restart", "%"):
        assert match(support_client, error=other) == []


def test_one_error_is_a_chip_and_is_removed_with_the_problem(support_client, failing):
    response = get(support_client, error="restart: device lost", problem="tool_error")
    chips = {chip["label"]: chip for chip in response.context["chips"]}
    assert chips["Error"]["text"] == "restart: device lost"
    kept = [each["kind"] for each in response.context["problems"] if "error=" in each["query"]]
    assert kept == ["tool_error"]


@pytest.mark.parametrize("error", ["x" * 401, "a\0b"])
def test_an_invalid_error_shows_nothing(support_client, failing, error):
    response = get(support_client, error=error)
    assert listed(response) == []
    assert list(response.context["filter"].errors) == ["error"]


def test_evaluations_are_marked_and_can_be_hidden(support_client):
    agent = make_agent()
    names = [None, "", "eval", "Eval:x", "x eval:", "eval:", "eval:pr-1:case-2"]
    made = {name: make_session(agent, external_id=name).id for name in names}
    response = get(support_client)
    marked = {row.pk for row in response.context["rows"] if row.is_evaluation}
    evaluations = {made["eval:"], made["eval:pr-1:case-2"]}
    assert marked == evaluations
    assert response.content.decode().count('<span class="pill">evaluation</span>') == 2
    assert "Hide evaluations" in text(response)
    response = get(support_client, evals="hidden")
    assert set(listed(response)) == set(made.values()) - evaluations
    assert "Hide evaluations" not in text(response)


def test_common_counts_are_cached_for_a_while(support_client, monkeypatch):
    monkeypatch.setattr(product, "CACHE_SECONDS", 60)
    cache.clear()
    make_conversation()
    assert "1 conversation" in text(get(support_client, COUNTS))
    make_conversation(external_id="other")
    assert "1 conversation" in text(get(support_client, COUNTS))
    assert "1 conversation" in text(get(support_client, COUNTS, external_id="other"))
    cache.clear()
    assert "2 conversations" in text(get(support_client, COUNTS))


def test_counts_of_relative_dates_are_not_kept_over_midnight(support_client, monkeypatch):
    monkeypatch.setattr(product, "CACHE_SECONDS", 60)
    cache.clear()
    evening = timezone.now().replace(hour=23, minute=59)
    make_session(created_at=evening, updated_at=evening)
    for minutes, expected in ((0, "1 conversation"), (2, "0 conversations")):
        moment = evening + timedelta(minutes=minutes)
        monkeypatch.setattr(timezone, "now", lambda moment=moment: moment)
        assert expected in text(get(support_client, COUNTS, start_date="today", tz="UTC"))


def test_an_error_that_is_gone_leaves_the_other_kinds_their_numbers(support_client):
    session = make_session()
    make_task(make_run(session), session, errors=Json(["gone"]))
    asked = {"error": str(uuid.uuid4()), "problem": "tool_error"}
    assert match(support_client, **asked) == []
    found = shown_counts(get(support_client, COUNTS, **asked))
    assert found["Task error"] == "1"
    assert match(support_client, **asked | {"problem": "task_error", "error": ""}) == [session.id]
