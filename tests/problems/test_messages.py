"""The sentence in an error text, and which errors count as equal."""

import json

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from conversations.errors import groups as errors
from conversations.problems import messages

from ..support.factories import (
    NULL,
    Json,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..support.histories import build_indexes
from ..support.listing import match
from ..support.pages import error_links, get, text

pytestmark = pytest.mark.django_db
ERRORS = "/conversations/errors/"
TRACEBACK = """Traceback (most recent call last):
  File "/app/shop.py", line 12, in order
    return found[key]
           ~~~~~^^^^^
KeyError: 'a'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/main.py", line 3, in <module>
    order()
  File "/app/shop.py", line 14, in order
    raise ValueError("no such order") from error
ValueError: no such order
"""
OPENAI = {
    "message": "Rate limit reached for requests",
    "type": "tokens",
    "param": None,
    "code": "rate_limit_exceeded",
}
INVALID = {"type": "missing", "loc": ["q"], "msg": "Field required", "input": {"msg": "Hi"}}
SLOW = {"error": {"message": "Slow down"}}
QUOTED = "{'error': {'message': 'Slow down'}}"
CUT_OFF = (
    "The output of 'm' was cut off at 100 output tokens (stop reason 'length'). The partial output "
    "is not returned. Raise max_output_tokens or ask for a shorter answer."
)


def task_error(value, **fields):
    session = make_session(**fields)
    make_task(make_run(session), session, "step", errors=Json(value))
    return session


def tool_error(words):
    session = make_session()
    output = Json({"result": f"Error: {words}"})
    make_task(make_run(session), session, "step", "tool_call", output=output)
    return session


def model_error(value, code=None):
    session = make_session()
    data = NULL if value is None else Json(value)
    make_model_call(
        session, make_run(session), model="step", response_code=code, response_data=data
    )
    return session


def said():
    return sorted(group.words for group in errors.errors(5).groups)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"detail": [{"msg": "nested detail"}]}, "nested detail"),
        ([{"detail": [{"msg": "nested detail"}]}], "nested detail"),
        ({"code": 42, "reason": "because"}, "because"),
        ({"error": OPENAI}, "rate_limit_exceeded tokens: Rate limit reached for requests"),
        (
            {"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}},
            "429 RESOURCE_EXHAUSTED: Quota exceeded",
        ),
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
            "overloaded_error: Overloaded",
        ),
        (
            {"detail": [{"loc": ["body"], "msg": "Field required", "type": "missing"}]},
            "missing: Field required",
        ),
        ({"detail": "Not Found"}, "Not Found"),
        ({"detail": {"error": "no stock"}}, "no stock"),
        (
            {"errors": [{"message": "no", "extensions": {"code": "FORBIDDEN"}}]},
            "FORBIDDEN: no",
        ),
        ({"errors": ["first", "second"]}, "first"),
        ({"msg": "hello"}, "hello"),
        ({"error": "model not found"}, "model not found"),
        (
            {"error": "invalid_grant", "error_description": "The token expired"},
            "invalid_grant: The token expired",
        ),
        (
            {"title": "Out of credit", "status": 403, "detail": "Your balance is low"},
            "403: Your balance is low",
        ),
        (
            {"statusCode": 404, "message": "Cannot GET", "error": "Not Found"},
            "404: Cannot GET",
        ),
        ({"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}, None),
        ({"truncated": True, "bytes": 9, "preview": '{"error": {"message": "it be'}, "it be"),
        (json.dumps({"error": OPENAI}), "tokens rate_limit_exceeded: Rate limit reached for"),
        ({"error": json.dumps({"message": 'He said \\"no\\"'})}, None),
        (TRACEBACK, "ValueError: no such order"),
        ({"error": TRACEBACK}, "ValueError: no such order"),
        (["one", "two"], "one"),
        ([{"unheard": "of"}], "[{unheard: of}]"),
        ("Error: gone\n    at look (a.js:1:2)\n    at main (a.js:3:4)", "Error: gone"),
        (42, "…"),
        (503, "503"),
        ({"message": "outer words", "detail": "inner words"}, "outer words"),
        ({"title": "Out of credit", "text": "no", "reason": "because"}, "because"),
        ({"message": "", "detail": "words"}, "words"),
        ({"message": None, "error": {"error": "words"}}, "words"),
        ({"error": "Unauthorized", "message": "no", "statusCode": 401}, "401 Unauthorized: no"),
        ({"http_status": 502, "message": "no"}, "502: no"),
        ({"message": "no", "__type": "AccessDeniedException"}, "AccessDeniedException: no"),
        ({"error": {"name": "ZodError", "message": "no"}}, "ZodError: no"),
        ({"detail": [INVALID, {**INVALID, "type": "other"}]}, "missing: Field required"),
        (str([INVALID, {**INVALID, "type": "other"}]), "missing: Field required"),
        ({"error": "no such tool", "request": {"message": "Hello, I am Ann"}}, "no such tool"),
        (
            {"error": {"message": "Bad key", "details": [{"message": "Please", "locale": "en"}]}},
            "Bad key",
        ),
        (
            {"status": 429, "body": json.dumps({"error": OPENAI})},
            "429 tokens rate_limit_exceeded",
        ),
        ([json.dumps({"error": OPENAI})], "tokens rate_limit_exceeded: Rate limit reached for"),
        (json.dumps(json.dumps({"message": 'no "a" here'})), "no … here"),
        ({"error": json.dumps({"error": json.dumps({"message": 'no "a" here'})})}, "no … here"),
        (
            [f"Error code: 429 - {{'error': {OPENAI}}}"],
            "tokens rate_limit_exceeded: Error code: 429 -",
        ),
        ({"error": f"Error code: 429 - {QUOTED}"}, "Error code: 429 - Slow down"),
        ({"message": f"Error code: 500 - {json.dumps(SLOW)}"}, "Error code: 500 - Slow down"),
        ({"error": f"{TRACEBACK.strip()} - {QUOTED}"}, "ValueError: no such order - Slow down"),
        ({"message": "Unknown names: 'a', 'b'"}, "Unknown names: …, …"),
        ({"message": "Wanted {'a': 1}, got {'b': 2}"}, "Wanted {…: …}, got {…: …}"),
        ({"message": "C:\\new\\table is gone"}, "C:\\new\\table is gone"),
        ({"message": "one\ntwo \x01 three"}, "one two three"),
        ({"error": "it's {here}"}, "it's {here}"),
        ({"error": "timeout"}, "timeout"),
    ],
)
def test_the_sentence_of_an_error_is_found(value, sentence, support_client):
    session = task_error(value)
    [words] = said()
    assert sentence is None or words.startswith(sentence)
    [link] = error_links(get(support_client, ERRORS))
    assert match(support_client, link) == [session.id]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (f"Error code: 429 - {{'error': {OPENAI}}}", "Error code: 429 - Rate limit reached for"),
        ('{"detail": [{"msg": "nested"}]}', "nested"),
        (
            "MCP tool 'a' on server 'b' failed: [TextContent(type='text', text='no such table', "
            "annotations=None)]",
            "MCP tool … on server … failed: no such table",
        ),
        (
            """failed: [TextContent(text='{"error": {"message": "no \\\\"a\\\\" here"}}')]""",
            "failed: no … here",
        ),
        ("{'unheard': 'of', 'n': 5}", "{unheard: of, n: …}"),
        (f"Error executing python_tool 'step': {TRACEBACK}", "ValueError: no such order"),
    ],
)
def test_texts_that_quote_a_document_give_its_sentence(words, sentence):
    tool_error(words)
    [found] = said()
    assert sentence in found


@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        ("overloaded", 500, "500: overloaded"),
        (None, 503, "503"),
        (f"Error code: 429 - {{'error': {OPENAI}}}", 429, "429 tokens rate_limit_exceeded: Rate"),
        (
            "429 RESOURCE_EXHAUSTED. {'error': {'code': 429, 'message': 'Quota', "
            "'status': 'RESOURCE_EXHAUSTED'}}",
            429,
            "429 RESOURCE_EXHAUSTED: Quota",
        ),
        ("500 items failed", 500, "500: … items failed"),
        (f"{CUT_OFF}\n\n{{'message': 'half of it", None, CUT_OFF[-20:]),
        ("Connection error.", None, "Connection error."),
        ({"error": {"code": 429, "message": "no", "status": "GONE"}}, 429, "429 GONE: no"),
        ({"error": {"message": "no", "type": "gone"}}, 500, "500 gone: no"),
        ({"message": f"Error code: 429 - {QUOTED}"}, 429, "429: Slow down"),
        (["one", "two"], 500, "500: one"),
    ],
)
def test_a_model_call_shows_its_status_once(value, code, words):
    model_error(value, code)
    [found] = said()
    assert found.startswith(words) or found.endswith(words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("429 Too Many Requests", "500 Internal Server Error"),
        ("429", "500"),
        ("HTTP 502", "HTTP 503"),
        ("HTTP/1.1 502 Bad Gateway", "HTTP/1.1 503 Bad Gateway"),
        ("status code: 429 from there", "status code: 500 from there"),
        ("Error code: 401 - no", "Error code: 403 - no"),
        ("the server's error 401 came", "the server's error 403 came"),
        ("http_status=502, took 3 s", "http_status=504, took 3 s"),
        ("404 page not found", "405 page not found"),
        ("[429] no", "[430] no"),
        ("Client error '404 Not Found' for url 'a'", "Client error '403 Not Found' for url 'a'"),
        ('HTTP error "404 Not Found" at "a"', 'HTTP error "403 Not Found" at "a"'),
        ({"code": 429, "reason": "no"}, {"code": 500, "reason": "no"}),
        ({"status": "429", "message": "no"}, {"status": "500", "message": "no"}),
        ({"error": {"message": "no", "code": "a"}}, {"error": {"message": "no", "code": "b"}}),
        ({"error": {"message": "no", "type": "a"}}, {"error": {"message": "no", "type": "b"}}),
        ({"code": "E1001", "message": "no"}, {"code": "E1002", "message": "no"}),
        ("S3UploadError: no", "S4UploadError: no"),
        ({"error": f"Error code: 429 - {QUOTED}"}, {"error": f"Error code: 500 - {QUOTED}"}),
        ([{"unheard": "of"}], [{"unseen": "of"}]),
        ([{"unheard": "of"}], [{"unheard": "off"}]),
        ({"a_b": {"c": "d"}}, {"a_b": {"c": "e"}}),
        ("{'a_b': 'c'}", "{'a_b': 'd'}"),
    ],
)
@pytest.mark.parametrize("indexed", [False, True])
def test_different_errors_are_two_groups_each_with_its_conversation(
    one, other, indexed, support_client
):
    sessions = {task_error(one).id, task_error(other).id}
    if indexed:
        build_indexes()
    page = get(support_client, ERRORS)
    found = [match(support_client, link) for link in error_links(page)]
    assert sorted(found) == sorted([each] for each in sessions)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("500 items failed", "404 items failed"),
        ("450 of 600 rows", "455 of 700 rows"),
        ("500 MB used", "501 MB used"),
        ("barcode 500 is unknown", "barcode 404 is unknown"),
        ("error 12 came", "error 13 came"),
        ("code 450.5 is no code", "code 451.5 is no code"),
        ("sent 500 and 404", "sent 501 and 405"),
        ({"code": 42, "reason": "order 5"}, {"code": 43, "reason": "order 6"}),
        ({"message": 'no "a"'}, {"message": 'no "b"'}),
        ({"n_of": [1, 2]}, {"n_of": [1, 3]}),
        ({"message": "no 'a', but 'b'"}, {"message": "no 'c', but 'd'"}),
        ({"detail": [INVALID]}, {"detail": [INVALID, INVALID]}),
        (TRACEBACK, TRACEBACK.replace("12", "999").replace("order()", "another()")),
    ],
)
def test_errors_that_differ_in_numbers_or_quotes_are_one_group(one, other):
    task_error(one)
    task_error(other)
    assert len(said()) == 1


def test_response_codes_are_groups(support_client):
    first, second = model_error("no", 429), model_error("no", 500)
    links = error_links(get(support_client, ERRORS))
    assert {match(support_client, link)[0] for link in links} == {first.id, second.id}


def test_rows_and_reasons_show_the_sentence(support_client):
    session = make_session()
    run = make_run(session, output_data=NULL)
    make_message(session, content="Hello", run_id=run.id)
    make_task(run, session, "step", errors=Json({"detail": [{"msg": "nested detail"}]}))
    make_model_call(session, run, model="m", response_code=429, response_data=Json("slow down"))
    assert "run failed: 429: slow down" in text(get(support_client)) or (
        "task step: nested detail" in text(get(support_client))
    )
    page = text(get(support_client, f"/conversations/{session.id}/"))
    assert "m: 429: slow down" in page
    assert "step: nested detail" in page
    assert "msg" not in page


def test_both_the_shown_and_the_written_text_are_found(support_client):
    session = task_error({"error": OPENAI})
    traceback = task_error(TRACEBACK)
    assert match(support_client, search="rate_limit_exceeded", scope="all") == [session.id]
    assert match(support_client, search="limit reached", scope="all") == [session.id]
    assert match(support_client, search="shop.py", scope="all") == [traceback.id]
    assert match(support_client, search='"param": null', scope="all") == [session.id]
    refused = model_error({"message": "no"}, 429)
    assert match(support_client, search="429", scope="all") == [refused.id]


@pytest.mark.parametrize("indexed", [False, True])
def test_a_message_names_what_failed_or_anything(indexed, support_client):
    names = ["step", "other", "…", "a: b", "a", None]
    sessions = {}
    for name in names:
        sessions[name] = make_session()
        make_task(make_run(sessions[name]), sessions[name], name, errors=Json("b: gone"))
    make_task(make_run(make_session()), sessions["step"], "step", errors=Json("gone"))
    if indexed:
        build_indexes()
    found = [match(support_client, link) for link in error_links(get(support_client, ERRORS))]
    each = [[session.id] for session in sessions.values()]
    assert sorted(found) == sorted([*each, [sessions["step"].id]])
    everything = match(support_client, problem="task_error", error="…: b: gone")
    assert sorted(everything) == sorted(session.id for session in sessions.values())
    assert match(support_client, error="b: gone") == []
    assert match(support_client, error="step") == []


def test_a_statement_extracts_a_sentence_once(support_client):
    """
    An index condition spells it out in full, and Errors uses it twice: for first seen, and for the
    number in the period before. Pages read it for few rows.
    """
    build_indexes()
    tool_error("gone")
    with CaptureQueriesContext(connections["agents"]) as queries:
        get(support_client)
        get(support_client, ERRORS)
        get(support_client, search="gone", scope="all")
    found = [query["sql"].count(messages.STRUCTURED) for query in queries]
    assert sorted(found)[-2:] == [1, 2]
    assert max(len(query["sql"]) for query in queries if "TextContent" in query["sql"]) < 16_000


HOSTILE = [
    *("\x01\x02\x03", "\\", "\\\\'\"", "{'", '{"message": "', "{" * 5_000, "[{" * 2_000 + '"a":'),
    *("'\"\\ " * 2_000, '{"a' * 2_000, "\n at " * 2_000, "\n  File \"'" * 2_000, "429" * 5_000),
    *("error " * 3_000, "status: 4" * 3_000, "Traceback (most recent call last):\n" * 500),
    *("TextContent(text='" * 500, '"message": ' * 1_000, "a" * 300_000, "%s %% \\1 \\& $1"),
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:12])
def test_no_insert_fails_because_of_an_index_of_ours(text):
    build_indexes()
    text = text.replace("\0", "")
    with connections["agents_write"].cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '3s'")
    for value in (text, [text], {"error": text}, {"detail": [{"msg": text, text[:50]: text}]}):
        task_error(value)
        model_error(value, 500)
    tool_error(text)
    assert errors.errors(5).number == 9
