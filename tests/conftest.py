"""All tests run on one real PostgreSQL, the local one."""

import functools
import inspect

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connections, transaction
from django.test import TransactionTestCase
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from conversations.agentdb import revision
from conversations.agentdb.agent_tables import create_agent_tables
from conversations.indexes import state
from conversations.listing import counts

from .support import citus, deployment, faults, servers
from .support.listing import be_patient
from .support.signing_in import let_in, make_user

DATABASES = ["default", "agents", "agents_write"]
# The tables that migrations fill. If a test commits changes to them, they are restored.
MIGRATED = ["django_content_type", "auth_permission", "auth_group", "auth_group_permissions"]

STARTERS = [deployment.deployment, faults.two_servers, servers.running, servers.pgbouncer]

# A few examples, the same each time. `make hostile` tries many, and different ones each time.
ONE_AFTER_ANOTHER = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}
hypothesis_settings.register_profile(
    "default", max_examples=5, derandomize=True, **ONE_AFTER_ANOTHER
)
hypothesis_settings.register_profile("hostile", max_examples=1_000, **ONE_AFTER_ANOTHER)
hypothesis_settings.load_profile("default")


def pytest_configure(config):
    # Set before anything walks the URLs, because that looks up the admin panel's static files.
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    if settings.LOCAL_DATABASES and not hasattr(config, "workerinput"):
        config.started_postgres = settings.LOCAL_POSTGRES.start()


def pytest_unconfigure(config):
    if (deployment.RUN / "migrated").exists() and not hasattr(config, "workerinput"):
        deployment.drop_database(deployment.TEMPLATE, settings.LOCAL_POSTGRES)
    if getattr(config, "started_postgres", False):
        settings.LOCAL_POSTGRES.stop()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if starts_servers(item):
            item.add_marker("system")
        marker = item.get_closest_marker("django_db")
        if marker and "databases" not in marker.kwargs:
            item.add_marker(
                pytest.mark.django_db(**{**marker.kwargs, "databases": DATABASES}), append=False
            )
    yield
    # Start groups first. A group stays in one process, which would go on alone if it started last.
    items.sort(key=lambda item: not item.get_closest_marker("xdist_group"))


def starts_servers(item) -> bool:
    """Whether the test or one of its fixtures starts a browser, or servers with our helpers."""
    fixtures = item._fixtureinfo.name2fixturedefs
    functions = [item.obj, *(each.func for found in fixtures.values() for each in found)]
    return "browser" in fixtures or any(map(calls_starter, functions))


@functools.cache
def calls_starter(function) -> bool:
    function = inspect.unwrap(function)
    names = function.__code__.co_names if inspect.isfunction(function) else ()
    return any(function.__globals__.get(name) in STARTERS for name in names)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        writer = connections["agents_write"]
        writer.ensure_connection()
        create_agent_tables(writer.connection, settings.AGENT_SCHEMA)
        connections["agents"].close()
        # A test that rolls back can only read what it wrote through the same connection.
        connections["agents"] = writer
        migrated = {table: rows_of(table) for table in MIGRATED}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda _: empty_tables(migrated))
        yield


def rows_of(table: str) -> list[tuple]:
    with connections["default"].cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table} ORDER BY id")
        return cursor.fetchall()


def empty_tables(migrated: dict[str, list[tuple]]):
    """
    Delete what a test committed to either database, and keep what the migrations wrote.

    Django would truncate all tables and create content types and permissions again. That takes
    0.4 s after each test, and deletes the groups.
    """
    for alias in ("default", "agents_write"):
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            # This switches off triggers, and with them the checks of foreign keys.
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute(
                "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p')"
                " AND pg_table_is_visible(oid) AND relnamespace <> 'pg_catalog'::regnamespace"
                " AND relname NOT IN ('django_migrations', 'alembic_version')"
            )
            tables = {table for (table,) in cursor.fetchall()}
            if alias == "default":
                changed = {table for table in MIGRATED if rows_of(table) != migrated[table]}
                tables -= migrated.keys() - changed
            cursor.execute("; ".join(f"DELETE FROM {table}" for table in sorted(tables)))
            if alias == "default":
                for table in changed:
                    places = ", ".join(["%s"] * len(migrated[table][0]))
                    insert = f"INSERT INTO {table} VALUES ({places})"
                    cursor.executemany(insert, migrated[table])


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    """Forget what a process knows about its databases, and raise time limits for busy machines."""
    be_patient(monkeypatch)
    monkeypatch.setattr(counts, "CACHE_SECONDS", 0)
    monkeypatch.setattr(counts, "CACHE_TIMES", 0)
    revision.forget()
    state.forget()
    cache.clear()
    yield
    revision.forget()
    state.forget()


@pytest.fixture(autouse=True, scope="session")
def _quick_passwords():
    """Hashing a password should take half a second, but not for hundreds of sign-ins in tests."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def at_revision(db):
    """A function that changes the agent tables to an older revision, for one test."""

    def change(number: str):
        with connections["agents_write"].cursor() as cursor:
            for since, table, columns in [
                ("0006", "runs", ["duration_seconds"]),
                ("0005", "model_call_stats", ["session_id", "run_id"]),
                ("0004", "tasks", ["seq", "parent_task_name", "tool_uri"]),
                ("0003", "model_call_stats", ["cached_prompt_tokens", "reasoning_tokens"]),
            ]:
                if number < since:
                    drops = ", ".join(f"DROP COLUMN {column}" for column in columns)
                    cursor.execute(f"ALTER TABLE {table} {drops}")
            cursor.execute("UPDATE alembic_version SET version_num = %s", [number])
        revision.forget()

    return change


# People


def client_fixture(group: str | None):
    @pytest.fixture
    def role_client(client, db):
        let_in(client, make_user((group or "nobody").lower(), group, password=None))
        return client

    return role_client


viewer_client = client_fixture("Viewer")
support_client = client_fixture("Support")
admin_client = client_fixture("Admin")
outsider_client = client_fixture(None)


def pytest_terminal_summary(terminalreporter):
    faults.write_table(terminalreporter.write_line)
    skipped = terminalreporter.getreports("skipped")
    if number := sum("citus" in report.keywords for report in skipped):
        terminalreporter.write_line(f"{number} tests on Citus were not run: {citus.NOT_RUN}")
