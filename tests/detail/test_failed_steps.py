"""What failed without a task: model calls, and where a run ended; as steps and as bars."""

import re
from datetime import timedelta

import pytest
from django.db import connections
from django.urls import reverse
from django.utils import timezone

from conversations.agentdb import revision
from conversations.detail.failed_steps import LAST
from conversations.detail.steps import STEPS_TOLD
from conversations.detail.waterfall import BARS

from ..support.factories import (
    Json,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..support.pages import LIST, get, words

pytestmark = pytest.mark.django_db

BEGAN = timezone.now() - timedelta(hours=2)
LIMIT = "429 rate limit"
NO_ANSWER = "the customer got no answer."


def at(seconds):
    return {"created_at": BEGAN + timedelta(seconds=seconds)}


class Run:
    """A run that failed after ten seconds, step by step."""

    def __init__(self, **fields):
        self.session, self.seq = make_session(), 0
        values = {"output_data": None, "duration_seconds": 10, **at(0), **fields}
        self.run = make_run(self.session, **values)
        self.task("begin", "start", 0, 0)

    def task(self, name, node_type, start, end, **fields):
        self.seq += 1
        for column in ("inputs", "output"):
            if column in fields:
                fields[column] = Json(fields[column])
        values = {"seq": self.seq, "duration_seconds": end - start, **at(end), **fields}
        return make_task(self.run, self.session, name, node_type, **values)

    def call(self, end, code=429, said="rate limit", **fields):
        values = {"response_code": code, "response_data": Json(said), "duration_seconds": 2}
        return make_model_call(self.session, self.run, **{**values, **at(end), **fields})

    def page(self, client):
        return get(client, f"{LIST}{self.session.id}/runs/{self.run.id}/").content.decode()


def told(html) -> list[str]:
    """The steps of the explanation; those that failed begin with a cross."""
    start = html.index('<div class="explanation">')
    found = re.findall(
        r'<li class="([^"]*)">(.*?)</li>', html[start : html.index("</ol>", start)], re.S
    )
    steps = []
    for classes, step in found:
        sentence = step[step.index("<p>") : step.index("</p>")]
        sentence = re.sub(r"</?(?:bdi|p)\b[^>]*>|<span.*?</span>", "", sentence)
        steps.append(f"{'✗ ' if 'bad' in classes else ''}{words(sentence)}")
    return steps


def bars(html) -> list[str]:
    found = re.findall(r'<a href="[^"]*" class="([^"]*)">\s*<title>(.*?)</title>', html)
    names = [(classes, title.split(",")[0].strip("\u2068\u2069")) for classes, title in found]
    return [f"✗ {name}" if "failed" in classes else name for classes, name in names]


def test_an_explanation_ends_with_the_model_call_that_failed(support_client):
    run = Run()
    run.task("route", "switch", 1, 1, inputs={"expr": "a"}, output={"taken": "technical"})
    call = run.call(4)
    html = run.page(support_client)
    assert told(html)[-1] == f"✗ Asked the model (technical) → 429: rate limit: {NO_ANSWER}"
    assert bars(html) == ["begin", "route", "✗ technical"]
    raw = reverse(
        "conversations:payload", args=[run.session.id, "model-calls", call.id, "response_data"]
    )
    # Of the step and of its bar.
    assert html.count(f'<a href="{raw}"') >= 2


SWITCH = {"node_type": "switch", "output": {"taken": "technical", "matched": True}}
PARALLEL = {"node_type": "parallel", "output": {"branches": ["lookup", "policies"]}}
LLM, TOOL = {"node_type": "llm"}, {"node_type": "tool_call", "parent_task_name": "technical"}


@pytest.mark.parametrize(
    ("tasks", "node"),
    [
        ([("route", SWITCH)], "technical"),
        ([("check", {**SWITCH, "node_type": "if"})], "technical"),
        ([("route", SWITCH), ("search", TOOL), ("search", TOOL)], "technical"),
        ([("gather", PARALLEL), ("lookup", LLM)], "policies"),
        # Nothing tells which: then its model does.
        ([], "some-model"),
        ([("classify", LLM)], "some-model"),
        ([("gather", PARALLEL)], "some-model"),
        ([("gather", PARALLEL), ("lookup", LLM), ("policies", LLM)], "some-model"),
        ([("route", SWITCH), ("technical", LLM)], "some-model"),
        ([("route", {**SWITCH, "output": None})], "some-model"),
        ([("gather", {**PARALLEL, "output": {"branches": 7}})], "some-model"),
    ],
)
def test_the_step_that_asked_is_named_as_far_as_tasks_tell_it(support_client, tasks, node):
    run = Run()
    for name, fields in tasks:
        run.task(name, start=1, end=1, **fields)
    run.call(4)
    last = f"✗ Asked the model ({node}) → 429: rate limit: {NO_ANSWER}"
    assert told(run.page(support_client))[-1] == last


def test_every_model_call_that_failed_is_a_step_where_it_happened(support_client):
    run = Run(output_data=Json({"agent_response": "Done"}))
    run.call(2)
    run.task("classify", "llm", 3, 4)
    run.call(6, code=500, said="upstream")
    run.task("answer", "llm", 7, 8)
    html = run.page(support_client)
    assert [step for step in told(html) if "✗" in step] == [
        "✗ Asked the model (some-model) → 429: rate limit",
        "✗ Asked the model (some-model) → 500: upstream",
    ]
    assert bars(html) == ["begin", "✗ some-model", "classify", "✗ some-model", "answer"]
    assert NO_ANSWER not in html


def test_a_call_that_was_tried_again_does_not_end_the_run(support_client):
    run = Run(context=Json({"status": "failed", "error": "aborted: client disconnected."}))
    run.call(2)
    run.task("classify", "llm", 3, 4)
    html = run.page(support_client)
    assert told(html)[1] == "✗ Asked the model (some-model) → 429: rate limit"
    assert told(html)[-1] == f"✗ Stopped → aborted: client disconnected: {NO_ANSWER}"
    # From its last task to its end.
    assert bars(html)[-1] == "✗ (not recorded)"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"context": Json({"error": "boom"})}, "Stopped at technical → boom"),
        ({"context": Json({"error": {"a": "b"}})}, "Stopped at technical → a: b"),
        ({"context": Json("boom")}, "Stopped at technical → no reason was recorded"),
        ({}, "Stopped at technical → no reason was recorded"),
        (
            {"duration_seconds": None},
            "Stopped at technical → nothing was recorded after that",
        ),
    ],
)
def test_a_run_that_no_call_explains_ends_where_it_stopped(support_client, fields, words):
    run = Run(**fields)
    run.task("route", "switch", 1, 1, output={"taken": "technical"})
    assert told(run.page(support_client))[-1] == f"✗ {words}: {NO_ANSWER}"


def test_a_branch_beside_it_that_ended_later_does_not_hide_it(support_client):
    run = Run()
    run.task("gather", "parallel", 1, 1, output={"branches": ["lookup", "policies"]})
    run.call(4)
    run.task("policies", "llm", 1, 4.01)
    assert told(run.page(support_client))[-1].startswith("✗ Asked the model (lookup) → 429")


def test_a_task_that_was_written_late_does_not_hide_it_either(support_client):
    """As in the recorded runs: the calls of one step, and the model's next answer."""
    run = Run()
    run.call(4)
    run.task("restart_device", "tool_call", 4.004, 4.005, parent_task_name="technical")
    assert told(run.page(support_client))[-1].startswith("✗ Asked the model (technical) → 429")


def test_a_run_that_said_something_is_told_as_it_was(support_client):
    """Without an output, but with an answer: it is completed."""
    run = Run()
    make_message(run.session, "assistant", "Hi", run_id=run.run.id)
    assert told(run.page(support_client)) == ["The run began."]


def test_in_a_long_run_it_is_the_last_step_all_the_same(support_client):
    run = Run()
    for number in range(BARS + 20):
        run.task(f"step-{number}", "llm", 1, 2)
    run.task("route", "switch", 2, 2, output={"taken": "technical"})
    run.call(5)
    html = run.page(support_client)
    steps = told(html)
    assert steps[-1].startswith("✗ Asked the model (technical)")
    left = BARS + 22 - STEPS_TOLD
    assert steps[-2].startswith(f"{left} more steps of this run are not told here.")
    assert len(steps) == STEPS_TOLD + 2
    assert bars(html)[-1] == "✗ technical"
    assert f"the first {BARS} of {BARS + 22} tasks" in words(html)
    assert LAST < STEPS_TOLD


@pytest.mark.parametrize("revision_number", ["0002", "0004", "0005"])
def test_older_revisions_tell_what_they_know(support_client, at_revision, revision_number):
    run = Run()
    run.task("route", "switch", 1, 1, output={"taken": "technical"})
    run.call(4)
    at_revision(revision_number)
    last = told(run.page(support_client))[-1]
    if revision_number == "0005":
        assert last == f"✗ Asked the model (technical) → 429: rate limit: {NO_ANSWER}"
    else:
        # It is not known to which run a call belongs.
        why = "nothing was recorded after that"
        assert last == f"✗ Stopped at technical → {why}: {NO_ANSWER}"


def test_impossible_durations_are_no_error(support_client):
    for duration in ("NaN", "Infinity", "-1", "1e300"):
        run = Run(duration_seconds=duration)
        run.task("odd", "llm", 1, 2, duration_seconds=duration)
        run.call(3, duration_seconds=-1)
        assert told(run.page(support_client))[-1].startswith("✗ Asked the model")


def test_a_run_without_failures_costs_no_more_queries(support_client, django_assert_num_queries):
    run = Run(output_data=Json({"agent_response": "Done"}))
    path = f"{LIST}{run.session.id}/runs/{run.run.id}/"
    get(support_client, path)
    revision.has_task_order()
    with django_assert_num_queries(7, connection=connections["agents"]):
        get(support_client, path)
