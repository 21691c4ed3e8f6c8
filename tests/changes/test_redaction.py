"""Words are removed wherever the runtime wrote them, and nothing else changes."""

import json
import random

import pytest
from django.apps import apps
from django.db import connections, models, transaction
from django.urls import reverse

from audit.models import Act, Entry
from conversations.agentdb.fields import PayloadField
from conversations.changes import redaction
from conversations.models import ChatMessage, Session
from conversations.sessions import get_sessions_summary

from ..support.factories import (
    Json,
    add_messages,
    add_runs,
    make_conversation,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..support.pages import text as shown
from ..support.redacting import confirmed
from ..support.redacting import redact as redact_on_page
from ..support.tables import everything

pytestmark = pytest.mark.django_db

SECRET = 'my code is K711-é "blue"\nand more'
COLUMNS = {
    "chat_messages": ["content"],
    "runs": ["input_data", "output_data", "context"],
    "tasks": ["prompt", "inputs", "output", "errors"],
    "model_call_stats": ["request_data", "response_data"],
}


def redact(words, session, write=True):
    found = redaction.redact(session.id, words, using="agents_write", write=write)
    return {each.label: (each.times, each.rows) for each in found}


@pytest.fixture
def session():
    """A conversation with the secret in every column that can hold words."""
    session = make_session(external_id="someone")
    in_json = {"deep": [{"said": f"Well, {SECRET}!", "n": 12}], "kept": "yes"}
    run = make_run(
        session, input_data=Json(in_json), output_data=Json([SECRET]), context=Json({SECRET: 1})
    )
    make_message(session, content=f"Before {SECRET} after {SECRET}", run_id=run.id)
    make_message(session, "assistant", content="Nothing of the kind", run_id=run.id)
    make_task(
        run,
        session,
        prompt=f"Answer to: {SECRET}",
        inputs=Json({"as_json": json.dumps({"message": SECRET})}),
        output=Json({"as_json": json.dumps(json.dumps([SECRET], ensure_ascii=False))}),
        errors=Json(SECRET),
    )
    make_model_call(session, run, request_data=Json(in_json), response_data=Json(in_json))
    make_model_call(None, run, request_data=Json(in_json))
    return session


def test_all_places_are_redacted_at_once(session):
    before = everything()
    assert redact(SECRET, session, write=False) == {
        "messages": (2, 1),
        "runs": (3, 1),
        "tasks": (4, 1),
        "model calls": (3, 2),
    }
    assert everything() == before, "looking changes nothing"
    redact(SECRET, session)
    text = "\n".join(everything().values())
    assert "K711" not in text
    assert "blue" not in text
    assert text.count("[redacted]") == 12
    assert redact(SECRET, session) == dict.fromkeys(("messages", "runs", "tasks"), (0, 0)) | {
        "model calls": (0, 0)
    }


def test_nothing_else_changes(session):
    other = make_session(external_id="someone")
    make_message(other, content=SECRET)
    before = everything()
    redact(SECRET, session)
    after = everything()
    assert before.keys() == after.keys()
    expected = {}
    for (table, key), text in before.items():
        row = json.loads(text)
        if row.get("session_id") == str(session.id) or table == "model_call_stats":
            for column in COLUMNS.get(table, []):
                value = json.dumps(row[column], ensure_ascii=False)
                for form in (SECRET, *escaped(SECRET)):
                    value = value.replace(json.dumps(form, ensure_ascii=False)[1:-1], "[redacted]")
                row[column] = json.loads(value)
        expected[table, key] = row
    assert {key: json.loads(text) for key, text in after.items()} == expected


def escaped(words):
    """As the words look in JSON inside a string, and in JSON inside JSON inside a string."""
    once = as_json(words)
    twice = {form for each in once for form in as_json(each)}
    return sorted(once | twice, key=len, reverse=True)


def as_json(words):
    return {json.dumps(words)[1:-1], json.dumps(words, ensure_ascii=False)[1:-1]}


def test_part_of_a_message_is_redacted(session):
    assert redact("K711", session)["messages"] == (2, 1)
    texts = "\n".join(everything().values())
    assert "K711" not in texts
    assert "my code is [redacted]-é" in texts


def test_a_number_in_json_becomes_a_string():
    session = make_session()
    make_run(session, input_data=Json({"card": 4111111111111111, "n": 41, "x": [4111111111111111]}))
    assert redact("4111111111111111", session)["runs"] == (2, 1)
    [text] = [text for (table, _), text in everything().items() if table == "runs"]
    values = json.loads(text)["input_data"]
    assert values == {"card": "[redacted]", "n": 41, "x": ["[redacted]"]}


@pytest.mark.parametrize("words", ["a.b", "(x", "\\d", "%_", "Ünï", "日本", "🙂", '"', "a\\b"])
def test_words_are_literal(words):
    session = make_session()
    make_message(session, content=f"one {words} two")
    make_message(session, content="aXb (y 7 zz")
    make_run(session, input_data=Json({"k": words}))
    assert redact(words, session) == {
        "messages": (1, 1),
        "runs": (1, 1),
        "tasks": (0, 0),
        "model calls": (0, 0),
    }


def test_words_match_across_either_newline():
    session = make_session()
    make_message(session, content="one\r\ntwo")
    make_message(session, content="one\ntwo")
    assert redact("one\ntwo", session)["messages"] == (2, 2)


def test_deeply_nested_json_is_redacted():
    session = make_session()
    deep = None
    for _ in range(300):
        deep = [deep, "secret"]
    make_run(session, input_data=Json(deep))
    assert redact("secret", session)["runs"] == (300, 1)


@pytest.mark.parametrize("number", ["0002", "0004"])
def test_before_model_calls_name_their_conversation(session, at_revision, number):
    at_revision(number)
    assert redact(SECRET, session) == {"messages": (2, 1), "runs": (3, 1), "tasks": (4, 1)}


# Every column


def columns_of_text():
    """(table, column) for every text and JSON column of the runtime's tables."""
    for model in apps.get_app_config("conversations").get_models():
        for field in model._meta.fields:
            if isinstance(field, models.TextField | PayloadField):
                yield model._meta.db_table, field.column


def test_every_column_of_text_is_covered_or_says_why_not():
    covered = {
        (table, column)
        for table, (_, texts, payloads) in redaction.PLACES.items()
        for column in (*texts, *payloads)
    }
    left_out = {
        (table, column): reason
        for table, columns in redaction.NOT_COVERED.items()
        for column, reason in columns.items()
    }
    assert all(left_out.values())
    assert not covered & left_out.keys()
    assert covered | left_out.keys() == set(columns_of_text())


def test_words_are_replaced_in_every_covered_column():
    session = make_session(external_id="customer Mari Tamm")
    words = "mari\u00a0tamm"
    payload, text = Json({"k": ["M\u0041ri Tamm", "said MARI TAMM"]}), "for Mari  Tamm."
    run = make_run(session, input_data=payload, output_data=payload, context=payload)
    make_message(session, content=text, role="of Mari Tamm")
    names = {"name": "ask Mari Tamm", "parent_task_name": "Mari Tamm", "prompt": text}
    rest = {"inputs": payload, "output": payload, "errors": payload}
    make_task(run, session, tool_uri="rest://crm/Mari%20Tamm [GET]", **names, **rest)
    make_model_call(session, run, request_data=payload, response_data=payload)
    found = redact(words, session)
    assert found == {
        "external id": (1, 1),
        "messages": (2, 1),
        "runs": (6, 1),
        "tasks": (10, 1),
        "model calls": (4, 1),
    }
    rows = {table: json.loads(text) for (table, _), text in everything().items()}
    for table, (_, texts, payloads) in redaction.PLACES.items():
        for column in texts:
            assert redaction.REDACTED in rows[table][column], (table, column)
            assert "Tamm" not in rows[table][column], (table, column)
        for column in payloads:
            assert rows[table][column] == {"k": ["[redacted]", "said [redacted]"]}
    assert rows["tasks"]["tool_uri"] == "rest://crm/[redacted] [GET]"
    assert redact(words, session, write=False)["tasks"] == (0, 0)


@pytest.mark.parametrize("number", ["0002", "0003", "0004", "0005"])
def test_columns_that_an_older_revision_lacks_are_skipped(at_revision, number):
    session = make_session(external_id="Mari Tamm")
    make_task(make_run(session), session, name="Mari Tamm", prompt="Mari Tamm")
    at_revision(number)
    found = redact("Mari Tamm", session)
    assert (found["external id"], found["tasks"]) == ((1, 1), (2, 1))


def test_a_task_and_those_it_called_keep_the_same_name():
    session = make_session()
    run = make_run(session)
    make_task(run, session, "ask Tamm", parent_task_name=None)
    make_task(run, session, "tool", node_type="tool_call", parent_task_name="ask Tamm")
    redact("Tamm", session)
    rows = [json.loads(text) for (table, _), text in everything().items() if table == "tasks"]
    assert {(row["name"], row["parent_task_name"]) for row in rows} == {
        ("ask [redacted]", None),
        ("tool", "ask [redacted]"),
    }


def test_known_roles_are_never_redacted():
    session = make_session()
    make_message(session, role="user", content="the user said")
    make_message(session, role="user Tamm", content="x")
    redact("user", session)
    assert list(ChatMessage.objects.order_by("created_at").values_list("role", "content")) == [
        ("user", "the [redacted] said"),
        ("[redacted] Tamm", "x"),
    ]


def test_a_name_too_long_for_its_index_is_redacted_whole():
    chance = random.Random(3)
    letters = "".join(f"x1{chance.choice('abcdefghijkl')}" for _ in range(800))
    session = make_session(external_id=letters)
    assert redact("x1", session)["external id"] == (800, 1)
    assert Session.objects.get().external_id == "[redacted]"


def test_a_redacted_external_id_matches_no_other(admin_client):
    one, other = make_session(external_id="Mari Tamm"), make_session(external_id="Mari Tamm")
    for session in (one, other):
        redact("Mari Tamm", session)
    assert list(Session.objects.values_list("external_id", flat=True)) == ["[redacted]"] * 2
    page = admin_client.get(f"/conversations/{one.id}/").content.decode()
    assert "Other conversations with this external id" not in page
    erase_all = admin_client.get("/conversations/erase/?external_id=%5Bredacted%5D")
    assert erase_all.status_code == 404
    # As a text it is found like any other.
    found = get_sessions_summary(external_id="[red")
    assert found["total_count"] == 2


ANY_TEXT = [
    (r"M\u0061ri Tamm", "messages"),
    ("M&#97;ri T&#x61;mm", "messages"),
    ("%4Dari+Tam%6D", "messages"),
    ("MA\u00adRI TAMM", "messages"),
]


@pytest.mark.parametrize(("text", "where"), ANY_TEXT)
def test_rows_with_escaped_letters_are_not_skipped(text, where):
    session = make_session()
    for _ in range(3):
        make_message(session, content="Nothing here")
    make_message(session, content=f"q={text}")
    assert redact("Mari Tamm", session)[where] == (1, 1)


def test_many_rows_are_read_in_batches(django_assert_num_queries):
    session = make_session()
    add_runs(session, 1)
    add_messages(session, 450, content="'number ' || n || ' by Tamm'")
    with django_assert_num_queries(11, using="agents_write"):
        assert redact("Tamm", session, write=False)["messages"] == (450, 450)


# The page


def address(session):
    with connections["agents_write"].cursor() as cursor:
        cursor.execute(
            "SELECT id FROM chat_messages WHERE session_id = %s ORDER BY created_at LIMIT 1",
            [session.id],
        )
        [message_id] = cursor.fetchone()
    return reverse("conversations:redact", args=[session.id, message_id])


def test_first_a_preview_then_a_typed_word(admin_client, session):
    path, before = address(session), everything()
    page = admin_client.get(path).content.decode()
    assert "Before my code is K711" in page
    assert 'name="confirm"' not in page
    page = admin_client.post(path, {"words": SECRET, "preview": ""}).content.decode()
    assert "<td>4</td>" in page
    assert 'name="confirm"' in page
    for typed in ("", "yes", "REDACT"):
        data = {"words": SECRET, "confirmation": typed, "confirm": ""}
        response = admin_client.post(path, data)
        assert response.status_code == 200
        assert "Type “redact” to confirm." in response.content.decode()
    assert everything() == before
    assert not Entry.objects.filter(act=Act.REDACTED).exists()
    data = {"words": SECRET.replace("\n", "\r\n")}
    response = redact_on_page(admin_client, path, data, follow=True)
    assert "Redacted in 12 places." in response.content.decode()
    assert "K711" not in "\n".join(everything().values())
    entry = Entry.objects.get(act=Act.REDACTED)
    assert entry.session_id == session.id
    assert entry.username == "admin"
    assert entry.details == {
        "characters": len(SECRET),
        "messages": 2,
        "runs": 3,
        "tasks": 4,
        "model calls": 3,
    }


def test_without_words_the_whole_message_is_redacted(admin_client):
    session = make_session()
    make_message(session, content=" All of this. ")
    make_run(session, input_data=Json({"user_message": " All of this. "}))
    redact_on_page(admin_client, address(session), {"words": ""})
    assert redact("[redacted]", session, write=False) == {
        "messages": (1, 1),
        "runs": (1, 1),
        "tasks": (0, 0),
        "model calls": (0, 0),
    }


def test_the_button_preview_never_redacts(admin_client, session):
    path, before = address(session), everything()
    data = confirmed(admin_client, path, {"words": SECRET})
    del data["confirm"]
    page = shown(admin_client.post(path, data | {"preview": ""}))
    assert "Choose the button Redact" in page
    assert "Choose the button" not in shown(admin_client.post(path, data | {"words": "Before"}))
    assert everything() == before


OTHERWISE = [{"words": "Before"}, {"near": ["Before"]}, {"all_offers": "on"}, {"previewed": ""}]


@pytest.mark.parametrize("otherwise", OTHERWISE)
def test_only_what_was_previewed_is_redacted(admin_client, session, otherwise):
    make_message(session, content="Write to me@example.com")
    path, before = address(session), everything()
    data = confirmed(admin_client, path, {"words": SECRET}) | otherwise
    page = shown(admin_client.post(path, data))
    assert "Nothing was redacted, because this is not what you previewed" in page
    assert everything() == before
    redact_on_page(admin_client, path, {"words": SECRET} | otherwise)
    assert everything() != before


def test_a_message_that_changes_after_the_preview_is_previewed_again(admin_client):
    session = make_session()
    message = make_message(session, content="All of this.")
    make_run(session, input_data=Json({"user_message": "All of this."}))
    path = address(session)
    data = confirmed(admin_client, path, {"words": ""})
    ChatMessage.objects.filter(pk=message.id).update(content="Something else.")
    before = everything()
    assert "Nothing was redacted" in shown(admin_client.post(path, data))
    assert everything() == before


def test_words_too_short_or_too_long(admin_client, session):
    for words, text in [("4", "at least two"), ("  ", "at least two"), ("x" * 100_001, "at most")]:
        response = admin_client.post(address(session), {"words": words, "preview": ""})
        assert response.status_code == 200
        assert text in response.content.decode()
        assert 'name="confirm"' not in response.content.decode()


def test_words_that_do_not_occur_leave_nothing_to_confirm(admin_client, session):
    page = admin_client.post(address(session), {"words": "elsewhere", "preview": ""})
    assert "Not found in this conversation." in page.content.decode()
    assert 'name="confirm"' not in page.content.decode()


def test_nul_is_refused(admin_client, session):
    response = admin_client.post(address(session), {"words": "a\0b", "preview": ""})
    assert "Null characters are not allowed" in response.content.decode()


def test_a_message_of_another_conversation_is_a_404(admin_client, session):
    other = make_conversation()
    path = address(session).replace(str(session.id), str(other.id))
    assert admin_client.get(path).status_code == 404
    assert admin_client.post(path, {"confirmation": "redact"}).status_code == 404


@pytest.mark.parametrize("role", ["viewer", "support"])
def test_only_users_with_the_permission_may(request, role, session):
    client = request.getfixturevalue(f"{role}_client")
    before = everything()
    data = {"words": SECRET, "confirmation": "redact", "confirm": ""}
    assert client.post(address(session), data).status_code == 403
    assert everything() == before
    page = client.get(reverse("conversations:detail", args=[session.id])).content.decode()
    assert "/redact/" not in page
    assert "/erase/" not in page


def test_without_an_audit_entry_nothing_happens(admin_client, session, monkeypatch):
    path, before = address(session), everything()

    def broken(*args, **kwargs):
        raise RuntimeError("no audit")

    data = confirmed(admin_client, path, {"words": SECRET})
    monkeypatch.setattr("audit.recording.record", broken)
    admin_client.raise_request_exception = False
    assert admin_client.post(path, data).status_code == 500
    assert everything() == before


@pytest.mark.parametrize("words", ["act", "redacted", "ed", "[red"])
def test_words_that_are_part_of_their_replacement(session, words):
    message = make_message(session, content=f"please {words} now", role="user")
    with transaction.atomic(using="agents_write"):
        redaction.redact_all(session.id, words)
    assert ChatMessage.objects.get(pk=message.id).content == "please [redacted] now"
