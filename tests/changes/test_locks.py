"""Changes while the runtime has open transactions: they wait briefly, and miss no row unnoticed."""

import random
import threading
import time
import uuid
from contextlib import contextmanager

import psycopg
import pytest
from django.db import connections
from django.urls import reverse
from django.utils import timezone
from psycopg.types.json import Jsonb

from conversations.changes import locking
from conversations.models import ChatMessage, Session

from ..support import redacting
from ..support.factories import make_message, make_model_call, make_run, make_session, make_task
from ..support.pages import text
from ..support.tables import everything

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True, databases="__all__")]
SECRET = "swordfish"
OLD = timezone.now() - timezone.timedelta(days=1)


@pytest.fixture
def session():
    times = {"created_at": OLD, "updated_at": OLD}
    session = make_session(**times)
    run = make_run(session, output_data=Jsonb({"said": SECRET}), **times)
    make_message(session, content=SECRET, run_id=run.id, **times)
    make_task(run, session, output=Jsonb(SECRET), **times)
    make_model_call(session, run, response_data=Jsonb(SECRET), **times)
    return session


@contextmanager
def runtime():
    """A separate connection for the runtime."""
    settings = connections["agents_write"].get_connection_params()
    settings.pop("cursor_factory", None)
    settings.pop("context", None)
    with psycopg.connect(**settings) as connection:
        yield connection


def redact(client, session):
    message = ChatMessage.objects.filter(session_id=session.id).earliest("created_at")
    url = reverse("conversations:redact", args=[session.id, message.id])
    return redacting.redact(client, url, {"words": SECRET}, follow=True)


def erase(client, session):
    url = reverse("conversations:erase", args=[session.id])
    typed = {"confirmation": f"erase {str(session.id)[:8]}"}
    return client.post(url, typed, follow=True)


CHANGES = pytest.mark.parametrize("change", [redact, erase])
NEW_MESSAGE = """
    INSERT INTO chat_messages (id, agent_id, session_id, role, content, created_at, updated_at)
    SELECT gen_random_uuid(), agent_id, id, 'user', %(said)s, now(), now()
    FROM sessions WHERE id = %(id)s
"""
NEW_CALL = """
    INSERT INTO model_call_stats
        (id, call_type, model, session_id, response_data, created_at, updated_at)
    VALUES (gen_random_uuid(), 'chat', 'm', %(id)s, to_jsonb(%(said)s::text), now(), now())
"""
WRITES = {
    "message": NEW_MESSAGE,
    "run": "UPDATE runs SET context = to_jsonb(%(said)s::text) WHERE session_id = %(id)s",
    "task": "UPDATE tasks SET inputs = to_jsonb(%(said)s::text) WHERE session_id = %(id)s",
    "model call": """
        UPDATE model_call_stats SET request_data = to_jsonb(%(said)s::text)
        WHERE session_id = %(id)s
    """,
    "session": "UPDATE sessions SET updated_at = now() WHERE id = %(id)s",
}


def left() -> list:
    """Rows that still contain the secret."""
    return [key for key, row in everything().items() if SECRET in row]


@CHANGES
@pytest.mark.parametrize("what", WRITES)
def test_a_change_does_not_wait_forever(admin_client, session, monkeypatch, change, what):
    monkeypatch.setattr(locking, "LOCK_SECONDS", 0.5)
    before = everything()
    with runtime() as connection:
        connection.execute(WRITES[what], {"id": session.id, "said": "something"})
        began = time.monotonic()
        response = change(admin_client, session)
        assert time.monotonic() - began < 10
        connection.rollback()
    assert response.status_code == 503
    assert "Another program is changing this" in text(response)
    assert everything() == before
    assert change(admin_client, session).status_code == 200
    assert left() == []


@pytest.mark.parametrize("what", ["message", "session"])
def test_a_form_of_the_panel_does_not_wait_forever(admin_client, session, monkeypatch, what):
    monkeypatch.setattr("conversations.changes.edits.LOCK_SECONDS", 0.5)
    url = reverse("admin:conversations_session_change", args=[session.id])
    form = admin_client.get(url).context["adminform"].form
    data = {name: form[name].value() or "" for name in form.fields} | {"external_id": "new"}
    with runtime() as connection:
        connection.execute("UPDATE sessions SET external_id = 'x' WHERE id = %s", [session.id])
        began = time.monotonic()
        response = admin_client.post(url, data)
        assert time.monotonic() - began < 10
        connection.rollback()
    assert "Another program is changing this" in text(response)
    assert Session.objects.get().external_id != "new"


@CHANGES
@pytest.mark.parametrize("what", WRITES)
def test_rows_that_a_change_waited_for_are_changed_too(admin_client, session, change, what):
    with runtime() as connection:
        connection.execute(WRITES[what], {"id": session.id, "said": SECRET})
        threading.Timer(0.7, connection.commit).start()
        response = change(admin_client, session)
        assert response.status_code == 200
    assert left() == []


def test_pages_say_that_a_run_is_going_on(admin_client, session):
    message = ChatMessage.objects.get()
    pages = [
        reverse("conversations:redact", args=[session.id, message.id]),
        reverse("conversations:erase", args=[session.id]),
    ]
    preview = {"words": SECRET, "preview": ""}
    still = "The runtime is still writing"
    assert still not in text(admin_client.post(pages[0], preview))
    assert still not in text(admin_client.get(pages[1]))
    now = timezone.now()
    make_run(session, output_data=None, duration_seconds=None, created_at=now, updated_at=now)
    assert still in text(admin_client.post(pages[0], preview))
    assert still in text(admin_client.get(pages[1]))
    assert "still being written to" in text(redact(admin_client, session))
    assert "was still writing to this conversation" in text(erase(admin_client, session))


def test_pages_say_nothing_about_a_conversation_that_is_over(admin_client, session):
    assert "still being written" not in text(redact(admin_client, session))
    assert "still writing" not in text(erase(admin_client, session))


@CHANGES
def test_with_a_writer_nothing_is_left_or_the_page_says_so(admin_client, change):
    chance, quiet = random.Random(7), 0
    for _ in range(40):
        session = make_session(created_at=OLD, updated_at=OLD)
        run = make_run(session, created_at=OLD, updated_at=OLD)
        make_message(session, content=SECRET, created_at=OLD, updated_at=OLD)
        make_task(run, session, created_at=OLD, updated_at=OLD)
        kinds = [chance.choice([*WRITES.values(), NEW_CALL]) for _ in range(chance.randint(1, 6))]
        pauses = [chance.uniform(0, 0.05) for _ in kinds]
        written = []
        writer = threading.Thread(target=write, args=[session.id, kinds, pauses, written])
        writer.start()
        time.sleep(chance.uniform(0, 0.15))
        response = change(admin_client, session)
        answered = time.monotonic()
        assert response.status_code == 200
        writer.join()
        # Rows written after the change are another matter.
        later = any(moment > answered - 0.1 for moment in written)
        quiet += not later
        assert later or "still" in text(response) or left() == [], kinds
        with connections["agents_write"].cursor() as cursor:
            cursor.execute("DELETE FROM model_call_stats")
            cursor.execute("DELETE FROM sessions")
    assert quiet > 5


def write(session_id: uuid.UUID, statements: list[str], pauses: list[float], written: list[float]):
    with runtime() as connection:
        for statement, pause in zip(statements, pauses, strict=True):
            try:
                connection.execute(statement, {"id": session_id, "said": SECRET})
            except psycopg.errors.ForeignKeyViolation:
                # The session was erased.
                connection.rollback()
                return
            # The statement may have waited for the change to end.
            written.append(time.monotonic())
            time.sleep(pause)
            connection.commit()
