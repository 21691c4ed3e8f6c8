import json
import re
import uuid
from datetime import datetime

import pytest
from django.urls import reverse

from conversations.detail import downloads
from conversations.models import ChatMessage
from conversations.sessions import get_session_details

from ..support.factories import (
    Json,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)

pytestmark = pytest.mark.django_db


def body(client, name, *args, status=200):
    response = client.get(reverse(f"conversations:{name}", args=args))
    assert response.status_code == status
    return response, b"".join(response.streaming_content).decode()


@pytest.fixture
def session():
    made = make_session(external_id="ticket-7")
    run = make_run(made, context=Json({"deep": [[1.50, None]], "text": "ä\u2028\"'"}))
    make_message(made, "user", "Where is *it*?", run_id=run.id)
    make_message(made, "assistant", "On\nits way.", run_id=run.id)
    make_message(made, "tool", "loose")
    for seq in range(250):
        make_task(run, made, f"step-{seq}", seq=seq, output=Json({"n": seq}))
    return made


def plain(value):
    return value.isoformat() if isinstance(value, datetime) else str(value)


def test_the_json_is_the_contracts_session_details(support_client, session):
    response, text = body(support_client, "json", session.id)
    assert response["Content-Type"] == "application/json"
    assert response["Content-Disposition"].endswith(f'conversation-{session.id}.json"')
    details = get_session_details(session.id)
    found = json.loads(text)
    assert list(found) == ["session_id", "messages", "runs", "tasks"]
    for name in ("messages", "runs", "tasks"):
        expected = [
            json.loads(json.dumps(vars(row), default=plain)) for row in getattr(details, name)
        ]
        assert found[name] == expected


@pytest.mark.parametrize("number", ["0002", "0004", "0006"])
def test_the_json_works_at_every_revision(support_client, session, at_revision, number):
    at_revision(number)
    found = json.loads(body(support_client, "json", session.id)[1])
    assert len(found["tasks"]) == 250
    assert found["tasks"][0]["seq"] == (0 if number >= "0004" else None)


def test_payloads_nested_too_deep_for_a_parser_are_copied_unparsed(support_client):
    session = make_session()
    make_run(session, context="[" * 5000 + "]" * 5000)
    assert "[" * 5000 + "]" * 5000 in body(support_client, "json", session.id)[1]


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_a_duration_that_json_cannot_express_is_null(support_client, value):
    session = make_session()
    make_run(session, duration_seconds=value)
    found = json.loads(body(support_client, "json", session.id)[1])
    assert found["runs"][0]["duration_seconds"] is None


@pytest.mark.parametrize(
    ("form", "first", "speaker"),
    [("txt", "ticket-7 (", "\nUser, "), ("md", "# ticket-7 (", "\n**User**, ")],
)
def test_the_transcript_shows_who_wrote_what_and_when(
    support_client, session, form, first, speaker
):
    support_client.cookies["timezone"] = "Asia/Tokyo"
    response, text = body(support_client, "transcript", session.id, form)
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert text.startswith(first)
    assert speaker in text
    assert " JST" in text
    places = [text.index(words) for words in ("Where is *it*?", "On\nits way.", "tool", "loose")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("txt", "\n[The run failed: there was no answer. m: 429: rate limit]\n"),
        ("md", "\n> The run failed: there was no answer. m: 429: rate limit\n"),
    ],
)
def test_the_transcript_says_where_an_answer_is_missing_and_why(support_client, form, said):
    session = make_session()
    failed, answered = make_run(session, output_data=None), make_run(session)
    make_model_call(session, failed, model="m", response_code=429, response_data=Json("rate limit"))
    make_message(session, content="First", run_id=failed.id)
    make_message(session, content="Second", run_id=answered.id)
    make_message(session, "assistant", "Third", run_id=answered.id)
    text = body(support_client, "transcript", session.id, form)[1]
    places = [text.index(words) for words in ("First", said, "Second", "Third")]
    assert places == sorted(places)
    assert text.count("there was no answer") == 1


def test_the_transcript_of_a_long_conversation_has_each_message_once(support_client, monkeypatch):
    monkeypatch.setattr(downloads, "ITEMS_AT_ONCE", 7)
    monkeypatch.setattr(downloads, "ROWS_AT_ONCE", 3)
    session = make_session()
    runs = [make_run(session) for _ in range(7)]
    for number in range(25):
        make_message(session, content=f"Message {number:02}.", run_id=runs[number // 4].id)
    text = body(support_client, "transcript", session.id, "txt")[1]
    assert re.findall(r"Message (\d+)\.", text) == [f"{number:02}" for number in range(25)]


def test_a_message_erased_during_the_download_takes_no_other_with_it(support_client, monkeypatch):
    monkeypatch.setattr(downloads, "ITEMS_AT_ONCE", 4)
    monkeypatch.setattr(downloads, "BLOCK", 1)
    session = make_session()
    messages = [make_message(session, content=f"Message {number:02}.") for number in range(10)]
    address = reverse("conversations:transcript", args=[session.id, "txt"])
    texts = iter(support_client.get(address).streaming_content)
    begun = [next(texts) for _ in range(3)]
    ChatMessage.objects.filter(pk=messages[0].id).delete()
    text = b"".join([*begun, *texts]).decode()
    assert re.findall(r"Message (\d+)\.", text) == [f"{number:02}" for number in range(10)]


@pytest.mark.parametrize(("name", "more"), [("transcript", ["txt"]), ("json", [])])
def test_a_download_begins_at_once_and_goes_on_in_blocks(support_client, name, more):
    session = make_session()
    for number in range(30):
        make_message(session, "user", f"{number} " + "word " * 1_000)
    response = support_client.get(reverse(f"conversations:{name}", args=[session.id, *more]))
    first, *others = response.streaming_content
    assert len(first) < 200
    *blocks, last = map(len, others)
    assert len(blocks) == 2
    assert all(downloads.BLOCK <= block < downloads.BLOCK + 6_000 for block in blocks)
    assert 0 < last < downloads.BLOCK


def test_unknown_formats_and_conversations_are_a_404(support_client, session):
    for path in (
        reverse("conversations:transcript", args=[session.id, "exe"]),
        reverse("conversations:transcript", args=[uuid.uuid4(), "txt"]),
        reverse("conversations:json", args=[uuid.uuid4()]),
    ):
        assert support_client.get(path).status_code == 404
