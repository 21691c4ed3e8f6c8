"""What a run did, told in words: each sentence against the shapes that the runtime writes."""

import json
import re

import pytest
from django.db import connections
from django.template.loader import render_to_string
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from conversations.agentdb import revision
from conversations.detail import steps as module
from conversations.detail.steps import explain, readable
from conversations.detail.tasks import nested
from conversations.models import Run, Task
from demo import write_demo

from ..support.factories import NULL, Json, insert, make_run, make_session, make_task

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(db):
    # Looked up once per process, so that tests count without it.
    revision.has_task_order()
    return make_run(make_session())


def add(run, name="step", node_type="llm", **fields):
    session = type("Row", (), {"id": run.session_id, "agent_id": None})
    for column in ("inputs", "output", "errors"):
        if column in fields and not isinstance(fields[column], Json):
            fields[column] = Json(fields[column])
    return make_task(run, session, name, node_type, **fields)


def steps_of(run):
    tasks = Task.objects.filter(run_id=run.id).without_payloads().in_order()
    return explain(run, nested(list(tasks)))


def sentence(step):
    quotes = {"quote": "“{}”"}
    return "".join(quotes.get(part.kind, "{}").format(part.text) for part in step.parts)


def told(run, **fields):
    """The sentence of one task."""
    add(run, **fields)
    (step,) = steps_of(run)
    return sentence(step)


def page(run):
    steps = steps_of(run)
    context = {"steps": steps, "run": Run.objects.get(pk=run.id), "session_id": run.session_id}
    left_out = Task.objects.filter(run_id=run.id).count() - len(steps)
    return render_to_string(
        "conversations/detail/_explanation.html", {**context, "left_out": left_out}
    )


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
            "The model was asked (classify): “Classify: hello” → answered"
            " “intent: refund, confidence: 0.5”",
        ),
        (
            {"name": "classify", "inputs": {"message": "hello"}},
            "The model was asked (classify), given “message: hello” → no answer was recorded.",
        ),
        (
            {"node_type": "agent", "name": "technical", "prompt": "Solve it.", "inputs": {"a": 1}},
            "The agent technical worked on it: “Solve it.” → no answer was recorded.",
        ),
        (
            {"node_type": "agent", "name": "technical", "output": {"agent_response": "Press it."}},
            "The agent technical worked on it → answered “Press it.”",
        ),
        (
            {
                "node_type": "switch",
                "inputs": BRANCH,
                "output": {"taken": "technical", "matched": True},
            },
            "Looked at classification.intent, which was “technical”: went on with technical.",
        ),
        (
            {
                "node_type": "switch",
                "inputs": {**BRANCH, "value": "other"},
                "output": {"taken": "general", "matched": False},
            },
            "Looked at classification.intent, which was “other”: nothing matched,"
            " so it went on with the default, general.",
        ),
        (
            {
                "node_type": "switch",
                "inputs": {**BRANCH, "value": None},
                "output": {"taken": None, "matched": False},
            },
            "Looked at classification.intent, which had no value: nothing matched,"
            " and no next step was recorded.",
        ),
        (
            {
                "node_type": "if",
                "inputs": {"expr": "triage.urgent", "value": False},
                "output": {"taken": "answer", "matched": True},
            },
            "Looked at triage.urgent, which was “false”: went on with answer.",
        ),
        (
            {"node_type": "switch", "output": {"taken": "technical"}},
            "Looked at something that was not recorded: went on with technical.",
        ),
        (
            {"node_type": "if", "inputs": {"expr": "a.b", "value": ""}},
            "Looked at a.b, which was an empty value: no next step was recorded.",
        ),
        (
            {"node_type": "parallel", "output": {"branches": ["lookup", "policies"]}},
            "Did lookup and policies side by side.",
        ),
        (
            {"node_type": "parallel", "output": {"branches": ["a", "b", ""]}},
            "Did a, b and (no name) side by side.",
        ),
        ({"node_type": "parallel", "output": {"branches": ["only"]}}, "Did only."),
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
            "Called send(to: a@b.c) by python://mail.send → “250”",
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
def test_each_kind_of_step_has_its_sentence(run, fields, words):
    assert told(run, **fields) == words


@pytest.mark.parametrize("node_type", [*module.SENTENCES, "unheard-of", None])
@pytest.mark.parametrize(
    "payload",
    [None, "text", 'a "quote', "{", "[Note] call", 5, True, [], {}, [None], [[{}]], "", " "],
)
def test_every_kind_of_step_takes_every_payload(run, node_type, payload):
    keys = ("expr", "value", "taken", "matched", "branches", "args", "result", "query", "hits")
    add(run, node_type=node_type, inputs=payload, output=payload, errors=payload)
    whole = dict.fromkeys((*keys, "truncated", "bytes", "preview", "content"), payload)
    add(run, node_type=node_type, inputs=whole, output=whole, errors=whole, prompt="")
    for step in steps_of(run):
        assert sentence(step)
        assert all(part.text for part in step.parts)


def test_tool_calls_stand_below_their_agent_and_a_failed_one_is_marked(run):
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
    assert failed.duration == 1.5
    html = page(run)
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
def test_errors_of_every_shape_are_told(run, errors, words):
    assert told(run, node_type="end", errors=errors) == (
        f"The run ended. An error was recorded: {words}"
    )
    assert steps_of(run)[0].failed


@pytest.mark.parametrize("errors", [None, NULL, []])
def test_no_errors_are_no_errors(run, errors):
    assert told(run, node_type="end", errors=errors) == "The run ended."
    assert not steps_of(run)[0].failed


def test_an_error_after_a_quote_starts_a_sentence_of_its_own(run):
    words = told(run, name="a", prompt="Hi", output="Yes", errors=["late"])
    assert words == ("The model was asked (a): “Hi” → answered “Yes”. An error was recorded: late")


# {node type: what may be said of it}; "…" stands for anything
OF_THE_RUNTIME = {
    "start": ["The run began."],
    "end": ["The run ended."],
    "llm": ["The model was asked (…): “…” → answered “…”"],
    "parallel": ["Did … and … side by side."],
    "switch": [
        "Looked at …, which was “…”: went on with ….",
        "Looked at …, which was “…”: nothing matched, so it went on with the default, ….",
    ],
    "if": [
        "Looked at …, which was “true”: went on with ….",
        "Looked at …, which was “false”: went on with ….",
    ],
    "agent": [
        "The agent … worked on it: “…” → answered “…”",
        "The agent … worked on it: “…” → no answer was recorded.",
    ],
    "tool_call": [
        "Called …(…: …) → “…”",
        "Called …(…: …) → Error: …",
        "Called …(…: …) → something too large to keep: 1,482,113 bytes; it began “result: …”",
    ],
}


@pytest.mark.slow
def test_the_demo_conversations_are_told_in_full():
    connection = connections["agents_write"]
    connection.ensure_connection()
    write_demo(connection.connection, seed=3, now=timezone.now())
    heard = set()
    for run in Run.objects.without_payloads():
        tasks = Task.objects.filter(run_id=run.pk).without_payloads().in_order()
        for step in explain(run, nested(list(tasks))):
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


def test_a_payload_that_was_too_large_to_keep_says_so(run):
    log = json.dumps({"result": "line\n" * 200 + "é"})
    large = {"truncated": True, "bytes": 1_482_113, "preview": log[:2048]}
    words = told(run, name="log", node_type="tool_call", inputs={"args": {}}, output=large)
    assert words.startswith(
        "Called log() → something too large to keep: 1,482,113 bytes; it began “result: line line"
    )
    assert words.endswith("…”")


def test_an_empty_preview_is_not_quoted(run):
    large = {"truncated": True, "bytes": 10**6, "preview": ""}
    words = told(run, name="a", output=large)
    assert words.endswith("→ answered something too large to keep: 1,000,000 bytes")


@pytest.mark.parametrize(
    "almost",
    [
        {"truncated": False, "bytes": 5, "preview": "x"},
        {"truncated": True, "bytes": "5", "preview": "x"},
        {"truncated": True, "preview": "x"},
        {"truncated": True, "bytes": 5, "preview": None},
    ],
)
def test_what_only_resembles_a_large_payload_is_shown_as_it_is(run, almost):
    words = told(run, output=almost)
    assert "too large" not in words
    assert "truncated: " in words


def test_excerpts_end_where_they_are_cut(run):
    long = {"agent_response": "y" * 5000}
    parts = [told(run, name="n" * 500, prompt="p" * 5000, output=long)]
    (step,) = steps_of(run)
    name, prompt, answer = (p.text for p in step.parts if p.kind != "text")
    assert (name, prompt) == ("n" * 80 + "…", "p" * 300 + "…")
    assert re.fullmatch("y{200,300}…", answer)
    assert len(parts[0]) < 1000


def test_many_branches_are_not_passed_off_as_all(run):
    words = told(run, node_type="parallel", output={"branches": [f"b-{n}" for n in range(99)]})
    assert words.startswith("Did b-0, b-1, ")
    assert words.endswith(" and others side by side.")


def test_half_a_character_does_not_break_the_page(run):
    preview = '{"text": "x\\ud83d'
    add(run, "a", output={"truncated": True, "bytes": 10**6, "preview": preview})
    add(run, "b", "tool_call", inputs={"args": {}}, output={"result": '{"text": "\\ud83d"}'})
    assert "began “text: x?…”" in sentence(steps_of(run)[0])
    assert page(run).encode()


WHOLE = json.dumps({"a": [1.5, True, None, {"b": 'q"\\u00e9\n'}], "c": "ddd", "e": -3})


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_json_cut_anywhere_reads_as_words(length):
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


def test_only_an_answer_alone_loses_its_key():
    assert readable('{"text": "Hi"}', cut=False, bare=True) == "Hi"
    assert readable('{"text": "Hi"}', cut=False) == "text: Hi"
    assert readable('{"text": "Hi", "b": "x"}', cut=False, bare=True) == "text: Hi, b: x"
    assert readable('{"text": "Hi", ', cut=True, bare=True) == "text: Hi, "
    assert readable('{"agent_response": "Hi th', cut=True, bare=True) == "Hi th"
    assert readable('["a", "b"]', cut=False, bare=True) == "a, b"


def test_nesting_of_any_depth_is_told(run):
    deep = insert("tasks", run_id=run.id, session_id=run.session_id, name="deep", node_type="llm")
    nesting = '{"a":' * 3000 + "1" + "}" * 3000
    with connections["agents_write"].cursor() as cursor:
        cursor.execute("UPDATE tasks SET output = %s WHERE id = %s", [nesting, deep.id])
    (step,) = steps_of(run)
    assert sentence(step).startswith("The model was asked (deep) → answered “a: (a: (a: ")


# The page


HOSTILE = "<img src=x onerror=alert(1)>\"'&{{ run }}\u202e"


def test_hostile_words_stay_words(run):
    payload = {HOSTILE: HOSTILE, "expr": HOSTILE, "taken": HOSTILE, "args": {HOSTILE: HOSTILE}}
    for node_type in [*module.SENTENCES, HOSTILE]:
        values = {"prompt": HOSTILE, "inputs": payload, "output": payload, "errors": payload}
        add(run, HOSTILE, node_type, tool_uri=HOSTILE, **values)
    html = page(run)
    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    # A direction mark ends with the element that isolates it.
    outside = re.sub(r"<bdi[^>]*>[^<]*</bdi>", "", html)
    assert "\u202e" not in outside


def test_each_step_links_to_its_raw_data(run):
    tasks = [add(run, f"step-{seq}", seq=seq) for seq in range(3)]
    html = page(run)
    links = [reverse("conversations:task", args=[run.session_id, task.id]) for task in tasks]
    assert re.findall(r'href="([^"]+/tasks/[^"]+)"', html) == links
    assert "not told here" not in html


def test_a_run_without_tasks(run):
    with CaptureQueriesContext(connections["agents"]) as queries:
        assert explain(run, []) == []
    assert len(queries) == 0
    assert "No steps were recorded" in page(run)


def test_the_first_forty_are_told_in_one_query(run):
    for seq in range(43):
        add(run, f"step-{seq}", seq=seq, output={"text": "z" * 20_000})
    tasks = nested(list(Task.objects.filter(run_id=run.id).without_payloads().in_order()))
    with CaptureQueriesContext(connections["agents"]) as queries:
        steps = explain(run, tasks)
    assert [step.pk for step in steps] == [task.pk for task in tasks[:40]]
    assert len(queries) == 1
    sql = queries[0]["sql"]
    assert all(str(task.pk) not in sql and task.pk.hex not in sql for task in tasks[40:])
    html = page(run)
    assert "3 more steps of this run are not told here." in " ".join(html.split())
    assert reverse("conversations:run", args=[run.session_id, run.id]) in html


def test_no_payload_is_read_whole(run):
    for node_type in module.SENTENCES:
        payload = {key: "z" * 50_000 for _, key, _ in module.PIECES.values()}
        add(run, node_type=node_type, prompt="p" * 50_000, inputs=payload, output=payload)
    with CaptureQueriesContext(connections["agents"]) as queries:
        steps = steps_of(run)
    assert len(queries) == 2
    selected = queries[1]["sql"].split(" FROM ")[0]
    assert not re.search(r'(, |SELECT )"tasks"\."(inputs|output|errors|prompt)"(,| AS|$)', selected)
    with connections["agents"].cursor() as cursor:
        cursor.execute(queries[1]["sql"])
        assert max(len(str(value)) for row in cursor.fetchall() for value in row) <= 301
    assert len(steps) == len(module.SENTENCES)


def test_a_task_of_another_run_or_erased_meanwhile_is_not_told(run):
    task = Task.objects.get(pk=add(run).id)
    task.depth = 0
    assert explain(make_run(make_session()), [task]) == []
    assert len(explain(run, [task])) == 1


def test_the_oldest_revision(run, at_revision):
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
    assert "restart_device" in page(Run.objects.get(pk=run.id))
