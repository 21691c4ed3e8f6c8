"""What a page asks under a time limit of its own: see backoffice/databases/time_limits.py."""

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

# As in a page, where no transaction is open.
pytestmark = pytest.mark.django_db(transaction=True)
ALIASES = pytest.mark.parametrize("alias", ["agents", "agents_write", "default"])


@pytest.fixture
def agents():
    return connections["agents"]


@pytest.fixture
def waits(monkeypatch):
    """How often an answer of a server was waited for, as a list that grows."""
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
def test_a_statement_ends_at_its_limit_and_the_next_one_is_asked(alias):
    usual = limit_in_force(alias)
    began = time.monotonic()
    with pytest.raises(OperationalError) as stopped, time_limit(alias, 0.2):
        ask("SELECT pg_sleep(30)", alias=alias)
    assert is_timeout(stopped.value)
    assert time.monotonic() - began < 10
    assert limit_in_force(alias) == usual
    assert connections[alias].get_autocommit()


@ALIASES
def test_the_limit_is_that_of_the_innermost_block(alias):
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
        # Time that is over is not time without an end, which 0 would be.
        clock.now += 4
        with pytest.raises(OperationalError):
            ask("SELECT pg_sleep(1)", alias=alias)
    assert limit_in_force(alias) == usual


def test_it_ends_with_the_block_within_another_transaction_too(agents):
    usual = limit_in_force()
    with transaction.atomic(using="agents"):
        with time_limit("agents", 7):
            with time_limit("agents", 3):
                assert limit_in_force() == "3s"
            assert limit_in_force() == "7s"
        assert limit_in_force() == usual
        with pytest.raises(OperationalError), time_limit("agents", 0.05):
            ask("SELECT pg_sleep(1)")
        # What was stopped has not ended the transaction around it.
        assert limit_in_force() == usual
    assert agents.get_autocommit()


@pytest.mark.parametrize("inner", ["time_limit", "slot", "atomic"])
def test_what_is_stopped_deep_within_a_transaction_undoes_no_more_than_itself(inner):
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


def test_the_answer_is_the_statements_own(agents):
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


def test_it_costs_no_message_more(waits):
    ask("SELECT 1")
    waits.clear()
    with time_limit("agents", 5):
        assert ask("SELECT 1") == [(1,)]
        assert ask("SELECT 2") == [(2,)]
    assert len(waits) == 2


def test_a_slot_is_under_the_limit_and_ends_with_its_block(agents):
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
def test_every_statement_of_a_page_has_a_limit_and_a_commands_has_none(alias, settings, rf):
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
