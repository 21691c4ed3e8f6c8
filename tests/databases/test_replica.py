"""Reading from a streaming replica that lags, is cut off, dies and comes back."""

import json
import logging
import re
import threading
import time
from contextlib import contextmanager

import psycopg
import pytest
from django.conf import settings
from django.db import OperationalError, connections

from backoffice.databases.postgresql.connection import Connection
from backoffice.databases.replica import base
from backoffice.logs import JsonFormatter

from ..support.deployment import create_anew, deployment, wait_until, write_sessions
from ..support.person import make_person, sign_in
from ..support.servers import OpenPostgres, make_replica, running

LIST = "/conversations/"
LINE = "Data as of"
NOT_YET = "does not have it yet"
AGENT = "/admin/conversations/agent/{}/change/"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("replica")]


@pytest.fixture(scope="module")
def primary(tmp_path_factory):
    with running(OpenPostgres(tmp_path_factory.mktemp("primary"))) as server:
        yield server


@pytest.fixture(scope="module")
def site(primary):
    """The agent database is on a server that may be stopped; our own is on the suite's server."""
    with deployment("agents", primary) as made:
        write_sessions(made.database, sessions=20, messages=2, length=100)
        ours = "desk_with_replica"
        create_anew(settings.LOCAL_POSTGRES, ours)
        made.settings["DATABASE_URL"] = settings.LOCAL_POSTGRES.uri(ours)
        made.prepare()
        yield made
        uri = settings.LOCAL_POSTGRES.uri("postgres")
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {ours} WITH (FORCE)")


@pytest.fixture(scope="module")
def replica(primary, site, tmp_path_factory):
    with running(make_replica(primary, tmp_path_factory.mktemp("replica"))) as server:
        site.settings["KAVALAI_DB_URI"] = f"{site.uri}&application_name=reader"
        site.settings["KAVALAI_DB_WRITE_URI"] = f"{site.uri}&application_name=writer"
        uri = f"{server.uri('agents')}&application_name=reader"
        site.settings["KAVALAI_DB_REPLICA_URI"] = uri
        yield server


@pytest.fixture(scope="module")
def server(site, replica):
    with site.serving("--config", "tests/support/impatient.py") as serving:
        yield serving


@pytest.fixture(scope="module")
def admin(site, server):
    person = make_person(site, "Admin")
    assert sign_in(person, server, "admin").status == 200
    return person


@pytest.fixture
def database(primary):
    """The suite's connection to the primary; another test may have stopped the server."""
    with psycopg.connect(primary.uri("agents"), autocommit=True) as connection:
        yield connection


def on_replica(replica, statement):
    with psycopg.connect(replica.uri("agents"), autocommit=True) as connection:
        return connection.execute(statement).fetchone()


@contextmanager
def paused(replica):
    on_replica(replica, "SELECT pg_wal_replay_pause()")
    paused = "SELECT pg_get_wal_replay_pause_state()"
    wait_until(lambda: on_replica(replica, paused) == ("paused",))
    try:
        yield
    finally:
        on_replica(replica, "SELECT pg_wal_replay_resume()")


def add_session(database, external_id):
    database.execute(
        "INSERT INTO sessions VALUES (gen_random_uuid(), md5('agent')::uuid, %s, now(), now())",
        [external_id],
    )


def agent_name(database):
    return database.execute("SELECT name FROM agents").fetchone()[0]


def agent_id(database):
    return database.execute("SELECT id FROM agents").fetchone()[0]


def ready(admin, server):
    page = admin.get(server, "/readyz")
    return page.status, json.loads(page.body)


def with_line(admin, server, **headers) -> str:
    """The list once it shows the lag, which each gunicorn process measures for itself."""
    pages = []

    def tells():
        pages.append(admin.get(server, LIST, **headers).text)
        return LINE in pages[-1]

    wait_until(tells)
    return pages[-1]


def test_the_replica_is_read_and_its_lag_shown(replica, server, admin, database):
    add_session(database, "before-the-pause")
    wait_until(lambda: "before-the-pause" in admin.get(server, LIST).text)
    with paused(replica):
        add_session(database, "after-the-pause")
        page = with_line(admin, server)
        assert "before-the-pause" in page
        assert "after-the-pause" not in page
        # The page says how old the data is, and what that means.
        [words] = re.findall(r'<p role="status">Data as of .*?</p>', page)
        assert re.search(r">\d\d:\d\d:\d\d</time>\. Newer conversations will appear soon\.", words)
        as_htmx = {"HX-Request": "true", "HX-Target": "main#browse"}
        fragment = with_line(admin, server, **as_htmx)
        assert 'id="lag" hx-swap-oob="true"' in fragment
        assert "<html" not in fragment
    wait_until(lambda: "after-the-pause" in admin.get(server, LIST).text)
    wait_until(lambda: LINE not in admin.get(server, LIST).text)


def test_an_idle_primary_is_no_lag(server, admin, database):
    """The last change is as old as on a replica that was cut off; only positions differ."""
    add_session(database, "last-for-a-while")
    database.execute("CHECKPOINT")
    time.sleep(4)
    for _ in range(4):
        page = admin.get(server, LIST).text
        assert "last-for-a-while" in page
        assert LINE not in page
        time.sleep(0.3)


def test_an_edit_is_visible_at_once_if_the_replica_keeps_up(server, admin, database):
    page = admin.post(server, AGENT.format(agent_id(database)), name="Kept up", description="")
    assert page.status == 200
    assert NOT_YET not in page.text
    assert "Kept up" in admin.get(server, LIST).text


def test_the_user_is_told_if_the_replica_lacks_an_edit(replica, server, admin, database):
    name = f"Edited at {time.monotonic()}"
    with paused(replica):
        page = admin.post(server, AGENT.format(agent_id(database)), name=name, description="")
        assert page.status == 200
        assert NOT_YET in page.text
        assert agent_name(database) == name
        assert name not in admin.get(server, LIST).text
    wait_until(lambda: name in admin.get(server, LIST).text)


def test_the_user_is_told_if_the_replica_lacks_an_erasure(replica, server, admin, database):
    add_session(database, "to-be-erased")
    query = "SELECT id FROM sessions WHERE external_id = 'to-be-erased'"
    [session_id] = database.execute(query).fetchone()
    path = f"{LIST}{session_id}/"
    wait_until(lambda: admin.get(server, path).status == 200)
    with paused(replica):
        words = f"erase {str(session_id)[:8]}"
        page = admin.post(server, f"{path}erase/", confirmation=words)
        assert NOT_YET in page.text
        assert database.execute(query).fetchone() is None
    wait_until(lambda: admin.get(server, path).status == 404)


def test_a_replica_without_its_primary_is_not_called_current(
    primary, replica, server, admin, database
):
    """First with a living primary: when the replica is cut off, nothing arrives."""
    with psycopg.connect(replica.uri("postgres"), autocommit=True) as connection:
        [before] = connection.execute("SHOW primary_conninfo").fetchone()
        connection.execute("ALTER SYSTEM SET primary_conninfo = 'host=/nowhere'")
        connection.execute("SELECT pg_reload_conf()")
        receiver = "SELECT FROM pg_stat_wal_receiver"
        wait_until(lambda: not connection.execute(receiver).fetchall())
        try:
            add_session(database, "written-without-replica")
            assert "written-without-replica" not in with_line(admin, server)
        finally:
            connection.execute("ALTER SYSTEM RESET primary_conninfo")
            value = before.replace("'", "''")
            connection.execute(f"ALTER SYSTEM SET primary_conninfo = '{value}'")
            connection.execute("SELECT pg_reload_conf()")
    wait_until(lambda: LINE not in admin.get(server, LIST).text)


def test_pages_can_be_read_while_the_primary_is_gone(primary, replica, server, admin, database):
    path = AGENT.format(agent_id(database))
    database.close()
    primary.stop()
    try:
        wait_until(lambda: "There may be newer conversations." in admin.get(server, LIST).text)
        answer = {"default": "ok", "replica": "ok", "primary": "unavailable"}
        assert ready(admin, server) == (200, answer)
        assert admin.get(server, path).status == 503
    finally:
        primary.start()
    wait_until(lambda: LINE not in admin.get(server, LIST).text)


def readers(server):
    """The site's connections for reading from that server."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'reader'"
    with psycopg.connect(server.uri("postgres"), autocommit=True) as connection:
        return connection.execute(query).fetchone()[0]


def reads_replica(primary, replica, server, admin):
    """Whether each thread reads from the replica."""
    for _ in range(20):
        admin.get(server, LIST)
    return readers(replica) and not readers(primary)


def test_a_replica_that_is_gone_is_replaced_by_the_primary_until_it_is_back(
    primary, replica, server, admin, database
):
    wait_until(lambda: reads_replica(primary, replica, server, admin))
    replica.stop()
    try:
        add_session(database, "while-the-replica-is-gone")
        for _ in range(20):
            page = admin.get(server, LIST)
            assert page.status == 200
            assert "while-the-replica-is-gone" in page.text
            assert LINE not in page.text
        assert readers(primary)
        answer = {"default": "ok", "replica": "unavailable", "primary": "ok"}
        assert ready(admin, server) == (200, answer)
        # Nothing is waited for, and nothing lags.
        page = admin.post(server, AGENT.format(agent_id(database)), name="Now", description="")
        assert NOT_YET not in page.text
    finally:
        replica.start()

    wait_until(lambda: reads_replica(primary, replica, server, admin))
    both = {"default": "ok", "replica": "ok", "primary": "ok"}
    assert ready(admin, server) == (200, both)


def test_the_lag_of_a_replica_is_not_said_of_the_primary(primary, replica, server, admin, database):
    database.close()
    primary.stop()
    try:
        # A deployment shows it for half a minute more.
        with_line(admin, server)
    finally:
        primary.start()
    replica.stop()
    try:
        for _ in range(20):
            page = admin.get(server, LIST)
            assert page.status == 200
            assert LINE not in page.text
    finally:
        replica.start()
    wait_until(lambda: reads_replica(primary, replica, server, admin))


def test_both_gone_is_a_calm_page(primary, replica, server, admin):
    replica.stop()
    primary.stop()
    try:
        page = admin.get(server, LIST)
        assert page.status == 503
        assert "The database is not responding" in page.text
        assert ready(admin, server)[0] == 503
    finally:
        primary.start()
        replica.start()
    wait_until(lambda: reads_replica(primary, replica, server, admin))
    assert admin.get(server, LIST).status == 200


@pytest.fixture
def pooled(monkeypatch):
    """A function that makes a connection of the replica's engine, with a pool of one, to a host."""
    monkeypatch.setattr(base.DatabaseWrapper, "gone_until", 0.0)
    known = connections["agents_write"].settings_dict
    pool = {"connection_class": Connection, "min_size": 0, "max_size": 1, "timeout": 0.5}
    options = {**known["OPTIONS"], "pool": pool | {"reconnect_timeout": 0}}
    made = []

    def wrapper(host, **more):
        own = {"HOST": host, "OPTIONS": options | more, "CONN_MAX_AGE": 0}
        made.append(base.DatabaseWrapper({**known, **own}, f"pooled {host} {more}"))
        return made[-1]

    def connected(host=known["HOST"]):
        replica = wrapper(host, fallback="primary")
        replica.ensure_connection()
        return replica

    monkeypatch.setattr(connections, "create_connection", lambda alias: wrapper(known["HOST"]))
    yield connected
    for each in made:
        each.close()
    for each in made:
        each.close_pool()


@pytest.mark.django_db
def test_a_full_pool_is_not_mistaken_for_a_missing_replica(pooled):
    assert not pooled().fell_back
    with pytest.raises(OperationalError):
        pooled()
    assert base.DatabaseWrapper.gone_until == 0.0


@pytest.mark.django_db
def test_a_pool_whose_replica_is_gone_is_given_up_quietly(pooled, monkeypatch):
    lines = []
    handler = logging.Handler()
    # Comes before the single-line filter, which adds the error's text.
    handler.emit = lambda record: lines.append(JsonFormatter().format(record))
    monkeypatch.setattr(base.log, "handlers", [handler])
    assert pooled("/nowhere").fell_back
    [line] = map(json.loads, lines)
    assert line["message"] == "The replica does not answer; reading the primary."
    assert "psycopg_pool.PoolTimeout" in {cause["type"] for cause in line["exception"]}


SLOW = """
    ALTER TABLE chat_messages RENAME TO messages_kept;
    CREATE VIEW chat_messages AS
        SELECT * FROM messages_kept WHERE (SELECT pg_sleep(5)) IS NOT NULL
"""
QUICK = "DROP VIEW chat_messages; ALTER TABLE messages_kept RENAME TO chat_messages"


@pytest.mark.parametrize("path", [f"{LIST}?search=word", f"{LIST}export/messages.csv"])
def test_a_recovery_conflict_is_a_calm_page(replica, server, admin, database, path):
    """PostgreSQL cancels a query that reads a table which its primary has changed meanwhile."""
    with psycopg.connect(replica.uri("postgres"), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET max_standby_streaming_delay = '100ms'")
        connection.execute("SELECT pg_reload_conf()")
        database.execute(SLOW)
        wait_until(lambda: on_replica(replica, "SELECT to_regclass('messages_kept')") != (None,))
        pages = []
        asking = threading.Thread(target=lambda: pages.append(admin.get(server, path)))
        try:
            asking.start()
            sleeping = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            wait_until(lambda: connection.execute(sleeping).fetchall())
            with database.transaction():
                database.execute("LOCK TABLE messages_kept IN ACCESS EXCLUSIVE MODE")
            asking.join()
        finally:
            asking.join()
            database.execute(QUICK)
            connection.execute("ALTER SYSTEM RESET max_standby_streaming_delay")
            connection.execute("SELECT pg_reload_conf()")
    [page] = pages
    assert page.status == 503
    assert "The database was catching up" in page.text
