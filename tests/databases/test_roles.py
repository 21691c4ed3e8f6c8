"""The roles that `manage.py database_roles` prints can do what the site does, and no more."""

import getpass
import re
from contextlib import contextmanager
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connections, transaction

from audit.models import Act, Entry
from conversations.models import Agent, ChatMessage, Session

from ..site.test_permissions import MATRIX
from ..support import redacting
from ..support.addresses import site_paths
from ..support.admin_panel import make_rows, save
from ..support.listing import TYPING
from ..support.signing_in import make_user, sign_in
from ..support.tables import sql
from ..support.trail import read

pytestmark = pytest.mark.django_db
READER, EDITOR = 'desk "reader" of a test', "desk_test_editor"
SITE = 'desk "site" of a test'


def printed(*arguments) -> str:
    out = StringIO()
    names = ["--reader", READER, "--editor", EDITOR]
    call_command("database_roles", *names, *arguments, stdout=out)
    return out.getvalue()


@contextmanager
def role(name: str, *arguments):
    """Runs statements on the agent database as that role, created with the printed SQL."""
    ours = printed(*arguments)
    sql(ours[: ours.index("-- For our own database")])
    quoted = '"' + name.replace('"', '""') + '"'
    sql(f"SET LOCAL ROLE {quoted}")
    yield
    sql("RESET ROLE")


def refused(statement: str) -> bool:
    with (
        pytest.raises(DatabaseError) as raised,
        transaction.atomic(using="agents_write"),
    ):
        sql(statement)
    return raised.value.__cause__.sqlstate == "42501"


def test_the_reader_is_enough_for_every_page_and_file(admin_client):
    paths = site_paths()
    with role(READER):
        for name, statuses in MATRIX.items():
            if statuses[-1] == 200:
                response = admin_client.get(paths[name])
                assert response.status_code == 200, name
                assert b"".join(response), name
        for model in ("agent", "session", "run", "task", "chatmessage", "modelcall"):
            address = f"/admin/conversations/{model}/"
            assert admin_client.get(address).status_code == 200
            assert admin_client.get(f"{address}?q=ticket-7").status_code == 200


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sessions SET external_id = 'x'",
        "DELETE FROM sessions",
        "INSERT INTO alembic_version VALUES ('x')",
        "TRUNCATE runs",
        "CREATE TABLE public.mine ()",
        "SELECT * FROM sessions FOR UPDATE",
    ],
)
def test_the_reader_changes_nothing(db, statement):
    sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with role(READER):
        assert refused(statement)


EDITS = [
    ("agent", {"name": "Mine", "description": "Mine"}),
    ("session", {"external_id": "Mine"}),
    ("chatmessage", {"role": "mine", "content": "Mine"}),
]


@pytest.mark.parametrize("arguments", [(), ("--edits-only",), ("--whole-tables",)])
def test_the_editor_is_enough_for_every_edit(admin_client, arguments):
    rows = make_rows()
    with role(EDITOR, *arguments):
        for model, changes in EDITS:
            response = save(admin_client, model, getattr(rows, model).id, **changes)
            assert response.status_code == 302, model
    assert Agent.objects.get().name == ChatMessage.objects.get().content == "Mine"


def redact(client, rows):
    session, message = rows.session.id, rows.chatmessage.id
    path = f"/conversations/{session}/messages/{message}/redact/"
    return redacting.redact(client, path, {"words": "payload-word"})


def erase(client, rows):
    words = {"confirmation": f"erase {str(rows.session.id)[:8]}"}
    return client.post(f"/conversations/{rows.session.id}/erase/", words)


def test_the_editor_is_enough_for_redacting_and_erasing(admin_client):
    rows = make_rows()
    with role(EDITOR):
        assert redact(admin_client, rows).status_code == 302
        assert erase(admin_client, rows).status_code == 302
    assert not Session.objects.exists()


def test_rights_on_whole_tables_name_no_columns():
    found = printed("--whole-tables", "--schema=agents")
    assert 'GRANT UPDATE ON "agents"."sessions" TO' in found
    assert "GRANT UPDATE (" not in found.partition("-- For our own database")[0]


@pytest.mark.parametrize("act", [redact, erase])
def test_a_missing_grant_is_a_page_that_says_so(admin_client, act):
    rows = make_rows()
    with role(EDITOR, "--edits-only"):
        response = act(admin_client, rows)
    assert response.status_code == 403
    assert "The agent database does not allow this change" in response.content.decode()
    assert Session.objects.exists()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sessions SET updated_at = now()",
        "UPDATE agents SET workflow = NULL",
        "UPDATE alembic_version SET version_num = 'x'",
        "DELETE FROM agents",
        "DELETE FROM model_call_stats",
        "INSERT INTO alembic_version VALUES ('x')",
        "TRUNCATE sessions",
    ],
)
def test_the_editor_does_nothing_else(db, statement):
    with role(EDITOR):
        assert refused(statement)


# In our own database


def ours(statement: str):
    with connections["default"].cursor() as cursor:
        cursor.execute(statement)


@contextmanager
def site_role():
    """Runs statements on our own database as the site's role, created with the printed SQL."""
    owner = connections["default"].settings_dict["USER"] or getpass.getuser()
    text = printed("--site", SITE, "--owner", owner)
    quoted = '"' + SITE.replace('"', '""') + '"'
    assert f"CREATE ROLE {quoted} LOGIN;" in text
    assert "GRANT CONNECT ON DATABASE" in text
    ours(f"CREATE ROLE {quoted}")
    ours(text[text.index("-- In our own database, as its owner") : text.index("-- Set passwords")])
    ours(f"SET LOCAL ROLE {quoted}")
    yield
    ours("RESET ROLE")


def test_the_sites_role_may_do_all_that_the_site_does(admin_client, client):
    paths = site_paths()
    user = make_user()
    with site_role():
        for name, statuses in MATRIX.items():
            response = admin_client.get(paths[name])
            assert response.status_code == statuses[-1], name
            b"".join(response)
        for end in (2, 3):
            assert admin_client.get(f"/conversations/?search={'refund'[:end]}", headers=TYPING)
        assert [text for text in searched() if "re" in text] == ["search=ref"]
        form = {"username": "al", "is_active": "on"}
        change = admin_client.post(f"/admin/accounts/user/{user.pk}/change/", form)
        assert change.status_code == 302
        assert admin_client.post("/accounts/logout/").status_code == 302
        assert sign_in(client, "al").status_code == 302
        # The site's own jobs.
        call_command("clearsessions")
        ours("INSERT INTO audit_seal SELECT * FROM audit_seal WHERE false")
        assert verified() == "0 entries in 0 seals, 0 pruned since."


def searched() -> list[str]:
    return [read(entry.details)["query"] for entry in Entry.objects.filter(act=Act.SEARCHED)]


def verified() -> str:
    out = StringIO()
    call_command("audit_verify", stdout=out)
    return out.getvalue().splitlines()[0]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_entry",
        "TRUNCATE audit_entry",
        "TRUNCATE audit_seal",
        "UPDATE audit_entry SET username = 'nobody'",
        "UPDATE audit_entry SET at = now()",
        "DELETE FROM audit_seal",
        "UPDATE audit_seal SET count = 0",
        "ALTER TABLE audit_entry DISABLE TRIGGER USER",
        "ALTER TABLE audit_seal DISABLE TRIGGER USER",
        "DROP TRIGGER audit_entry_append_only ON audit_entry",
        "DROP TABLE audit_entry",
        "SET session_replication_role = replica",
        "CREATE OR REPLACE FUNCTION audit_entry_append_only() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN OLD; END'",
        "CREATE TABLE public.mine ()",
        "INSERT INTO django_migrations (app, name, applied) VALUES ('x', 'x', now())",
    ],
)
def test_the_sites_role_touches_no_entry(db, statement):
    with (
        site_role(),
        pytest.raises(DatabaseError) as raised,
        transaction.atomic(),
    ):
        ours(statement)
    assert raised.value.__cause__.sqlstate == "42501"


def test_names_are_quoted_and_the_schema_is_the_sites(settings):
    settings.AGENT_SCHEMA = 'agents"; DROP'
    found = printed("--owner", "desk of ours")
    assert 'GRANT USAGE ON SCHEMA "agents""; DROP" TO "desk ""reader"" of a test";' in found
    assert 'CREATE DATABASE "desk of ours" OWNER "desk of ours";' in found
    assert not re.search(r"[^\"]DROP", found.replace('""; DROP"', ""))
