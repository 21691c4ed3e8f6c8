import json
import uuid
from datetime import datetime

import pytest
from django.urls import reverse

from conversations.sessions import get_session_details

from ..support.factories import Json, make_message, make_run, make_session, make_task

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


def test_payloads_that_no_parser_survives_are_passed_on_as_they_are(support_client):
    session = make_session()
    make_run(session, context="[" * 5000 + "]" * 5000)
    assert "[" * 5000 + "]" * 5000 in body(support_client, "json", session.id)[1]


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_a_duration_that_json_has_no_number_for_is_null(support_client, value):
    session = make_session()
    make_run(session, duration_seconds=value)
    found = json.loads(body(support_client, "json", session.id)[1])
    assert found["runs"][0]["duration_seconds"] is None


@pytest.mark.parametrize(
    ("form", "first", "speaker"),
    [("txt", "ticket-7 (", "\nUser, "), ("md", "# ticket-7 (", "\n**User**, ")],
)
def test_the_transcript_says_who_said_what_and_when(support_client, session, form, first, speaker):
    support_client.cookies["timezone"] = "Asia/Tokyo"
    response, text = body(support_client, "transcript", session.id, form)
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert text.startswith(first)
    assert speaker in text
    assert " JST" in text
    places = [text.index(words) for words in ("Where is *it*?", "On\nits way.", "tool", "loose")]
    assert places == sorted(places)


def test_there_is_no_third_form(support_client, session):
    for path in (
        reverse("conversations:transcript", args=[session.id, "exe"]),
        reverse("conversations:transcript", args=[uuid.uuid4(), "txt"]),
        reverse("conversations:json", args=[uuid.uuid4()]),
    ):
        assert support_client.get(path).status_code == 404
