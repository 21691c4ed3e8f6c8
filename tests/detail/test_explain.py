"""The explanation of a run: the sentence for each kind of step, for every payload there may be."""

import json
import re
from datetime import UTC, datetime

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from conversations.agentdb import revision
from conversations.detail import steps as module
from conversations.detail.json_words import readable
from conversations.detail.tasks import nested
from conversations.models import Run, Task
from demo import write_demo

from ..support.factories import (
    NULL,
    Json,
    insert,
    make_message,
    make_run,
    make_session,
    make_task,
)
from ..support.pages import HTMX, url
from ..support.pages import words as words_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(db):
    # Sends a query once per process; do it now, so that it is in no test's count.
    revision.has_task_order()
    session = make_session()
    run = make_run(session)
    run.session = session
    return run


def add(run, name="step", node_type="llm", **fields):
    session = type("Row", (), {"id": run.session_id, "agent_id": None})
    for column in ("inputs", "output", "errors"):
        if column in fields and not isinstance(fields[column], Json):
            fields[column] = Json(fields[column])
    return make_task(run, session, name, node_type, **fields)


def steps_of(run):
    """All steps, even starts and ends that the page leaves out."""
    tasks = nested(list(Task.objects.filter(run_id=run.id).without_payloads().in_order()))
    found = module.read(run, tasks)
    return [module.step(task, found[task.pk]) for task in tasks]


def sentence(step):
    quotes = {"quote": "“{}”"}
    return "".join(quotes.get(part.kind, "{}").format(part.text) for part in step.parts)


def told(run, **fields):
    """The sentence of one task."""
    add(run, **fields)
    (step,) = steps_of(run)
    return sentence(step)


def page(run, client, query=""):
    response = client.get(url("run", run.session_id, run.id) + query, headers=HTMX)
    assert response.status_code == 200
    return response.content.decode()


BRANCH = {"expr": "classification.intent", "value": "technical"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"node_type": "start"}, "The run began."),
        ({"node_type": "end"}, "The run ended."),
        (
            {
                "name": "classify",
                "prompt": "Classify:\n  hello",
                "inputs": {"message": "hello"},
                "output": {"intent": "refund", "confidence": 0.5},
            },
            "Asked the model (classify): “Classify: hello” → answered"
            " “intent: refund, confidence: 0.5”",
        ),
        (
            {"name": "classify", "inputs": {"message": "hello"}},
            "Asked the model (classify), given “message: hello” → no answer was recorded.",
        ),
        (
            {"node_type": "agent", "name": "technical", "prompt": "Solve it.", "inputs": {"a": 1}},
            "Asked the agent technical: “Solve it.” → no answer was recorded.",
        ),
        (
            {"node_type": "agent", "name": "technical", "output": {"agent_response": "Press it."}},
            "Asked the agent technical → answered “Press it.”",
        ),
        (
            {
                "node_type": "switch",
                "inputs": BRANCH,
                "output": {"taken": "technical", "matched": True},
            },
            "Chose technical because classification.intent was technical.",
        ),
        (
            {
                "node_type": "switch",
                "inputs": {**BRANCH, "value": "other"},
                "output": {"taken": "general", "matched": False},
            },
            "Chose the default, general, because classification.intent was other and nothing"
            " matched.",
        ),
        (
            {
                "node_type": "switch",
                "inputs": {**BRANCH, "value": None},
                "output": {"taken": None, "matched": False},
            },
            "No next step was recorded: classification.intent had no value and nothing matched.",
        ),
        (
            {
                "node_type": "if",
                "inputs": {"expr": "triage.urgent", "value": False},
                "output": {"taken": "answer", "matched": True},
            },
            "Chose answer because triage.urgent was false.",
        ),
        (
            {"node_type": "switch", "output": {"taken": "technical"}},
            "Chose technical, no reason recorded.",
        ),
        (
            {"node_type": "if", "inputs": {"a": 1}, "output": {"taken": "b", "matched": False}},
            "Chose the default, b, given “a: 1”",
        ),
        (
            {"node_type": "if", "inputs": {"expr": "a.b", "value": ""}},
            "No next step was recorded: a.b was an empty value.",
        ),
        (
            {"node_type": "parallel", "output": {"branches": ["lookup", "policies"]}},
            "Ran lookup and policies in parallel.",
        ),
        (
            {"node_type": "parallel", "output": {"branches": ["a", "b", ""]}},
            "Ran a, b and (no name) in parallel.",
        ),
        ({"node_type": "parallel", "output": {"branches": ["only"]}}, "Ran only."),
        (
            {"node_type": "parallel", "name": "gather", "output": {"branches": [{"a": "b"}, 2]}},
            "The step gather (parallel) ran → “branches: ((a: b), 2)”",
        ),
        (
            {
                "node_type": "tool_call",
                "name": "restart_device",
                "inputs": {"args": {"serial": "SN-131"}, "step": 2, "call_id": "c2"},
                "output": {"result": "restarted"},
            },
            "Called restart_device(serial: SN-131) → “restarted”",
        ),
        (
            {
                "node_type": "tool_call",
                "name": "",
                "tool_uri": "python://ping",
                "inputs": {"args": {}},
                "output": {"result": {"up": True, "ms": [1, 2]}},
            },
            "Called python://ping() → “ms: (1, 2), up: true”",
        ),
        (
            {"node_type": "tool_call", "name": "ping", "inputs": [1, "a"], "output": "pong"},
            "Called ping(1, a) → “pong”",
        ),
        (
            {"node_type": "tool_call", "name": "ping", "output": {"error": "busy"}},
            "Called ping (no arguments were recorded) → “error: busy”",
        ),
        (
            {"node_type": "tool_call", "name": "ping"},
            "Called ping (no arguments were recorded) → no result was recorded.",
        ),
        (
            {
                "node_type": "function",
                "name": "send",
                "tool_uri": "python://mail.send",
                "inputs": {"to": "a@b.c"},
                "output": 250,
            },
            "Called send(to: a@b.c) using python://mail.send → “250”",
        ),
        (
            {
                "node_type": "rag_query",
                "inputs": {"query": "returns", "collection": "faq", "top_k": 5},
                "output": {"content": "Within 30 days.", "hits": [{"id": "1"}]},
            },
            "Searched faq for “returns” → found “Within 30 days.”",
        ),
        (
            {"node_type": "rag_query", "inputs": {"query": "returns"}, "output": []},
            "Searched the documents for “returns” → found nothing.",
        ),
        (
            {"node_type": "brand_new", "name": "x", "inputs": {"a": 1}, "output": [1]},
            "The step x (brand_new) ran, given “a: 1” → “1”",
        ),
        ({"node_type": None, "name": None}, "The step (no name) ran"),
        ({"node_type": "", "name": " \n"}, "The step (no name) ran"),
    ],
)
def test_each_kind_of_step_has_its_own_sentence(run, fields, words):
    assert told(run, **fields) == words


@pytest.mark.parametrize("node_type", [*module.SENTENCES, "unheard-of", None])
@pytest.mark.parametrize(
    "payload",
    [None, "text", 'a "quote', "{", "[Note] call", 5, True, [], {}, [None], [[{}]], "", " "],
)
def test_no_payload_breaks_a_sentence(run, node_type, payload):
    keys = ("expr", "value", "taken", "matched", "branches", "args", "result", "query", "hits")
    add(run, node_type=node_type, inputs=payload, output=payload, errors=payload)
    whole = dict.fromkeys((*keys, "truncated", "bytes", "preview", "content"), payload)
    add(run, node_type=node_type, inputs=whole, output=whole, errors=whole, prompt="")
    for step in steps_of(run):
        assert sentence(step)
        assert all(part.text for part in step.parts)


def test_tool_calls_are_nested_under_their_agent_and_failed_ones_are_marked(run, support_client):
    call = {"node_type": "tool_call", "parent_task_name": "technical"}
    add(run, "technical", "agent", prompt="Solve it.", seq=0)
    error = {"result": "Error: device is offline"}
    inputs = {"args": {"serial": "SN-131"}}
    add(run, "restart_device", output=error, inputs=inputs, duration_seconds=1.5, seq=1, **call)
    add(run, "search", output={"result": "an Error: inside"}, seq=2, **call)
    add(run, "finish", "end", seq=3)
    steps = steps_of(run)
    assert [(step.name, step.depth, step.failed) for step in steps] == [
        ("technical", 0, False),
        ("restart_device", 1, True),
        ("search", 1, False),
        ("finish", 0, False),
    ]
    failed = steps[1]
    assert sentence(failed) == "Called restart_device(serial: SN-131) → Error: device is offline"
    assert failed.parts[-1] == ("error", "Error: device is offline")
    html = page(run, support_client)
    assert html.count('<span class="pill problem">failed</span>') == 1
    assert html.count('<li class="nested bad">') == 1
    assert "1.5 s" in html


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        (["timed out", "gave up"], "timed out, gave up"),
        ("timed out", "timed out"),
        ({"code": 7, "detail": {"a": "b"}}, "code: 7, detail: (a: b)"),
        ({"detail": "no key lost"}, "detail: no key lost"),
        (42, "42"),
        (False, "false"),
        ([None], "null"),
        ({}, "an empty value"),
        ("", "an empty value"),
        ("[]", "an empty value"),
    ],
)
def test_errors_of_every_shape_are_in_the_sentence(run, errors, words):
    assert told(run, node_type="end", errors=errors) == (
        f"The run ended. An error was recorded: {words}"
    )
    assert steps_of(run)[0].failed


@pytest.mark.parametrize("errors", [None, NULL, []])
def test_a_step_without_errors_has_not_failed(run, errors):
    assert told(run, node_type="end", errors=errors) == "The run ended."
    assert not steps_of(run)[0].failed


def test_an_error_after_a_quote_starts_a_new_sentence(run):
    words = told(run, name="a", prompt="Hi", output="Yes", errors=["late"])
    assert words == "Asked the model (a): “Hi” → answered “Yes”. An error was recorded: late"


# {node type: possible sentences}; "…" stands for any text
OF_THE_RUNTIME = {
    "start": ["The run began."],
    "end": ["The run ended."],
    "llm": ["Asked the model (…): “…” → answered “…”"],
    "parallel": ["Ran … and … in parallel."],
    "switch": [
        "Chose … because … was ….",
        "Chose the default, …, because … was … and nothing matched.",
    ],
    "if": [
        "Chose … because … was true.",
        "Chose … because … was false.",
    ],
    "agent": [
        "Asked the agent …: “…” → answered “…”",
        "Asked the agent …: “…” → no answer was recorded.",
    ],
    "tool_call": [
        "Called …(…: …) → “…”",
        "Called …(…: …) for … → “…”",
        "Called …(…: …) → Error: …",
        "Called …(…: …) for … → Error: …",
        "Called …(…: …) → a value too large to record (1,482,113 bytes), which began “result: …”",
    ],
}


@pytest.mark.slow
def test_the_demo_conversations_have_all_these_sentences_and_no_others():
    connection = connections["agents_write"]
    connection.ensure_connection()
    # What goes wrong in a history depends on the day and the hour at which it is written.
    write_demo(connection.connection, seed=3, now=datetime(2026, 11, 30, 8, tzinfo=UTC))
    heard = set()
    for run in Run.objects.without_payloads():
        for step in steps_of(run):
            words = sentence(step).partition(". An error was recorded: ")[0]
            forms = OF_THE_RUNTIME[step.node_type]
            fitting = [
                form for form in forms if re.fullmatch(re.escape(form).replace("…", ".*"), words)
            ]
            assert fitting, words
            heard.update(fitting[-1:])
            assert step.failed == ("Error: " in words or words != sentence(step))
    assert heard == {form for forms in OF_THE_RUNTIME.values() for form in forms}


# Payloads that are too large, or cut short


def test_a_payload_that_was_too_large_to_record_says_so(run):
    log = json.dumps({"result": "line\n" * 200 + "é"})
    large = {"truncated": True, "bytes": 1_482_113, "preview": log[:2048]}
    words = told(run, name="log", node_type="tool_call", inputs={"args": {}}, output=large)
    assert words.startswith(
        "Called log() → a value too large to record (1,482,113 bytes), which began"
        " “result: line line"
    )
    assert words.endswith("…”")


def test_an_empty_preview_is_not_quoted(run):
    large = {"truncated": True, "bytes": 10**6, "preview": ""}
    words = told(run, name="a", output=large)
    assert words.endswith("→ answered a value too large to record (1,000,000 bytes)")


@pytest.mark.parametrize(
    "almost",
    [
        {"truncated": False, "bytes": 5, "preview": "x"},
        {"truncated": True, "bytes": "5", "preview": "x"},
        {"truncated": True, "preview": "x"},
        {"truncated": True, "bytes": 5, "preview": None},
    ],
)
def test_a_payload_that_only_resembles_the_placeholder_is_shown_as_it_is(run, almost):
    words = told(run, output=almost)
    assert "too large" not in words
    assert "truncated: " in words


def test_long_names_prompts_and_answers_are_cut(run):
    long = {"agent_response": "y" * 5000}
    parts = [told(run, name="n" * 500, prompt="p" * 5000, output=long)]
    (step,) = steps_of(run)
    name, prompt, answer = (p.text for p in step.parts if p.kind != "text")
    assert (name, prompt) == ("n" * 80 + "…", "p" * 300 + "…")
    assert re.fullmatch("y{200,300}…", answer)
    assert len(parts[0]) < 1000


def test_a_list_of_branches_that_was_cut_ends_in_others(run):
    words = told(run, node_type="parallel", output={"branches": [f"b-{n}" for n in range(99)]})
    assert words.startswith("Ran b-0, b-1, ")
    assert words.endswith(" and others in parallel.")


def test_half_a_surrogate_pair_does_not_break_the_page(run, support_client):
    preview = '{"text": "x\\ud83d'
    add(run, "a", output={"truncated": True, "bytes": 10**6, "preview": preview})
    add(run, "b", "tool_call", inputs={"args": {}}, output={"result": '{"text": "\\ud83d"}'})
    assert "which began “text: x?…”" in sentence(steps_of(run)[0])
    assert page(run, support_client).encode()


WHOLE = json.dumps({"a": [1.5, True, None, {"b": 'q"\\u00e9\n'}], "c": "ddd", "e": -3})


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_json_reads_as_words_wherever_it_is_cut(length):
    words = readable(WHOLE[:length], cut=True)
    assert not words.startswith("{")
    assert not set(words) & set("{}[]")


@pytest.mark.parametrize(
    "prose",
    ["[Note] call me", "[1] see there", "{curly} text", "[", "{not: json}", "{1 2}", '{"a" "b'],
)
def test_prose_that_begins_like_json_is_left_alone(prose):
    assert readable(prose, cut=False) == prose


def test_text_that_begins_like_json_is_left_alone_when_cut_too():
    assert readable("[Note] call me, I am at", cut=True) == "[Note] call me, I am at"
    assert readable('{"a": "x\\q"} or', cut=True) == '{"a": "x\\q"} or'


def test_only_a_single_string_loses_its_key():
    assert readable('{"text": "Hi"}', cut=False, bare=True) == "Hi"
    assert readable('{"text": "Hi"}', cut=False) == "text: Hi"
    assert readable('{"text": "Hi", "b": "x"}', cut=False, bare=True) == "text: Hi, b: x"
    assert readable('{"text": "Hi", ', cut=True, bare=True) == "text: Hi, "
    assert readable('{"agent_response": "Hi th', cut=True, bare=True) == "Hi th"
    assert readable('["a", "b"]', cut=False, bare=True) == "a, b"


def test_deeply_nested_json_is_explained(run):
    deep = insert("tasks", run_id=run.id, session_id=run.session_id, name="deep", node_type="llm")
    nesting = '{"a":' * 3000 + "1" + "}" * 3000
    with connections["agents_write"].cursor() as cursor:
        cursor.execute("UPDATE tasks SET output = %s WHERE id = %s", [nesting, deep.id])
    (step,) = steps_of(run)
    assert sentence(step).startswith("Asked the model (deep) → answered “a: (a: (a: ")


# The page


HOSTILE = "<img src=x onerror=alert(1)>\"'&{{ run }}\u202e"


def test_hostile_text_stays_text(run, support_client):
    payload = {HOSTILE: HOSTILE, "expr": HOSTILE, "taken": HOSTILE, "args": {HOSTILE: HOSTILE}}
    for node_type in [*module.SENTENCES, HOSTILE]:
        values = {"prompt": HOSTILE, "inputs": payload, "output": payload, "errors": payload}
        add(run, HOSTILE, node_type, tool_uri=HOSTILE, **values)
    html = page(run, support_client)
    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    # Characters that change the direction of text are inside elements that isolate them.
    outside = re.sub(r"<bdi[^>]*>[^<]*</bdi>", "", html)
    assert "\u202e" not in outside


def test_each_step_opens_to_its_task_and_links_to_it(run, support_client):
    tasks = [add(run, f"step-{seq}", seq=seq) for seq in range(3)]
    html = page(run, support_client)
    links = [reverse("conversations:task", args=[run.session_id, task.id]) for task in tasks]
    assert re.findall(r'href="([^"]+/tasks/[^"]+)"', html) == links
    assert re.findall(r'hx-get="([^"]+/tasks/[^"]+)"', html) == links


def test_a_run_without_tasks_needs_no_query_and_says_so(run, support_client):
    with CaptureQueriesContext(connections["agents"]) as queries:
        assert module.read(run, []) == {}
    assert len(queries) == 0
    assert "No steps were recorded" in page(run, support_client)


def test_a_page_of_steps_takes_two_queries_and_limited_room(run, support_client):
    for seq in range(203):
        add(run, f"step-{seq}", seq=seq, output={"text": "z" * 20_000})
    html = page(run, support_client)
    assert html.count('class="told"') == 200
    assert "Asked the model ( step-199 ) → answered" in words_of(html)
    assert "step-200" not in html
    assert "More steps (3 left)" in html
    # Once the page's room is used up, quotes are short.
    assert "z" * 250 in html
    assert "z" * 50 not in html[html.index("step-199") :]
    with CaptureQueriesContext(connections["agents"]) as queries:
        steps_of(run)
    assert len(queries) == 3


# What the transcript already shows


CUSTOMER = "Where is my <b>order</b> 19511?\nIt was due on Friday."


def of_message(run, message=CUSTOMER, answer="It is on its way."):
    make_message(run.session, "user", message, run_id=run.id)
    make_message(run.session, "assistant", answer, run_id=run.id)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"prompt": f"Classify it.\nmessage: {CUSTOMER}"}, ": “Classify it. message: …”"),
        ({"prompt": f"Classify {CUSTOMER} now."}, ": “Classify … now.”"),
        ({"prompt": CUSTOMER}, ": the message"),
        ({"inputs": {"message": CUSTOMER, "locale": "et"}}, ", given “locale: et, message: …”"),
        ({"prompt": f"{'x ' * 135}{CUSTOMER}"}, f": “{'x ' * 135}…”"),
    ],
)
def test_the_customers_message_is_not_repeated(run, fields, words):
    of_message(run)
    expected = f"Asked the model (a){words} → no answer was recorded."
    assert told(run, name="a", **fields) == expected


def test_a_long_message_is_not_repeated_either(run):
    of_message(run, "Where is it? " * 100)
    words = told(run, name="a", prompt="Classify: " + "Where is it? " * 100)
    assert words == "Asked the model (a): “Classify: …” → no answer was recorded."


def test_a_short_message_is_left_out_only_at_the_end_of_a_prompt(run):
    of_message(run, "no")
    assert "“Say yes or no. message: …”" in told(
        run, name="a", prompt="Say yes or no.\nmessage: no", seq=0
    )


def test_a_prompt_with_another_question_is_quoted(run):
    of_message(run)
    assert "“Where is my parcel?”" in told(run, prompt="Where is my parcel?")


@pytest.mark.parametrize("role", ["start", "end"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"inputs": NULL, "output": {}},
        {"inputs": {"user_message": CUSTOMER}},
        {"output": {"agent_response": "It is on its way."}},
        {"inputs": {"user_message": "Where is it? " * 100}},
    ],
)
def test_a_start_or_end_with_nothing_new_is_not_shown(run, support_client, role, fields):
    of_message(run)
    of_message(run, "Where is it? " * 100)
    add(run, "edge", role, **fields)
    add(run, "answer")
    html = page(run, support_client)
    assert html.count('class="told"') == 1
    assert "edge" not in html


@pytest.mark.parametrize(
    ("role", "fields", "words"),
    [
        ("start", {"inputs": {"order": 17}}, "The run began with “order: 17”"),
        (
            "start",
            {"inputs": {"user_message": CUSTOMER, "locale": "et"}},
            "The run began with “locale: et, user_message: …”",
        ),
        ("end", {"output": {"handed_over": True}}, "The run ended with “handed_over: true”"),
        ("end", {"errors": ["late"]}, "The run ended. An error was recorded: late"),
    ],
)
def test_a_start_or_end_with_something_new_is_shown(run, support_client, role, fields, words):
    of_message(run)
    assert told(run, name="edge", node_type=role, **fields) == words
    assert page(run, support_client).count('class="told"') == 1


def test_a_run_with_only_a_start_says_so(run, support_client):
    add(run, "begin", "start")
    html = page(run, support_client)
    assert "Only the start and end of this run were recorded." in html
    assert "No steps" not in html


def test_no_payload_is_read_whole(run):
    for node_type in module.SENTENCES:
        payload = {key: "z" * 50_000 for _, key, _ in module.PIECES.values()}
        add(run, node_type=node_type, prompt="p" * 50_000, inputs=payload, output=payload)
    with CaptureQueriesContext(connections["agents"]) as queries:
        steps = steps_of(run)
    assert len(queries) == 3
    selected = queries[1]["sql"].split(" FROM ")[0]
    assert not re.search(r'(, |SELECT )"tasks"\."(inputs|output|errors|prompt)"(,| AS|$)', selected)
    with connections["agents"].cursor() as cursor:
        cursor.execute(queries[1]["sql"])
        assert max(len(str(value)) for row in cursor.fetchall() for value in row) <= 301
    assert len(steps) == len(module.SENTENCES)


def test_tasks_of_other_runs_are_not_read(run):
    task = Task.objects.get(pk=add(run).id)
    assert module.read(make_run(make_session()), [task]) == {}
    assert list(module.read(run, [task])) == [task.pk]


def test_steps_are_explained_at_the_oldest_revision(run, at_revision, support_client):
    at_revision("0002")
    inputs = {"args": {"serial": "SN-131"}}
    error = {"result": "Error: offline"}
    task = {"inputs": inputs, "output": error}
    add(run, "restart_device", "tool_call", **task)
    add(run, "send", "function", inputs={"to": "x"}, output="sent")
    first, second = steps_of(run)
    assert sentence(first) == "Called restart_device(serial: SN-131) → Error: offline"
    assert (first.depth, first.failed) == (0, True)
    assert sentence(second) == "Called send(to: x) → “sent”"
    assert "restart_device" in page(run, support_client)
