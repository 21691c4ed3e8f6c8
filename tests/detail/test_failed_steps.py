"""Steps that failed without leaving a task: model calls, and the last step of a failed run."""

import re
from datetime import timedelta

import pytest
from django.db import connections
from django.urls import reverse
from django.utils import timezone

from conversations.agentdb import revision
from conversations.detail.run_views import RunView

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
    """Builds a run that failed after ten seconds, one step at a time."""

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

    def page(self, client, query=""):
        return get(client, f"{LIST}{self.session.id}/runs/{self.run.id}/{query}").content.decode()


def told(html) -> list[str]:
    """The sentences of the steps, with a cross before those that failed."""
    found = re.findall(
        r'<li(?: class="([^"]*)")?>\s*<details.*?<summary>(.*?)</summary>', html, re.S
    )
    steps = []
    for classes, step in found:
        sentence = re.search(r'<span class="told">(.*?)</span>', step, re.S)[1]
        sentence = re.sub(r"</?bdi\b[^>]*>|<span.*", "", sentence)
        steps.append(f"{'✗ ' if 'bad' in classes else ''}{words(sentence)}")
    return steps


def bars(html) -> list[str]:
    """The title of each bar, which gives its duration and start."""
    return re.findall(r'class="lasted[^"]*"><svg role="img"><title>(.*?)</title>', html)


def test_the_steps_end_with_the_model_call_that_failed(support_client):
    run = Run()
    run.task("route", "switch", 1, 1, inputs={"expr": "a"}, output={"taken": "technical"})
    call = run.call(4)
    html = run.page(support_client)
    assert told(html)[-1] == f"✗ Asked the model (technical) → 429: rate limit; {NO_ANSWER}"
    assert bars(html) == ["0 ms, starts at 1.0 s", "2.0 s, starts at 2.0 s"]
    answer = [run.session.id, "model-calls", call.id, "response_data"]
    # Once in the step, and once in the list of model calls.
    assert html.count(f'<a href="{reverse("conversations:payload", args=answer)}"') == 2


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
        # The tasks do not show which step it was, so the model is named.
        ([], "some-model"),
        ([("classify", LLM)], "some-model"),
        ([("gather", PARALLEL)], "some-model"),
        ([("gather", PARALLEL), ("lookup", LLM), ("policies", LLM)], "some-model"),
        ([("route", SWITCH), ("technical", LLM)], "some-model"),
        ([("route", {**SWITCH, "output": None})], "some-model"),
        ([("gather", {**PARALLEL, "output": {"branches": 7}})], "some-model"),
    ],
)
def test_the_step_that_called_the_model_is_named_if_tasks_show_which(support_client, tasks, node):
    run = Run()
    for name, fields in tasks:
        run.task(name, start=1, end=1, **fields)
    run.call(4)
    last = f"✗ Asked the model ({node}) → 429: rate limit; {NO_ANSWER}"
    assert told(run.page(support_client))[-1] == last


def test_every_failed_model_call_is_a_step_at_its_time(support_client):
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
    assert told(html)[1].startswith("Asked the model (classify)")
    assert told(html)[3].startswith("Asked the model (answer)")
    assert len(bars(html)) == 4
    assert NO_ANSWER not in html


def test_a_call_that_was_retried_does_not_end_the_run(support_client):
    run = Run(context=Json({"status": "failed", "error": "aborted: client disconnected."}))
    run.call(2)
    run.task("classify", "llm", 3, 4)
    html = run.page(support_client)
    assert told(html)[0] == "✗ Asked the model (some-model) → 429: rate limit"
    assert told(html)[-1] == f"✗ Stopped → aborted: client disconnected; {NO_ANSWER}"
    # From the run's last task to its end.
    assert bars(html)[-1] == "6.0 s, starts at 4.0 s"


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
def test_a_run_without_a_failed_call_ends_with_the_step_where_it_stopped(
    support_client, fields, words
):
    run = Run(**fields)
    run.task("route", "switch", 1, 1, output={"taken": "technical"})
    assert told(run.page(support_client))[-1] == f"✗ {words}; {NO_ANSWER}"


def test_the_failed_call_comes_last_even_if_a_parallel_branch_ended_later(support_client):
    run = Run()
    run.task("gather", "parallel", 1, 1, output={"branches": ["lookup", "policies"]})
    run.call(4)
    run.task("policies", "llm", 1, 4.01)
    assert told(run.page(support_client))[-1].startswith("✗ Asked the model (lookup) → 429")


def test_the_failed_call_comes_last_even_if_a_task_was_written_late(support_client):
    """As recorded: a tool call is written just after the next model call has failed."""
    run = Run()
    run.call(4)
    run.task("restart_device", "tool_call", 4.004, 4.005, parent_task_name="technical")
    assert told(run.page(support_client))[-1].startswith("✗ Asked the model (technical) → 429")


def test_a_run_with_an_answer_has_no_failed_last_step(support_client):
    """The run has no output, but the agent wrote a message, so it is completed."""
    run = Run()
    make_message(run.session, "assistant", "Hi", run_id=run.run.id)
    html = run.page(support_client)
    assert told(html) == []
    assert NO_ANSWER not in html


def test_every_page_of_a_long_run_ends_with_the_failed_step(support_client):
    run = Run()
    for number in range(RunView.page_size):
        run.task(f"step-{number}", "llm", 1, 2)
    run.task("route", "switch", 2, 2, output={"taken": "technical"})
    run.call(5)
    html = run.page(support_client)
    steps = told(html)
    # The start is not shown; the failed step, from the next page, is.
    assert len(steps) == RunView.page_size
    assert steps[-1].startswith("✗ Asked the model (technical)")
    assert bars(html)[-1] == "2.0 s, starts at 3.0 s"
    assert html.index("More steps (2 left)") < html.index("The run ended with:")
    html = run.page(support_client, f"?from={RunView.page_size}")
    assert [step.split(" ")[0] for step in told(html)] == ["Asked", "Chose", "✗"]
    assert "The run ended with:" not in html


@pytest.mark.parametrize("revision_number", ["0002", "0004", "0005"])
def test_at_older_revisions_the_last_step_shows_what_is_known(
    support_client, at_revision, revision_number
):
    run = Run()
    run.task("route", "switch", 1, 1, output={"taken": "technical"})
    run.call(4)
    at_revision(revision_number)
    last = told(run.page(support_client))[-1]
    if revision_number == "0005":
        assert last == f"✗ Asked the model (technical) → 429: rate limit; {NO_ANSWER}"
    else:
        # These revisions do not record to which run a call belongs.
        why = "nothing was recorded after that"
        assert last == f"✗ Stopped at technical → {why}; {NO_ANSWER}"


def test_impossible_durations_do_not_break_the_page(support_client):
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
