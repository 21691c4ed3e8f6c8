"""The agent database: read-only connections, `manage.py check`, and what happens if it is down."""

import json
import time
from datetime import UTC, datetime

import psycopg
import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core import checks
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections
from django.db.utils import InternalError
from psycopg.types.datetime import TimestamptzLoader

from backoffice.databases.router import Router
from conversations.agentdb.connections import ClampedLoader, Fastest
from conversations.models import Agent, ChatMessage, ModelCall, Run, Session, Task
from conversations.problems.kinds import choices

from ..support.factories import make_conversation, make_message, make_run, make_session, make_task
from ..support.listing import TYPING

pytestmark = pytest.mark.django_db
MODELS = [Agent, Session, Run, Task, ChatMessage, ModelCall]


@pytest.fixture
def reader():
    """A connection of the alias `agents`, as in a running site."""
    connection = connections.create_connection("agents")
    connection.settings_dict["NAME"] = connections["agents_write"].settings_dict["NAME"]
    yield connection
    connection.close()


def test_the_reading_connection_cannot_write(reader):
    with reader.cursor() as cursor, pytest.raises(InternalError, match="read-only"):
        cursor.execute("CREATE TABLE x ()")


def test_the_reading_connection_has_a_time_limit(reader):
    with reader.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("5s",)
        cursor.execute("SET statement_timeout = 50")
        with pytest.raises(OperationalError):
            cursor.execute("SELECT pg_sleep(5)")


@pytest.mark.parametrize("model", MODELS)
def test_conversations_use_the_agent_databases_aliases(model):
    router = Router()
    assert router.db_for_read(model) == "agents"
    assert router.db_for_write(model) == "agents_write"
    assert not model._meta.managed
    user = get_user_model()
    assert router.db_for_read(user) == router.db_for_write(user) == "default"
    assert router.allow_relation(model(), Session())
    assert not router.allow_relation(model(), user())


@pytest.mark.parametrize("alias", ["agents", "agents_write"])
def test_nothing_is_ever_migrated_there(alias):
    router = Router()
    assert not router.allow_migrate(alias, "auth")
    assert not router.allow_migrate(alias, "conversations")
    assert router.allow_migrate("default", "auth")
    assert not router.allow_migrate("default", "conversations")


NULLABILITY = """
    SELECT column_name, is_nullable = 'YES' FROM information_schema.columns
    WHERE table_name = %s AND table_schema = current_schema()
"""


@pytest.mark.parametrize("model", MODELS)
def test_the_models_mirror_columns_nullability_and_foreign_keys(model):
    with connections["agents"].cursor() as cursor:
        cursor.execute(NULLABILITY, [model._meta.db_table])
        columns = dict(cursor.fetchall())
        constraints = connections["agents"].introspection.get_constraints(
            cursor, model._meta.db_table
        )
    assert {field.column: field.null for field in model._meta.fields} == columns
    keys = {
        constraint["columns"][0]: constraint["foreign_key"]
        for constraint in constraints.values()
        if constraint["foreign_key"]
    }
    ours = {
        field.column: (field.remote_field.model._meta.db_table, "id")
        for field in model._meta.fields
        if field.remote_field
    }
    assert ours == keys


# manage.py check


def check():
    return checks.run_checks(databases=["agents"])


@pytest.mark.parametrize("number", ["0002", "0003", "0004", "0005", "0006"])
def test_check_accepts_every_known_revision(at_revision, number):
    at_revision(number)
    assert check() == []


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("DROP TABLE chat_messages", "The agent database has no table chat_messages"),
        ("ALTER TABLE tasks DROP COLUMN prompt", "table tasks has no column prompt"),
        (
            "UPDATE alembic_version SET version_num = '0099'",
            "at revision 0099; this site knows 0002",
        ),
        ("DROP TABLE alembic_version", "at revision unknown"),
    ],
)
def test_check_says_in_one_line_what_is_wrong(statement, line):
    with connections["agents_write"].cursor() as cursor:
        cursor.execute(statement)
    [message] = check()
    assert line in message.msg
    assert "\n" not in message.msg


def test_check_names_the_schema_that_has_the_tables():
    with connections["agents_write"].cursor() as cursor:
        cursor.execute("CREATE SCHEMA kaval")
        for model in MODELS:
            cursor.execute(f"ALTER TABLE {model._meta.db_table} SET SCHEMA kaval")
        cursor.execute("ALTER TABLE alembic_version SET SCHEMA kaval")
    [message] = check()
    assert "has none of kavalai's tables" in message.msg
    assert "Set KAVALAI_DB_SCHEMA=kaval to find them." in message.msg


def test_check_says_that_the_database_does_not_answer(monkeypatch):
    def refuse(tables):
        raise OperationalError("connection refused\nmore\nlines")

    monkeypatch.setattr("conversations.agentdb.revision.read_columns", refuse)
    [message] = check()
    assert message.msg == "The agent database does not answer: connection refused"


def test_check_looks_at_the_agent_database_without_being_asked(monkeypatch, capsys):
    with connections["agents_write"].cursor() as cursor:
        cursor.execute("DROP TABLE chat_messages")
    with pytest.raises(CommandError, match="no table chat_messages"):
        call_command("check")


# Faults


def break_database(monkeypatch, error):
    def broken(*args, **kwargs):
        raise error

    monkeypatch.setattr("conversations.listing.views.find", broken)


def timeout():
    with connections["agents"].cursor() as cursor:
        cursor.execute("SAVEPOINT before")
        cursor.execute("SET LOCAL statement_timeout = 20")
        try:
            cursor.execute("SELECT pg_sleep(5)")
        except OperationalError as error:
            cursor.execute("ROLLBACK TO before")
            return error
    raise AssertionError("The statement was not stopped.")


@pytest.mark.parametrize(
    ("make_error", "words", "others"),
    [
        (timeout, b"That took too long", b"The database is not responding"),
        (
            lambda: OperationalError("gone"),
            b"The database is not responding",
            b"That took too long",
        ),
    ],
)
def test_a_slow_and_an_absent_database_get_different_pages(
    support_client, monkeypatch, make_error, words, others
):
    break_database(monkeypatch, make_error())
    support_client.raise_request_exception = False
    response = support_client.get("/conversations/?search=ab")
    assert response.status_code == 503
    assert words in response.content
    assert others not in response.content
    assert b'href="/conversations/?search=ab"' in response.content
    assert b"Traceback" not in response.content


def test_an_error_in_a_fragment_keeps_the_filters(support_client, monkeypatch):
    break_database(monkeypatch, OperationalError("gone"))
    support_client.raise_request_exception = False
    response = support_client.get("/conversations/?search=ab", headers=TYPING)
    assert response.status_code == 503
    assert response["HX-Retarget"] == "#results"
    assert b"<html" not in response.content


@pytest.mark.parametrize("headers", [{}, TYPING])
def test_a_list_that_takes_too_long_keeps_its_filters_and_its_address(
    support_client, monkeypatch, headers
):
    session = make_session(external_id="ticket-7")
    break_database(monkeypatch, timeout())
    query = f"?search=ticket-7&scope=all&agent={session.agent_id}&problem=failed"
    response = support_client.get(f"/conversations/{query}", headers=headers)
    assert response.status_code == 503
    page = response.content.decode()
    assert (b"<html" in response.content) == (not headers)
    assert page.count('<main id="browse">') == 1
    assert "That took too long" in page
    assert 'name="search" value="ticket-7"' in page
    assert f'value="{session.agent_id}" selected' in page
    assert 'name="problem" value="failed"' in page
    assert page.count('class="chip"') == 4
    assert f'href="/conversations/{query.replace("&", "&amp;")}"' in page
    # The page neither shows nor requests what is not known.
    for words in ("conversations</p>", "Nothing matches", "hx-trigger", "rel="):
        assert words not in page.partition('id="results"')[2], words
    assert "HX-Retarget" not in response
    assert response.get("HX-Push-Url") == (f"/conversations/{query}" if headers else None)


def test_our_own_failure_shows_no_traceback(support_client, monkeypatch):
    break_database(monkeypatch, RuntimeError("secret detail"))
    support_client.raise_request_exception = False
    response = support_client.get("/conversations/")
    assert response.status_code == 500
    assert b"Something broke on our side" in response.content
    assert b"secret detail" not in response.content


def test_a_slow_count_does_not_break_the_page(support_client, monkeypatch):
    agent = Agent(id=make_session().agent_id)
    for _ in range(50):
        make_session(agent)
    monkeypatch.setattr("conversations.listing.counts.SECONDS", 0.1)
    monkeypatch.setattr("conversations.querysets.SessionQuerySet.count", slow_count)
    began = time.monotonic()
    response = support_client.get("/conversations/")
    assert response.status_code == 200
    assert len(response.context["rows"]) == 50
    assert b"<b>50+</b> conversations" in response.content
    # Counting to the end would take a minute.
    assert time.monotonic() - began < 30


def test_the_page_says_that_counts_take_too_long(support_client, monkeypatch, settings):
    make_session()
    monkeypatch.setattr("conversations.querysets.SessionQuerySet.count", slow_count)
    for name in ("PROBLEM_SECONDS", "PROBLEMS_SECONDS"):
        monkeypatch.setattr(f"conversations.listing.counts.{name}", 0.05)
    settings.STATEMENT_TIMEOUT_SECONDS = 0.1
    response = support_client.get("/conversations/counts/")
    assert response.status_code == 200
    page = response.content.decode()
    assert "Too many conversations to count in time" in page
    assert page.count(">unavailable</span>") == len(choices())
    assert "<b>" not in page


def slow_count(queryset):
    with connections["agents"].cursor() as cursor:
        cursor.execute("SELECT pg_sleep(60)")


@pytest.fixture
def real_databases(monkeypatch):
    """Probes open new connections, here to the test databases."""
    create = connections.create_connection
    names = {alias: connections[alias].settings_dict["NAME"] for alias in ("default", "agents")}

    def create_for_tests(alias):
        connection = create(alias)
        connection.settings_dict = {**connection.settings_dict, "NAME": names[alias]}
        return connection

    monkeypatch.setattr(connections, "create_connection", create_for_tests)
    return names


def test_readyz_names_the_database_that_is_gone(client, real_databases):
    response = client.get("/readyz")
    assert response.status_code == 200
    assert json.loads(response.content) == {"default": "ok", "agents": "ok"}
    real_databases["agents"] = "nowhere"
    response = client.get("/readyz")
    assert response.status_code == 503
    assert json.loads(response.content) == {"default": "ok", "agents": "unavailable"}
    assert client.get("/livez").status_code == 200


def test_probes_need_neither_our_host_name_nor_a_session(support_client, real_databases):
    with connections["default"].execute_wrapper(refuse):
        for path in ("/livez", "/readyz"):
            response = support_client.get(path, headers={"Host": "10.0.0.5"})
            assert response.status_code == 200
            assert "no-store" in response["Cache-Control"]


def refuse(execute, sql, params, many, context):
    raise OperationalError("gone")


# Values that PostgreSQL can hold and Python cannot


@pytest.mark.parametrize(
    "moment",
    [
        "infinity",
        "-infinity",
        "20000-01-01 00:00+00",
        "0044-03-15 12:00:00+00 BC",
        "9999-12-31 23:59:59+00",
        "0001-01-01 00:00:00+00",
    ],
)
@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_times_beyond_the_calendar_break_no_page(support_client, moment, zone):
    session = make_session(created_at=moment, updated_at=moment)
    run = make_run(session, created_at=moment)
    make_message(session, run_id=run.id, created_at=moment)
    make_task(run, session, created_at=moment)
    make_conversation()
    support_client.cookies["timezone"] = zone
    response = support_client.get("/conversations/")
    assert len(response.context["rows"]) == 2
    for row in response.context["rows"]:
        assert support_client.get(f"/conversations/{row.pk}/").status_code == 200
    assert support_client.get(f"/conversations/{session.id}/runs/{run.id}/").status_code == 200


def test_times_are_read_by_the_loader_in_c_where_psycopg_has_one():
    is_fast = Fastest is not TimestamptzLoader
    assert is_fast == (psycopg.pq.__impl__ != "python")
    moment = datetime(2026, 5, 3, 9, 30, 15, 123456, tzinfo=UTC)
    make_session(created_at=moment)
    assert Session.objects.get().created_at == moment
    adapters = connections["agents"].connection.adapters
    oid = adapters.types["timestamptz"].oid
    assert adapters.get_loader(oid, psycopg.pq.Format.TEXT) is ClampedLoader


def test_no_cursor_is_left_on_the_server(support_client):
    statements = []

    def record(execute, sql, params, many, context):
        statements.append(sql)
        return execute(sql, params, many, context)

    with connections["agents"].execute_wrapper(record):
        support_client.get("/conversations/")
    assert statements
    assert not [sql for sql in statements if "DECLARE" in sql]
    assert settings.DATABASES["agents"]["DISABLE_SERVER_SIDE_CURSORS"]


def test_check_names_tables_that_the_role_may_not_read():
    with connections["agents_write"].cursor() as cursor:
        cursor.execute("CREATE ROLE nobody_in_particular")
        cursor.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO nobody_in_particular")
        cursor.execute("REVOKE SELECT ON tasks, alembic_version FROM nobody_in_particular")
        cursor.execute("SET LOCAL ROLE nobody_in_particular")
    messages = [message.msg for message in check()]
    assert messages[0] == "The agent database's role may not read the table tasks."
    assert messages[1].startswith("The agent database is at revision unknown")


def test_browsing_writes_nothing(support_client):
    session = make_conversation()
    tables = [model._meta.db_table for model in MODELS]

    def state():
        with connections["agents"].cursor() as cursor:
            rows = []
            for table in tables:
                cursor.execute(f"SELECT t::text FROM {table} t ORDER BY 1")
                rows.append(cursor.fetchall())
            return rows

    before = state()
    for path in ("/conversations/", f"/conversations/{session.id}/"):
        assert support_client.get(path).status_code == 200
    assert state() == before
