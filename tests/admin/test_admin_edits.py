"""Edits in the admin panel: what is written, what is not, and what happens if it cannot be."""

import threading
import uuid
from contextlib import contextmanager

import psycopg
import pytest
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.db import DatabaseError, connections
from django.test.utils import CaptureQueriesContext
from django.utils.html import escape

from audit.models import Act, Entry
from conversations.changes import edits
from conversations.models import ChatMessage

from ..support.admin_panel import form_url, make_rows, open_form, save
from ..support.factories import make_agent, make_message, make_session
from ..support.pages import text
from ..support.signing_in import let_in
from ..support.tables import TABLES, sql, untouched, value
from ..support.trail import read

pytestmark = pytest.mark.django_db


def edited() -> list:
    return list(Entry.objects.filter(act=Act.EDITED))


@pytest.fixture
def rows():
    made = make_rows()
    make_rows()
    return made


# What is written


@pytest.mark.parametrize(
    ("model", "field", "new"),
    [
        ("agent", "name", "Bank “ö”"),
        ("agent", "description", " Buys\r\n\r\n and sells \t"),
        ("session", "external_id", " user@example.com "),
        ("chatmessage", "role", "system"),
        ("chatmessage", "content", "\r\n<b>ö</b> \u202e \U0001f600\r\n"),
    ],
)
def test_an_edit_writes_the_column_that_changed_and_nothing_else(
    admin_client, rows, model, field, new
):
    pk = getattr(rows, model).id
    with untouched((model, pk, field)):
        response = save(admin_client, model, pk, **{field: new})
        assert response.status_code == 302
    assert value(model, pk, field) == new.replace("\r\n", "\n")
    assert len(edited()) == 1


def test_a_conversation_is_given_to_another_agent(admin_client, rows):
    other = make_agent("Bank")
    with untouched(("session", rows.session.id, "agent_id")):
        save(admin_client, "session", rows.session.id, agent=str(other.id))
    assert value("session", rows.session.id, "agent_id") == other.id


def test_the_statement_names_no_other_column(admin_client, rows):
    form = open_form(admin_client, "session", rows.session.id)
    with CaptureQueriesContext(connections["agents_write"]) as queries:
        save(admin_client, "session", rows.session.id, form, external_id="new")
    [update] = [q["sql"] for q in queries if "UPDATE " in q["sql"] and "SELECT" not in q["sql"]]
    assert 'UPDATE "sessions" SET "external_id" = \'new\' WHERE' in update


def test_both_fields_can_change_at_once(admin_client, rows):
    pk = rows.chatmessage.id
    with untouched(("chatmessage", pk, "role"), ("chatmessage", pk, "content")):
        save(admin_client, "chatmessage", pk, role="assistant", content="Other")
    assert value("chatmessage", pk, "role") == "assistant"
    assert edited()[0].details["fields"] == ["role", "content"]


@pytest.mark.parametrize("model", ["agent", "session", "chatmessage"])
@pytest.mark.parametrize("button", ["_save", "_continue"])
def test_a_form_sent_back_unchanged_changes_nothing(admin_client, rows, model, button):
    pk = getattr(rows, model).id
    form = open_form(admin_client, model, pk)
    with untouched(), CaptureQueriesContext(connections["agents_write"]) as queries:
        response = save(admin_client, model, pk, form, **{button: "Save"})
        assert response.status_code == 302
        assert not [q for q in queries if "UPDATE" in q["sql"]]
    assert "Nothing was changed." in text(admin_client.get(response["Location"]))
    assert edited() == []
    assert not LogEntry.objects.exists()


TEXTS = [
    "",
    " ",
    "\n",
    "\r",
    "\r\n",
    "\n\n lines \n",
    "mixed\r\nline\nbreaks\r",
    " \t spaces\u00a0\u2003 ",
    "\u0085\u2028\u2029\x0b\x0c\x01\x1f\x7f\u202e\ufeff",
    "&amp; <b> &#10; \"'",
    "\u0301e\u0301 é",
    "\U0001f600",
]


@pytest.mark.parametrize("stored", TEXTS)
def test_unedited_text_stays_byte_for_byte(admin_client, stored):
    agent = make_agent(stored, description=stored)
    session = make_session(agent, external_id=stored)
    message = make_message(session, stored, stored)
    other = make_agent("Other")
    for model, row, kept, changes in [
        ("agent", agent, "name", {"description": "new"}),
        ("agent", agent, "name", {}),
        ("session", session, "external_id", {"agent": str(other.id)}),
        ("chatmessage", message, "content", {"role": "new"}),
        ("chatmessage", message, "content", {}),
    ]:
        columns = [(model, row.id, f"{name}_id" if name == "agent" else name) for name in changes]
        with untouched(*columns):
            response = save(admin_client, model, row.id, **changes)
            assert response.status_code == 302, text(response)
        assert value(model, row.id, kept) == stored


def test_json_survives_the_edit_of_the_text_beside_it(admin_client):
    written = '{"b": 1.10, "a": 1e400, "n": null, "deep": [[[]]], "u": "\\u00e9\\ud83d\\ude00"}'
    agent = make_agent()
    columns = ("input_schema", "output_schema", "workflow")
    sql(f"UPDATE agents SET {', '.join(f'{name} = %s::jsonb' for name in columns)}", [written] * 3)
    sql("UPDATE agents SET output_schema = NULL, workflow = 'null'")
    with untouched(("agent", agent.id, "name")):
        save(admin_client, "agent", agent.id, name="Other")
    assert value("agent", agent.id, "input_schema::text").startswith('{"a": 1000')
    assert '"b": 1.10' in value("agent", agent.id, "input_schema::text")


@pytest.mark.parametrize(
    ("before", "typed", "after"),
    [
        ("a\nb", "a\r\nc", "a\nc"),
        ("a\r\nb", "a\r\nc\r\nd", "a\r\nc\r\nd"),
        ("a\r\nb\nc", "a\r\nb\r\nd", "a\nb\nd"),
        ("a", "a\r\nb", "a\nb"),
        ("a\rb", "a\r\nc", "a\nc"),
    ],
)
def test_changed_text_keeps_its_kind_of_line_break(admin_client, before, typed, after):
    message = make_message(make_session(), content=before)
    save(admin_client, "chatmessage", message.id, content=typed)
    assert value("chatmessage", message.id, "content") == after


@pytest.mark.parametrize(
    ("before", "typed", "after"),
    [(None, "", None), ("", "", ""), ("x", "", None), (None, "x", "x"), ("", "x", "x")],
)
def test_no_value_and_an_empty_one_are_told_apart(admin_client, before, typed, after):
    session = make_session(external_id=before)
    save(admin_client, "session", session.id, external_id=typed)
    assert value("session", session.id, "external_id") == after
    assert len(edited()) == (before != after)


def test_a_field_that_was_not_sent_is_not_emptied(admin_client, rows):
    form = open_form(admin_client, "chatmessage", rows.chatmessage.id)
    del form["content"]
    with untouched(("chatmessage", rows.chatmessage.id, "role")):
        save(admin_client, "chatmessage", rows.chatmessage.id, form, role="system")


@pytest.mark.parametrize("model", TABLES)
def test_no_other_column_can_be_smuggled_in(admin_client, rows, model):
    forged = {
        "id": str(uuid.uuid4()),
        "updated_at": "2001-01-01",
        "updated_at_0": "2001-01-01",
        "updated_at_1": "00:00",
        "created_at": "2001-01-01",
        "session": str(uuid.uuid4()),
        "session_id": str(uuid.uuid4()),
        "workflow": "{}",
        "context": "{}",
        "output": "{}",
        "model": "other",
    }
    with untouched():
        response = save(admin_client, model, getattr(rows, model).id, **forged)
    editable = model in ("agent", "session", "chatmessage")
    assert response.status_code == (302 if editable else 403)


# What is refused


@pytest.mark.parametrize(
    ("model", "changes", "said"),
    [
        ("agent", {"name": ""}, "This cannot be empty."),
        ("chatmessage", {"role": ""}, "This cannot be empty."),
        ("session", {"agent": ""}, "This field is required."),
        ("session", {"agent": "x"}, "“x” is not a valid UUID."),
        ("session", {"agent": str(uuid.uuid4())}, "Select a valid choice."),
        ("session", {"external_id": "x" * 601}, "Must be at most 600 characters long."),
        ("chatmessage", {"content": "a\0b"}, "Null characters are not allowed."),
        ("session", {"agent": "a\0b"}, "Null characters are not allowed."),
    ],
)
def test_an_invalid_value_is_explained_at_its_field(admin_client, rows, model, changes, said):
    with untouched():
        response = save(admin_client, model, getattr(rows, model).id, **changes)
    assert response.status_code == 200
    assert said in text(response)
    assert edited() == []


def test_the_longest_external_id_fits_into_the_runtimes_index(admin_client):
    session = make_session()
    # Incompressible characters of four bytes each.
    longest = "".join(chr(0x20000 + (n * 7919) % 40_000) for n in range(600))
    assert save(admin_client, "session", session.id, external_id=longest).status_code == 302
    assert value("session", session.id, "external_id") == longest


def test_text_too_long_for_a_form_is_only_shown(admin_client):
    content = "ö" * (edits.LONGEST_TEXT + 1)
    message = make_message(make_session(), content=content)
    response = admin_client.get(form_url("chatmessage", message.id))
    assert "Too long to edit here." in text(response)
    assert len(response.content) < 50_000
    with untouched(("chatmessage", message.id, "role")):
        assert save(admin_client, "chatmessage", message.id, role="x").status_code == 302


def test_the_longest_text_that_can_be_edited_arrives(admin_client):
    message = make_message(make_session(), content="\U0001f600" * edits.LONGEST_TEXT)
    changed = "\U0001f600" * (edits.LONGEST_TEXT - 1)
    assert save(admin_client, "chatmessage", message.id, content=changed).status_code == 302
    assert value("chatmessage", message.id, "content") == changed


def test_a_form_that_is_too_large_is_a_413_page(admin_client, rows):
    with untouched():
        response = save(admin_client, "chatmessage", rows.chatmessage.id, content="x" * 3_000_000)
    assert response.status_code == 413
    assert "This text is too long Nothing was changed." in text(response)


# Two edits at once


@pytest.mark.parametrize(
    ("model", "column", "theirs", "mine"),
    [
        ("agent", "name", "Theirs", {"name": "Mine"}),
        ("agent", "description", None, {"name": "Mine"}),
        ("session", "external_id", "Theirs", {"external_id": "Mine"}),
        ("chatmessage", "content", "Theirs", {"content": "Mine"}),
        ("chatmessage", "content", "Theirs", {"role": "mine"}),
        ("chatmessage", "role", "theirs", {}),
    ],
)
def test_another_users_change_is_not_overwritten(admin_client, rows, model, column, theirs, mine):
    pk = getattr(rows, model).id
    form = open_form(admin_client, model, pk)
    sql(f"UPDATE {TABLES[model]} SET {column} = %s WHERE id = %s", [theirs, pk])
    with untouched():
        response = save(admin_client, model, pk, form, **mine)
    assert response.status_code == 409
    said = text(response)
    shown = f"{column.replace('_', ' ')} is now {f'“{theirs}”' if theirs else 'empty'}"
    assert f"Somebody else changed this row after you opened it: {shown}." in said
    assert "Nothing was saved." in said
    for typed in mine.values():
        assert typed in response.content.decode()
    assert edited() == []
    # Saving again does not overwrite it; reloading the form does.
    with untouched():
        assert save(admin_client, model, pk, form, **mine).status_code == 409
    assert save(admin_client, model, pk, **mine).status_code == 302
    if mine:
        assert value(model, pk, next(iter(mine))) == next(iter(mine.values()))


def test_another_change_of_the_agent_is_a_conflict_too(admin_client, rows):
    form = open_form(admin_client, "session", rows.session.id)
    other = make_agent("Other")
    sql("UPDATE sessions SET agent_id = %s WHERE id = %s", [other.id, rows.session.id])
    with untouched():
        response = save(admin_client, "session", rows.session.id, form, external_id="Mine")
    assert response.status_code == 409
    assert f"agent is now “{other.id}”" in text(response)


def test_the_other_users_text_is_escaped(admin_client, rows):
    form = open_form(admin_client, "agent", rows.agent.id)
    sql("UPDATE agents SET name = '<script>x</script>' || repeat('y', 500)")
    page = save(admin_client, "agent", rows.agent.id, form, name="Mine").content.decode()
    assert escape("“<script>x</script>y") in page
    assert "<script>x" not in page
    assert "y" * 300 not in page


def test_the_same_change_by_somebody_else_is_a_conflict_too(admin_client, rows):
    """The row already has the new value, but the form cannot know that."""
    form = open_form(admin_client, "chatmessage", rows.chatmessage.id)
    sql("UPDATE chat_messages SET role = 'system' WHERE id = %s", [rows.chatmessage.id])
    response = save(admin_client, "chatmessage", rows.chatmessage.id, form, role="system")
    assert response.status_code == 409
    assert edited() == []


def test_activity_in_a_conversation_is_not_a_conflict(admin_client, rows):
    form = open_form(admin_client, "session", rows.session.id)
    sql("UPDATE sessions SET updated_at = updated_at + interval '1 hour'")
    moved = value("session", rows.session.id, "updated_at")
    assert save(admin_client, "session", rows.session.id, form, external_id="n").status_code == 302
    assert value("session", rows.session.id, "updated_at") == moved


@pytest.mark.parametrize("forged", ["", "x", "0" * 64 + " " + "0" * 64, "ö \0 x"])
def test_a_form_without_its_fingerprint_saves_nothing(admin_client, rows, forged):
    with untouched():
        response = save(admin_client, "agent", rows.agent.id, name="Mine", fingerprint=forged)
    assert response.status_code == 409


def test_another_rows_fingerprint_is_not_accepted(admin_client):
    first, second = (make_agent("Same", description="Same") for _ in range(2))
    form = open_form(admin_client, "agent", first.id)
    assert save(admin_client, "agent", second.id, form, name="Mine").status_code == 409


def test_the_fingerprint_tells_nothing_without_the_key(rows, settings):
    row = ChatMessage.objects.get(pk=rows.chatmessage.id)
    before = edits.fingerprint(row)
    settings.SECRET_KEY = "another" * 10
    assert edits.fingerprint(row) != before


def test_saving_a_deleted_row_is_a_404(admin_client, rows):
    form = open_form(admin_client, "chatmessage", rows.chatmessage.id)
    sql("DELETE FROM chat_messages WHERE id = %s", [rows.chatmessage.id])
    response = save(admin_client, "chatmessage", rows.chatmessage.id, form, role="x")
    assert response.status_code == 404
    assert edited() == []


@pytest.fixture
def just_before(monkeypatch):
    """Runs a statement after a form was checked and before its row is locked."""

    def happens(statement, parameters):
        original = edits.recorded_change

        @contextmanager
        def late(*args, **details):
            sql(statement, parameters)
            with original(*args, **details) as given:
                yield given

        monkeypatch.setattr(edits, "recorded_change", late)

    return happens


def test_a_change_between_check_and_lock_is_not_overwritten(admin_client, rows, just_before):
    pk = rows.chatmessage.id
    form = open_form(admin_client, "chatmessage", pk)
    just_before("UPDATE chat_messages SET content = 'Theirs' WHERE id = %s", [pk])
    response = save(admin_client, "chatmessage", pk, form, content="Mine")
    assert response.status_code == 409
    assert "content is now “Theirs”" in text(response)
    assert value("chatmessage", pk, "content") == "Theirs"
    assert edited() == []


def test_the_chosen_agent_may_be_deleted_before_saving(admin_client, rows, just_before):
    chosen = make_agent("Chosen")
    form = open_form(admin_client, "session", rows.session.id)
    just_before("DELETE FROM agents WHERE id = %s", [chosen.id])
    response = save(admin_client, "session", rows.session.id, form, agent=str(chosen.id))
    assert response.status_code == 200
    assert "Select a valid choice." in text(response)
    assert value("session", rows.session.id, "agent_id") == rows.agent.id
    assert edited() == []


# A database that accepts no changes


@pytest.fixture
def read_only_site(monkeypatch):
    """As with KAVALAI_DB_READ_ONLY=1."""
    monkeypatch.delitem(settings.DATABASES, "agents_write")


@pytest.mark.parametrize("model", ["agent", "session", "chatmessage"])
def test_on_a_read_only_site_forms_are_for_reading(admin_client, rows, read_only_site, model):
    pk = getattr(rows, model).id
    assert open_form(admin_client, model, pk) == {}
    response = admin_client.get(form_url(model, pk))
    assert "This site is set up only to read the agent database." in text(response)
    response = admin_client.post(form_url(model, pk), {"name": "x", "role": "x"})
    assert response.status_code == 403
    assert "This site is read-only Nothing was changed." in text(response)


@pytest.mark.parametrize("model", TABLES)
def test_on_a_read_only_site_everything_else_works(admin_client, rows, read_only_site, model):
    for url in (form_url(model, getattr(rows, model).id), f"/admin/conversations/{model}/?q=x"):
        assert admin_client.get(url).status_code == 200


CHANGES = [
    ("agent", {"name": "Mine"}),
    ("session", {"external_id": "Mine"}),
    ("chatmessage", {"content": "Mine"}),
]


@pytest.mark.parametrize(("model", "changes"), CHANGES)
def test_a_read_only_database_is_a_page_that_says_so(admin_client, rows, model, changes):
    pk = getattr(rows, model).id
    form = open_form(admin_client, model, pk)
    sql("SET TRANSACTION READ ONLY")
    with untouched():
        response = save(admin_client, model, pk, form, **changes)
    assert response.status_code == 503
    assert "The agent database is read-only at the moment Nothing was changed." in text(response)
    assert edited() == []


@contextmanager
def role(*grants):
    """Runs statements as a role that may read, and do what else it is granted."""
    sql("CREATE ROLE desk_test_editor")
    sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO desk_test_editor")
    for grant in grants:
        sql(f"GRANT {grant} TO desk_test_editor")
    sql("SET LOCAL ROLE desk_test_editor")
    yield
    sql("RESET ROLE")


@pytest.mark.parametrize(("model", "changes"), CHANGES)
def test_a_role_without_the_permission_is_a_page_that_says_so(admin_client, rows, model, changes):
    pk = getattr(rows, model).id
    with untouched():
        with role():
            response = save(admin_client, model, pk, **changes)
        assert response.status_code == 403
        assert "The agent database does not allow this change" in text(response)
    assert edited() == []


def test_a_role_that_may_change_another_column_is_refused_too(admin_client, rows):
    with untouched(), role("UPDATE (role) ON chat_messages"):
        response = save(admin_client, "chatmessage", rows.chatmessage.id, content="Mine")
        assert response.status_code == 403


def test_a_role_that_may_not_even_read_is_a_page_that_says_so(admin_client, rows):
    sql("CREATE ROLE desk_test_nobody")
    sql("SET LOCAL ROLE desk_test_nobody")
    sql("SAVEPOINT before")
    response = admin_client.get(form_url("agent", rows.agent.id))
    sql("ROLLBACK TO before")
    assert response.status_code == 403
    assert "The agent database does not allow this change" in text(response)


# The audit trail


def test_an_edit_is_recorded_in_the_audit_trail(admin_client, rows):
    pk = rows.session.id
    save(admin_client, "session", pk, external_id="e" * 300)
    [entry] = edited()
    assert (entry.username, entry.session_id) == ("admin", pk)
    assert len(entry.request_id) == 32
    assert read(entry.details) == {
        "table": "sessions",
        "row": str(pk),
        "fields": ["external_id"],
        "before": {"external_id": "ticket-7"},
        "after": {"external_id": "e" * 300},
    }
    assert "ticket-7" not in str(entry.details)


def test_an_agents_edit_names_no_conversation(admin_client, rows):
    save(admin_client, "agent", rows.agent.id, description="")
    [entry] = edited()
    assert entry.session_id is None
    assert entry.details["before"] == {"description": "Sells"}
    assert entry.details["after"] == {"description": None}


def test_a_change_of_agent_is_recorded_by_ids(admin_client, rows):
    other = make_agent()
    save(admin_client, "session", rows.session.id, agent=str(other.id))
    [entry] = edited()
    assert entry.details["before"] == {"agent": str(rows.agent.id)}
    assert entry.details["after"] == {"agent": str(other.id)}


def test_the_text_before_an_edit_is_kept_nowhere(admin_client, rows):
    pk = rows.chatmessage.id
    save(admin_client, "chatmessage", pk, content="Something else")
    [entry] = edited()
    assert entry.session_id == rows.session.id
    assert entry.details["before"] == {"content": {"length": len("content-word")}}
    assert entry.details["after"] == {"content": {"length": len("Something else")}}
    logged = LogEntry.objects.get()
    assert logged.object_repr == logged.object_id == str(pk)
    for row in (entry.details, logged.change_message):
        assert "content-word" not in str(row)
        assert "Something" not in str(row)
    assert logged.get_change_message() == "Changed Content."


def test_djangos_own_history_holds_no_names(admin_client, rows):
    save(admin_client, "session", rows.session.id, external_id="user@example.com")
    save(admin_client, "agent", rows.agent.id, name="Somebody")
    for logged in LogEntry.objects.all():
        for told in ("user@", "ticket-7", "Somebody", "Shop"):
            assert told not in f"{logged.object_repr} {logged.change_message}"
    history = admin_client.get(form_url("agent", rows.agent.id).replace("change", "history"))
    assert "Changed Name." in text(history)


def test_an_edit_that_cannot_be_recorded_is_not_made(admin_client, rows, monkeypatch):
    form = open_form(admin_client, "chatmessage", rows.chatmessage.id)

    def broken(**values):
        raise DatabaseError("disk full")

    monkeypatch.setattr(Entry.objects, "create", broken)
    admin_client.raise_request_exception = False
    with untouched():
        response = save(admin_client, "chatmessage", rows.chatmessage.id, form, content="Mine")
    assert response.status_code == 500
    assert not LogEntry.objects.exists()


def test_a_form_whose_view_cannot_be_recorded_is_not_shown(admin_client, rows, monkeypatch):
    def broken(**values):
        raise DatabaseError("disk full")

    monkeypatch.setattr(Entry.objects, "create", broken)
    admin_client.raise_request_exception = False
    response = admin_client.get(form_url("chatmessage", rows.chatmessage.id))
    assert response.status_code == 500
    assert b"content-word" not in response.content


# With real commits


@pytest.fixture
def boss(transactional_db, client, django_user_model):
    """An admin. The groups are emptied together with the other tables, so this creates them."""
    let_in(client, django_user_model.objects.create_superuser("boss"))
    client.raise_request_exception = False
    yield client
    sql(f"TRUNCATE {', '.join(TABLES.values())}")


def another_connection():
    parameters = connections["agents_write"].get_connection_params()
    # If a test fails to, the server ends the transaction.
    limit = "-c idle_in_transaction_session_timeout=10s"
    return psycopg.connect(**{**parameters, "options": limit})


@pytest.mark.django_db(transaction=True)
def test_a_locked_row_is_not_waited_for_long(boss, settings):
    settings.STATEMENT_TIMEOUT_SECONDS = 1
    rows = make_rows()
    form = open_form(boss, "chatmessage", rows.chatmessage.id)
    with another_connection() as other:
        other.execute("SELECT FROM chat_messages FOR UPDATE")
        with untouched():
            response = save(boss, "chatmessage", rows.chatmessage.id, form, content="Mine")
    assert response.status_code == 503
    assert "Another program is changing this Nothing was changed." in text(response)
    assert edited() == []


@pytest.mark.django_db(transaction=True)
def test_an_edit_waits_for_a_short_change_and_then_sees_it(boss):
    rows = make_rows()
    pk = rows.chatmessage.id
    form = open_form(boss, "chatmessage", pk)
    with another_connection() as other:
        other.execute("UPDATE chat_messages SET content = 'Theirs'")
        finish = threading.Timer(0.5, other.commit)
        finish.start()
        response = save(boss, "chatmessage", pk, form, content="Mine")
        finish.join()
    assert response.status_code == 409
    assert "content is now “Theirs”" in text(response)
    assert value("chatmessage", pk, "content") == "Theirs"


@pytest.mark.django_db(transaction=True)
def test_the_runtime_may_write_to_a_conversation_that_is_being_edited(boss, monkeypatch):
    rows = make_rows()
    original = edits.EditForm.changed_by_others
    wrote = []

    def locked(form, row):
        # Called a second time under the lock, to compare the row again.
        found = original(form, row)
        if row is not form.instance:
            with another_connection() as other:
                other.execute("SET lock_timeout = '1s'")
                other.execute(
                    "INSERT INTO runs (id, session_id, created_at, updated_at)"
                    " VALUES (gen_random_uuid(), %s, now(), now())",
                    [rows.session.id],
                )
            wrote.append(True)
        return found

    monkeypatch.setattr(edits.EditForm, "changed_by_others", locked)
    assert save(boss, "session", rows.session.id, external_id="Mine").status_code == 302
    assert wrote == [True]


@pytest.mark.django_db(transaction=True)
def test_an_edit_whose_commit_fails_is_recorded_as_undone(boss):
    rows = make_rows()
    sql(
        "CREATE FUNCTION pg_temp.fail() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no commit'; END $$;"
        " CREATE CONSTRAINT TRIGGER fail AFTER UPDATE ON chat_messages"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pg_temp.fail()"
    )
    try:
        with untouched():
            response = save(boss, "chatmessage", rows.chatmessage.id, content="Mine")
    finally:
        sql("DROP TRIGGER fail ON chat_messages")
    assert response.status_code == 500
    [entry] = edited()
    undone = Entry.objects.get(act=Act.UNDONE)
    assert undone.details == {"entry": entry.pk}
    assert undone.session_id == rows.session.id


@pytest.mark.django_db(transaction=True)
def test_an_edit_stops_if_the_audit_trail_accepts_no_entry(boss):
    rows = make_rows()
    form = open_form(boss, "chatmessage", rows.chatmessage.id)
    with connections["default"].cursor() as cursor:
        cursor.execute("ALTER TABLE audit_entry RENAME TO audit_gone")
    try:
        with untouched():
            response = save(boss, "chatmessage", rows.chatmessage.id, form, content="Mine")
    finally:
        with connections["default"].cursor() as cursor:
            cursor.execute("ALTER TABLE audit_gone RENAME TO audit_entry")
    assert response.status_code == 503
