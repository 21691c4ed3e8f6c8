"""SQL that is compiled once gives the same results as SQL compiled each time."""

import uuid

import pytest
from django.core.signals import got_request_exception
from django.db import ProgrammingError, connections
from django.utils import timezone
from psycopg.errors import UndefinedColumn

from conversations.agentdb import compiled, revision
from conversations.models import Run, Session
from conversations.problems import kinds
from conversations.selection.conditions import has_problem
from conversations.summaries import run_summaries, runs, sessions, summaries

from ..support.factories import (
    Json,
    make_conversation,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)

pytestmark = pytest.mark.django_db


def pass_by(minutes: int):
    """Makes everything look as if it had been written that much earlier."""
    with connections["agents_write"].cursor() as cursor:
        for table in ("sessions", "runs", "tasks", "chat_messages", "model_call_stats"):
            cursor.execute(
                f"UPDATE {table} SET updated_at = updated_at - make_interval(mins => %s)", [minutes]
            )


@pytest.fixture
def unfinished():
    session = make_session()
    run = make_run(session, output_data=None, duration_seconds=None, created_at=timezone.now())
    return session, run


def names():
    return ("any", *(kind.name for kind in kinds.problems()))


def having(kind: str) -> set:
    return set(Session.objects.filter(has_problem(kind).as_probe()).values_list("pk", flat=True))


def test_compiled_statements_use_the_current_time(unfinished):
    session, run = unfinished

    def statuses():
        return summaries([session.id])[0].status, run_summaries(session.id, [run.id])[run.id].status

    for _ in range(2):
        assert statuses() == ("running", "running")
        assert having("running") == {session.id}
        assert having("interrupted") == having("any") == set()
        pass_by(minutes=5)
    pass_by(minutes=10)
    assert statuses() == ("interrupted", "interrupted")
    assert having("running") == set()
    assert having("interrupted") == having("any") == {session.id}


def test_any_number_of_ids_in_any_order():
    ids = [make_conversation(runs=1).id for _ in range(5)]
    assert [row.pk for row in summaries(ids[::-1])] == ids[::-1]
    assert [row.pk for row in summaries([uuid.uuid4(), ids[2]])] == [ids[2]]
    assert summaries([]) == []
    assert run_summaries(ids[0], []) == {}
    assert run_summaries(ids[0], [uuid.uuid4()]) == {}


@pytest.mark.parametrize("number", ["0002", "0003", "0004", "0005", "0006"])
def test_each_revision_has_its_own_statements(at_revision, number):
    """The statements of the newest revision, compiled just before, name columns that are gone."""
    session = make_session()
    run = make_run(session, output_data=None)
    make_message(session, run_id=run.id)
    make_model_call(session, run, response_code=500)
    make_task(run, session, errors=Json("x"))
    healthy = make_conversation()

    def shown():
        [row] = summaries([session.id])
        of_run = run_summaries(session.id, [run.id])[run.id]
        by_kind = {
            kind: having(kind) for kind in ("any", *(kind.name for kind in kinds.problems()))
        }
        return row, of_run, by_kind

    shown()
    at_revision(number)
    row, of_run, by_kind = shown()
    expected = Session.objects.with_summary().get(pk=session.id)
    for name in ("status", "runs_count", "tasks_count", "messages_count", "problems"):
        assert getattr(row, name) == getattr(expected, name)
    expected = Run.objects.with_summary().get(pk=run.id)
    for name in ("status", "tasks_count", "problems", "session_id", "created_at"):
        assert getattr(of_run, name) == getattr(expected, name)
    assert by_kind["any"] == by_kind["task_error"] == {session.id}
    for kind, found in by_kind.items():
        assert found == set(
            Session.objects.filter(has_problem(kind).as_subquery()).values_list("pk", flat=True)
        )
        assert healthy.id not in found


@pytest.mark.parametrize("newer", ["agents", "default"])
def test_statements_are_compiled_for_the_server_that_runs_them(monkeypatch, newer):
    """It need not have the same version as our own database's server."""
    for alias in ("agents", "default"):
        features = connections[alias].features
        monkeypatch.setattr(features, "is_postgresql_16", alias == newer, raising=False)
    compiled.forget()
    try:
        for build, given in (
            (sessions, (("ids", False),)),
            (runs, (("session_id", True), ("ids", False))),
        ):
            _, sql, _ = compiled.statement(build, given, revision.known())
            assert ("RETURNING JSONB" in sql) == (newer == "agents")
    finally:
        compiled.forget()


def test_statements_are_compiled_again_after_the_tables_changed(unfinished):
    session, _ = unfinished
    summaries([session.id])
    assert compiled.statement.cache_info().currsize
    error = ProgrammingError()
    error.__cause__ = UndefinedColumn()
    try:
        raise error
    except ProgrammingError:
        got_request_exception.send(None)
    assert not compiled.statement.cache_info().currsize


def test_statements_are_compiled_once(unfinished, monkeypatch):
    session, run = unfinished
    for name in names():
        having(name)
    summaries([session.id]), run_summaries(session.id, [run.id])
    built = (compiled.statement.cache_info().misses, compiled.where.cache_info().misses)
    for name in names():
        having(name)
    summaries([session.id, uuid.uuid4()]), run_summaries(session.id, [run.id])
    assert built == (compiled.statement.cache_info().misses, compiled.where.cache_info().misses)
