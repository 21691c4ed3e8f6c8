"""The rollup makes the same whenever and however often it is done, also after it was killed."""

import threading
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from conversations.models import ModelCall
from overview import quarters
from overview.models import Activity, Cell, Fact, Progress
from overview.rollup import changes, passes
from overview.rollup.passes import Pass, Stopped

from ..support.expected_figures import assert_figures_are_right, roll_up
from ..support.factories import make_model_call, make_run, make_session
from ..support.histories import make_history

pytestmark = pytest.mark.django_db
LONG_AGO = timezone.now() - timedelta(days=40)
OLD = {"created_at": LONG_AGO, "updated_at": LONG_AGO}


class KilledError(Exception):
    pass


@pytest.mark.django_db(transaction=True)
def test_a_rollup_that_is_killed_goes_on_where_it_was(monkeypatch):
    monkeypatch.setattr(changes, "WALKED", 20)
    make_history(seed=6, size=60)
    step = Pass.step
    for steps in (1, 2, 3, 4, 5, 6, 7, 8):
        left = iter(range(steps))

        def counted(self, left=left):
            if next(left, None) is None:
                raise KilledError
            return step(self)

        monkeypatch.setattr(Pass, "step", counted)
        with pytest.raises(KilledError):
            Pass(wait=True).run()
    monkeypatch.setattr(Pass, "step", step)
    progress = Progress.objects.get()
    assert (progress.is_complete, progress.as_of) == (True, None)
    roll_up()


def test_a_step_that_fails_leaves_nothing_half_done(monkeypatch):
    make_history(seed=7, size=20)
    with monkeypatch.context() as patch:
        patch.setattr(passes.facts, "mark_stale", lambda quarters: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Pass(wait=True).run()
    assert not Fact.objects.exists()
    roll_up()


@pytest.mark.django_db(transaction=True)
def test_two_at_once_make_the_same(monkeypatch):
    monkeypatch.setattr(changes, "WALKED", 10)
    make_history(seed=8, size=60)
    failures = []

    def run():
        try:
            Pass(wait=True).run()
        except Exception as error:  # noqa: BLE001
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert_figures_are_right()


def test_while_another_process_is_at_it_the_site_does_nothing():
    other = connections.create_connection("default")
    with other.cursor() as cursor:
        cursor.execute(passes.LOCK.replace("_xact", ""))
        try:
            with pytest.raises(Stopped):
                Pass(wait=False).run()
            passes.roll_up_by_itself()
        finally:
            other.close()
    assert not Progress.objects.exists()


def test_the_site_does_it_again_after_a_while():
    passes.roll_up_by_itself()
    first = Progress.objects.get().as_of
    passes.roll_up_by_itself()
    assert Progress.objects.get().as_of == first
    Progress.objects.update(as_of=first - timedelta(seconds=passes.EVERY_SECONDS))
    passes.roll_up_by_itself()
    assert Progress.objects.get().as_of > first - timedelta(seconds=1)


def test_the_site_stops_in_time(monkeypatch):
    monkeypatch.setattr(passes, "JOB_SECONDS", -1)
    make_history(seed=9, size=5)
    passes.roll_up_by_itself()
    assert not Fact.objects.exists()


def test_after_a_long_pause_everything_is_found_by_its_time(by_times_alone):
    roll_up()
    by_times_alone()
    Progress.objects.update(seen=LONG_AGO - timedelta(hours=1))
    session = make_session(**OLD)
    make_run(session, **OLD)
    roll_up()
    assert Fact.objects.count() == 1


# Anew


@pytest.mark.slow
def test_a_time_is_made_anew():
    make_history(seed=10, size=40)
    roll_up()
    Cell.unlimited.update(messages=99)
    Fact.unlimited.update(outcome="later")
    Activity.unlimited.update(problems=["failed"], messages=0)
    call_command("rollup", "--from", "2026-05-01")
    assert_figures_are_right()


def test_a_part_of_time_is_made_anew_and_no_other():
    for at in (LONG_AGO, LONG_AGO - timedelta(days=20)):
        make_run(make_session(created_at=at), created_at=at)
    roll_up()
    Cell.unlimited.update(runs=99)
    since = (LONG_AGO - timedelta(days=1)).isoformat()
    call_command("rollup", "--from", since, "--until", (LONG_AGO + timedelta(days=1)).isoformat())
    days = Cell.objects.of_agent(None).filter(grain="day").order_by("starts")
    assert [cell.runs for cell in days] == [99, 1]


def test_nothing_is_left_of_calls_that_were_deleted_elsewhere():
    make_model_call(created_at=LONG_AGO)
    make_model_call()
    roll_up()
    ModelCall.objects.using("agents_write").filter(created_at=LONG_AGO).delete()
    call_command("rollup", "--from", (LONG_AGO - timedelta(days=1)).isoformat())
    assert [cell.calls for cell in Cell.objects.of_agent(None).filter(grain="day")] == [1]


@pytest.mark.parametrize("options", [
    ["--until", "2026-01-01"],
    ["--from", "2999-01-01"],
    ["--from", "2026-01-02", "--until", "2026-01-01"],
    ["--from", "yesterday"],
])  # fmt: skip
def test_a_time_that_cannot_be_made_anew_is_refused(options):
    with pytest.raises(CommandError):
        call_command("rollup", *options)


def test_with_another_key_or_revision_everything_is_made_anew(settings, at_revision):
    make_history(seed=11, size=20)
    roll_up()
    people = set(Fact.objects.values_list("person", flat=True))
    settings.AUDIT_KEY = "another key " * 10
    roll_up()
    assert set(Fact.objects.values_list("person", flat=True)) & people == {None}
    at_revision("0004")
    roll_up()


def test_what_a_newer_version_keeps_is_left_alone():
    Progress.objects.create(form=f"{passes.FORM + 1} key 111")
    with pytest.raises(CommandError, match="A newer version"):
        call_command("rollup")


def test_cells_of_old_quarters_go(monkeypatch):
    make_run(make_session(**OLD), **OLD)
    roll_up()
    assert Cell.objects.filter(grain="quarter").exists()
    monkeypatch.setattr(quarters, "KEPT", timedelta(days=30))
    roll_up()
    assert not Cell.objects.filter(grain="quarter").exists()
    assert Cell.objects.filter(grain="day").exists()


def test_days_with_many_conversations_are_read_in_parts(monkeypatch):
    monkeypatch.setattr(passes.cells, "MOST", 5)
    make_history(seed=12, size=60)
    roll_up()
