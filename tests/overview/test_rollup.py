"""What the rollup finds when conversations change, against SQL each time."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from conversations.changes import edits, erasure, redaction
from overview.models import Activity, Cell, Changed, Fact, Progress
from overview.rollup import changes
from overview.rollup.passes import Pass

from ..support.expected_figures import assert_figures_are_right, everything_kept, roll_up
from ..support.factories import (
    make_agent,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..support.histories import make_history
from ..support.tables import sql

pytestmark = pytest.mark.django_db
LONG_AGO = timezone.now() - timedelta(days=40)
OLD = {"created_at": LONG_AGO, "updated_at": LONG_AGO}


@pytest.mark.parametrize("number", ["0002", "0003", "0004", "0005", "0006"])
def test_a_history_of_everything_is_counted_at_each_revision(at_revision, number):
    make_history(seed=3, size=150)
    at_revision(number)
    roll_up()
    assert Fact.objects.count() == 150


def test_twice_makes_no_difference():
    make_history(seed=4, size=60)
    roll_up()
    kept = everything_kept()
    roll_up()
    assert everything_kept() == kept


def test_nothing_is_something_too():
    roll_up()
    assert not Cell.objects.exists()
    assert Progress.objects.get().as_of


# What the runtime does later


def test_a_run_that_ends_late_belongs_where_it_ended(by_times_alone):
    session = make_session(**OLD)
    began = timezone.now() - timedelta(hours=3)
    run = make_run(session, output_data=None, duration_seconds=None, created_at=began)
    roll_up()
    assert Fact.objects.get().problems == ["interrupted"]
    by_times_alone()
    sql("UPDATE runs SET output_data = '1', duration_seconds = 2460 WHERE id = %s", [run.id])
    roll_up()
    assert (Fact.objects.get().problems, Fact.objects.get().answer_seconds) == ([], 2460)
    assert set(Activity.objects.values_list("runs", "ended")) == {(1, 0), (0, 1)}


def test_a_run_that_shows_no_life_any_more_was_interrupted(by_times_alone):
    run = make_run(make_session(**OLD), output_data=None, duration_seconds=None,
                   updated_at=timezone.now())  # fmt: skip
    roll_up()
    assert (Fact.objects.get().problems, Fact.objects.get().outcome) == ([], "waiting")
    by_times_alone()
    sql("UPDATE runs SET updated_at = created_at WHERE id = %s", [run.id])
    roll_up()
    assert (Fact.objects.get().problems, Fact.objects.get().outcome) == (["interrupted"], "none")


@pytest.mark.parametrize("add", [
    lambda session: make_message(session, "assistant", created_at=timezone.now()),
    lambda session: make_model_call(session, response_code=500, created_at=timezone.now()),
    lambda session: make_session(session.agent, created_at=timezone.now()),
])  # fmt: skip
def test_what_happens_now_in_an_old_conversation_is_found_by_its_time(by_times_alone, add):
    agent = make_agent()
    session = make_session(agent, **OLD)
    session.agent = agent
    make_run(session, **OLD)
    roll_up()
    by_times_alone()
    add(session)
    roll_up()


def test_what_is_written_within_minutes_after_a_run_is_found(by_times_alone):
    session = make_session(**OLD)
    run = make_run(session, created_at=timezone.now() - timedelta(minutes=5))
    roll_up()
    by_times_alone()
    make_task(run, session, "late", created_at=timezone.now())
    roll_up()
    assert Fact.objects.get().rows == 2


def test_rows_of_old_conversations_that_come_or_go_are_found_by_comparing(by_comparing_alone):
    gone, emptied, late = (make_session(**OLD) for _ in range(3))
    for session in (gone, emptied, late):
        run = make_run(session, **OLD)
        make_message(session, run_id=run.id, **OLD)
    roll_up()
    assert Fact.objects.count() == 3
    make_task(run, late, **OLD)
    sql("DELETE FROM sessions WHERE id = %s", [gone.id])
    # As the runtime's delete_history_for_session does.
    sql("DELETE FROM chat_messages WHERE session_id = %s", [emptied.id])
    sql("DELETE FROM runs WHERE session_id = %s", [emptied.id])
    imported = make_session(**OLD)
    make_run(imported, **OLD)
    roll_up()
    assert set(Fact.objects.values_list("pk", flat=True)) == {emptied.id, late.id, imported.id}


def test_all_are_compared_some_at_a_time_over_and_over(monkeypatch, by_comparing_alone):
    monkeypatch.setattr(changes, "WALKED", 7)
    made = make_history(seed=5, size=30)
    Pass(wait=True).run()
    assert Fact.objects.count() == 30
    oldest = min(made, key=lambda each: (each.updated_at, each.id.int))
    sql("DELETE FROM sessions WHERE id = %s", [oldest.id])
    passes_needed = 0
    while Fact.objects.filter(pk=oldest.id).exists():
        Pass(wait=True).run()
        passes_needed += 1
    assert passes_needed == 5
    assert_figures_are_right()


def test_many_with_one_time_are_all_compared(monkeypatch):
    monkeypatch.setattr(changes, "WALKED", 3)
    for _ in range(10):
        make_run(make_session(**OLD), **OLD)
    roll_up()
    assert Fact.objects.count() == 10


# What we do ourselves


def test_what_we_erase_is_counted_no_longer_at_once(committed):
    gone, other = make_session(external_id="a"), make_session(external_id="b")
    for session in (gone, other):
        run = make_run(session)
        make_message(session, run_id=run.id)
        make_model_call(session, run, total_tokens=5)
    roll_up()
    with committed():
        erasure.erase([gone.id])
    assert [fact.pk for fact in Fact.objects.all()] == [other.id]
    assert {row.session_id for row in Activity.objects.all()} == {other.id}
    roll_up()
    # Its model calls were paid for.
    calls = Cell.objects.of_agent(None).filter(grain="day").values_list("calls", flat=True)
    assert sum(calls) == 2


def test_a_pass_that_has_read_what_is_erased_does_not_keep_it(committed, by_times_alone):
    session = make_session(**OLD)
    make_run(session, **OLD)
    roll_up()
    by_times_alone()
    kept = Fact.unlimited.get()
    with committed():
        erasure.erase([session.id])
    # As if that pass had written it afterwards.
    kept.save(force_insert=True)
    roll_up()
    assert not Fact.objects.exists()


def test_names_that_we_redact_go_from_the_figures(committed):
    session = make_session(external_id="pat", **OLD)
    run = make_run(session, **OLD)
    make_task(run, session, "call kim", node_type="tool_call", **OLD)
    roll_up()
    with committed(), transaction.atomic(using="agents_write"):
        redaction.redact_all(session.id, "kim")
    roll_up()
    assert {name for cell in Cell.objects.all() for name in cell.tools} == {"call [redacted]"}


def test_a_redacted_external_id_is_another_person(committed):
    session = make_session(external_id="kim", **OLD)
    make_run(session, **OLD)
    roll_up()
    person = Fact.objects.get().person
    with committed(), transaction.atomic(using="agents_write"):
        redaction.redact_all(session.id, "kim")
    roll_up()
    assert person not in {
        Fact.objects.get().person,
        *Activity.objects.values_list("person", flat=True),
    }


def test_an_edit_is_told_once_it_is_committed(committed):
    session = make_session(**OLD)
    with committed() as callbacks, transaction.atomic(using="agents_write"):
        edits.tell([session.id])
    assert len(callbacks) == 1
    assert Changed.objects.get().pk == session.id


# What rows may hold


def test_times_and_durations_that_cannot_be_are_not_counted():
    session = make_session(created_at="infinity", updated_at=timezone.now())
    ancient = make_session(created_at="-infinity", updated_at="1970-01-01T00:00Z")
    for owner in (session, ancient):
        for at in ("infinity", "-infinity", "1999-12-31T23:59:59Z", "2100-01-01T00:00Z"):
            run = make_run(owner, created_at=at)
            make_message(owner, created_at=at)
            make_task(run, owner, created_at=at)
            make_model_call(owner, created_at=at, response_code=500)
        for duration in ("NaN", "Infinity", "-1", "0", "0.0000004", "1e9"):
            run = make_run(owner, duration_seconds=duration)
            make_task(run, owner, duration_seconds=duration)
    Pass(wait=True).run()
    assert Progress.objects.get().is_complete
    days = Cell.objects.of_agent(None).filter(grain="day")
    assert sum(cell.runs for cell in days) == sum(cell.tasks for cell in days) == 12
    assert sum(cell.answers["timed"] for cell in days if cell.answers) == 6
    Pass(wait=True).run()


def test_names_are_cut_and_may_be_missing():
    session = make_session()
    run = make_run(session)
    make_task(run, session, name=None, node_type=None)
    make_task(run, session, name="<b>" + "x" * 5000, node_type="tool_call")
    make_model_call(session, run, model="y" * 5000)
    Pass(wait=True).run()
    cell = Cell.objects.of_agent(None).get(grain="day", tasks=2)
    assert list(cell.nodes) == [""]
    assert [len(name) for name in (*cell.tools, *cell.model_calls)] == [200, 200]


def test_calls_of_no_conversation_and_of_no_agent_are_counted():
    agent = make_agent()
    make_model_call(agent_id=agent.id)
    make_model_call(response_code=None)
    roll_up()
    assert sum(Cell.objects.of_agent(None).filter(grain="day").values_list("calls", flat=True)) == 2
    of_agent = Cell.objects.of_agent(agent.id).filter(grain="day")
    assert [cell.calls for cell in of_agent] == [1]
