"""What erasing deletes and keeps, and who must type what to confirm."""

import json

import pytest
from django.urls import reverse

from audit.models import Act, Entry
from conversations.changes import erasure

from ..support.factories import (
    Json,
    make_agent,
    make_conversation,
    make_message,
    make_model_call,
    make_run,
    make_session,
)
from ..support.tables import TABLES, everything, sql

pytestmark = pytest.mark.django_db


def full_conversation(**fields):
    session = make_conversation(messages=4, runs=2, tasks=3, **fields)
    run = make_run(session)
    words = Json({"said": "something"})
    tokens = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    make_model_call(session, run, request_data=words, response_data=words, **tokens)
    make_model_call(None, run, request_data=words, **tokens)
    make_model_call(session, None, response_data=words, **tokens)
    return session


def table_counts():
    return {table: sql(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES.values()}


def erase_path(session):
    return reverse("conversations:erase", args=[session.id])


def typed(session):
    return {"confirmation": f"erase {str(session.id)[:8]}"}


def test_every_table_is_erased_and_others_stay(admin_client):
    kept = full_conversation(external_id="kept")
    # Belongs to no conversation.
    make_model_call(None, None, request_data=Json({"said": "else"}))
    before = everything()
    gone = full_conversation(external_id="gone")
    response = admin_client.post(erase_path(gone), typed(gone), follow=True)
    assert response.redirect_chain == [("/conversations/", 302)]
    assert "Erased 1 conversation." in response.content.decode()
    after = everything()
    left = {key: text for key, text in after.items() if key not in before}
    assert {key: text for key, text in after.items() if key in before} == before
    # Its agent is kept too.
    calls = [json.loads(text) for (table, _), text in left.items() if table == "model_call_stats"]
    assert sorted(table for table, _ in left) == ["agents"] + ["model_call_stats"] * 3
    assert len(calls) == 3
    for call in calls:
        assert call["request_data"] is None
        assert call["response_data"] is None
        assert (call["prompt_tokens"], call["total_tokens"]) == (10, 15)
    assert admin_client.get(erase_path(gone)).status_code == 404
    assert admin_client.get(erase_path(kept)).status_code == 200


def test_the_preview_counts_and_changes_nothing(admin_client):
    session = full_conversation(external_id="x&y")
    full_conversation(external_id="x&y")
    before = everything()
    page = admin_client.get(erase_path(session)).content.decode()
    rows = dict(erasure.count([session.id], "agents").going)
    assert rows == {"conversations": 1, "messages": 4, "runs": 3, "tasks": 6}
    for name, number in rows.items():
        assert f'<th scope="row">{name}</th><td>{number}</td>' in page
    assert "3 model calls, with times and token counts only" in page
    assert "1 other conversation</a> with the same external id" in page
    assert "external_id=x%26y" in page
    assert everything() == before


@pytest.mark.parametrize("text", ["", "erase", "ERASE", "erase 12345678"])
def test_another_word_erases_nothing(admin_client, text):
    session = full_conversation()
    before = everything()
    response = admin_client.post(erase_path(session), {"confirmation": text})
    assert response.status_code == 200
    assert everything() == before


def test_the_audit_trail_keeps_only_counts(admin_client):
    session = full_conversation(external_id="secret-key")
    admin_client.post(erase_path(session), typed(session))
    entry = Entry.objects.get(act=Act.ERASED)
    assert entry.session_id == session.id
    assert entry.details == {
        "conversations": 1,
        "messages": 4,
        "runs": 3,
        "tasks": 6,
        "model_calls_blanked": 3,
    }


def test_without_an_audit_entry_nothing_is_erased(admin_client, monkeypatch):
    session = full_conversation()
    before = everything()

    def broken(*args, **kwargs):
        raise RuntimeError("no audit")

    monkeypatch.setattr("audit.recording.record", broken)
    admin_client.raise_request_exception = False
    assert admin_client.post(erase_path(session), typed(session)).status_code == 500
    assert everything() == before


@pytest.mark.parametrize("role", ["viewer", "support"])
def test_only_users_with_the_permission_may(request, role):
    client = request.getfixturevalue(f"{role}_client")
    session = full_conversation(external_id="a")
    before = everything()
    assert client.post(erase_path(session), typed(session)).status_code == 403
    path = reverse("conversations:erase_all") + "?external_id=a"
    assert client.post(path, {"confirmation": "erase 1 conversation"}).status_code == 403
    assert everything() == before


# All conversations with one external id

ALL = "/conversations/erase/"


def test_all_conversations_of_an_external_id_are_erased(admin_client):
    agents = [make_agent("One"), make_agent("Two")]
    for agent in agents:
        full_conversation(agent=agent, external_id="gone@example.com")
    for name in ("gone@example.co", "gone@example.com ", "Gone@example.com", None):
        full_conversation(agent=agents[0], external_id=name)
    path = f"{ALL}?external_id=gone%40example.com"
    page = admin_client.get(path).content.decode()
    assert "Type <b>erase 2 conversations</b>" in page
    assert '<th scope="row">messages</th><td>8</td>' in page
    response = admin_client.post(path, {"confirmation": "erase 3 conversations"})
    assert "” to confirm." in response.content.decode()
    assert table_counts()["sessions"] == 6
    response = admin_client.post(path, {"confirmation": "erase 2 conversations"}, follow=True)
    assert "Erased 2 conversations." in response.content.decode()
    assert table_counts()["sessions"] == 4
    entry = Entry.objects.get(act=Act.ERASED)
    assert entry.session_id is None
    assert entry.details["conversations"] == 2
    assert "gone" not in str(entry.details)


@pytest.mark.parametrize("query", ["", "?external_id=", "?external_id=nobody", "?external_id=%00"])
def test_an_external_id_that_no_conversation_has(admin_client, query):
    make_session(external_id="somebody")
    assert admin_client.get(ALL + query).status_code == 404
    assert admin_client.post(ALL + query, {"confirmation": "erase 1"}).status_code == 404


def test_too_many_at_once_are_left_to_the_command(admin_client, monkeypatch):
    monkeypatch.setattr("conversations.changes.views.MOST_AT_ONCE", 2)
    agent = make_agent()
    for _ in range(3):
        make_session(agent, external_id="a")
    path = f"{ALL}?external_id=a"
    assert "manage.py purge" in admin_client.get(path).content.decode()
    admin_client.post(path, {"confirmation": "erase 3 conversations"})
    assert table_counts()["sessions"] == 3


@pytest.mark.parametrize("number", ["0002", "0004"])
def test_before_model_calls_name_their_conversation(admin_client, at_revision, number):
    session = full_conversation()
    at_revision(number)
    before = {key: text for key, text in everything().items() if key[0] == "model_call_stats"}
    page = admin_client.get(erase_path(session)).content.decode()
    assert "does not record which conversation they belong to" in page
    admin_client.post(erase_path(session), typed(session))
    after = {key: text for key, text in everything().items() if key[0] == "model_call_stats"}
    assert table_counts()["sessions"] == 0
    assert after == before
    entry = Entry.objects.get(act=Act.ERASED)
    assert entry.details["model_calls_blanked"] is None


def test_messages_without_a_run_are_erased_too(admin_client):
    session = make_session()
    make_message(session)
    admin_client.post(erase_path(session), typed(session))
    assert table_counts() == dict.fromkeys(TABLES.values(), 0) | {"agents": 1}
