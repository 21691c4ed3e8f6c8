"""Parts of a page with their own time limit: see backoffice/databases/time_limits.py."""

import time
from types import SimpleNamespace

import psycopg
import pytest
from django.db import OperationalError, connections, transaction
from django.http import HttpResponse
from psycopg import sql

from backoffice.databases import time_limits
from backoffice.databases.errors import is_timeout
from backoffice.databases.postgresql.connection import Connection
from backoffice.databases.time_limits import TimeBudget, limit_pages, time_limit
from backoffice.databases.work_slots import WorkSlot, wait_for_slot
from conversations.models import Session

from ..support.factories import make_session

# As on a page, there is no open transaction.
pytestmark = pytest.mark.django_db(transaction=True)
ALIASES = pytest.mark.parametrize("alias", ["agents", "agents_write", "default"])


@pytest.fixture
def agents():
    return connections["agents"]


@pytest.fixture
def waits(monkeypatch):
    """A list that grows each time we wait for the server."""
    waited = []
    wait = psycopg.Connection.wait

    def counted(self, generator, *args, **kwargs):
        waited.append(self)
        return wait(self, generator, *args, **kwargs)

    monkeypatch.setattr(Connection, "wait", counted)
    return waited


def ask(statement, params=None, alias="agents"):
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall()


def limit_in_force(alias="agents") -> str:
    return ask("SHOW statement_timeout", alias=alias)[0][0]


@ALIASES
def test_a_statement_ends_at_its_limit_and_the_next_one_runs(alias):
    usual = limit_in_force(alias)
    began = time.monotonic()
    with pytest.raises(OperationalError) as stopped, time_limit(alias, 0.2):
        ask("SELECT pg_sleep(30)", alias=alias)
    assert is_timeout(stopped.value)
    assert time.monotonic() - began < 10
    assert limit_in_force(alias) == usual
    assert connections[alias].get_autocommit()


@ALIASES
def test_the_innermost_limit_applies(alias):
    usual = limit_in_force(alias)
    with time_limit(alias, 7):
        assert limit_in_force(alias) == "7s"
        with time_limit(alias, 0.2509):
            assert limit_in_force(alias) == "250ms"
        assert limit_in_force(alias) == "7s"
    assert limit_in_force(alias) == usual


@ALIASES
def test_statements_share_a_budget(alias, monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(time_limits, "time", SimpleNamespace(monotonic=lambda: clock.now))
    usual = limit_in_force(alias)
    with time_limit(alias, TimeBudget(7)):
        assert limit_in_force(alias) == "7s"
        clock.now += 4
        assert limit_in_force(alias) == "3s"
        # Once the time is over, there must still be a limit: 0 would mean none.
        clock.now += 4
        with pytest.raises(OperationalError):
            ask("SELECT pg_sleep(1)", alias=alias)
    assert limit_in_force(alias) == usual


def test_the_limit_ends_with_its_block_inside_a_transaction(agents):
    usual = limit_in_force()
    with transaction.atomic(using="agents"):
        with time_limit("agents", 7):
            with time_limit("agents", 3):
                assert limit_in_force() == "3s"
            assert limit_in_force() == "7s"
        assert limit_in_force() == usual
        with pytest.raises(OperationalError), time_limit("agents", 0.05):
            ask("SELECT pg_sleep(1)")
        # The timeout has not ended the surrounding transaction.
        assert limit_in_force() == usual
    assert agents.get_autocommit()


@pytest.mark.parametrize("inner", ["time_limit", "slot", "atomic"])
def test_a_timeout_inside_a_transaction_undoes_only_its_block(inner):
    usual = limit_in_force()
    with transaction.atomic(using="agents"), time_limit("agents", 7):
        within = {
            "time_limit": lambda: time_limit("agents", 0.05),
            "slot": lambda: wait_for_slot("agents", WorkSlot.COUNT),
            "atomic": lambda: transaction.atomic(using="agents"),
        }[inner]
        with pytest.raises(OperationalError), within(), time_limit("agents", 0.05):
            ask("SELECT pg_sleep(1)")
        assert limit_in_force() == "7s"
    assert limit_in_force() == usual


def test_results_come_from_the_statement_itself(agents):
    session = make_session(external_id="50%; SELECT 1")
    with time_limit("agents", 5):
        assert ask("SELECT external_id, '%%' FROM sessions WHERE id = %s", [session.id]) == [
            ("50%; SELECT 1", "%")
        ]
        assert ask("SELECT 'a;b%'") == [("a;b%",)]
        assert Session.objects.get(external_id="50%; SELECT 1").pk == session.id
        with agents.cursor() as cursor:
            cursor.execute("SELECT 1 AS one FROM generate_series(1, 3)")
            assert [column.name for column in cursor.description] == ["one"]
            assert cursor.rowcount == 3
            assert not cursor.nextset()
            cursor.execute(sql.SQL("SELECT {}").format(sql.Literal("x")))
            assert cursor.fetchone() == ("x",)
            cursor.execute(b"SELECT 2")
            assert cursor.fetchone() == (2,)
        rows = Session.objects.using("agents_write").filter(pk=session.id)
        with time_limit("agents_write", 5):
            assert rows.update(external_id="changed") == 1
    assert Session.objects.get().external_id == "changed"


def test_a_limit_needs_no_extra_message(waits):
    ask("SELECT 1")
    waits.clear()
    with time_limit("agents", 5):
        assert ask("SELECT 1") == [(1,)]
        assert ask("SELECT 2") == [(2,)]
    assert len(waits) == 2


def test_waiting_for_a_slot_is_limited_and_ends_with_its_block(agents):
    held = """
        SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
        WHERE locktype = 'advisory' AND classid = %s AND datname = current_database()
    """
    with time_limit("agents", 5), wait_for_slot("agents", WorkSlot.COUNT):
        assert limit_in_force() == "5s"
        assert not agents.get_autocommit()
        assert ask(held, [WorkSlot.COUNT.value]) == [(1,)]
    assert agents.get_autocommit()
    assert ask(held, [WorkSlot.COUNT.value]) == [(0,)]


@ALIASES
def test_statements_have_a_limit_in_pages_and_none_in_commands(alias, settings, rf):
    settings.STATEMENT_TIMEOUT_SECONDS = 3
    usual = limit_in_force(alias)

    def view(request):
        assert limit_in_force(alias) == "3s"
        with transaction.atomic(using=alias):
            assert limit_in_force(alias) == "3s"
        with time_limit(alias, 7):
            assert limit_in_force(alias) == "7s"
        return HttpResponse()

    assert limit_pages(view)(rf.get("/")).status_code == 200
    assert limit_in_force(alias) == usual == "0"
