"""Background jobs, which run in a thread of each gunicorn process."""

import os
import threading
import time

import pytest
from django.conf import settings

from backoffice import jobs

from ..support.deployment import deployment


@pytest.fixture
def mine(monkeypatch):
    """{job: seconds}, with only the jobs of this test."""
    known = {}
    monkeypatch.setattr(jobs, "_jobs", known)
    monkeypatch.setattr(jobs.connections, "close_all", lambda: None)
    yield known
    jobs.end()


def wait_for(condition):
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_jobs_run_repeatedly_each_at_its_own_pace(mine):
    done = []
    jobs.every(0.01, lambda: done.append("often"))
    jobs.every(3600, lambda: done.append("never"))
    jobs.begin()
    wait_for(lambda: len(done) > 3)
    assert set(done) == {"often"}


def test_a_job_that_fails_is_logged_and_runs_again(mine, caplog):
    done = []

    def failing():
        done.append(1)
        raise RuntimeError

    jobs.every(0.01, failing)
    jobs.begin()
    wait_for(lambda: len(done) > 1)
    assert "The job failing failed." in caplog.text


def test_the_thread_stops_at_once(mine):
    entered = threading.Event()

    def long():
        entered.set()
        assert jobs.rest(3600)

    jobs.every(0.01, long)
    jobs.begin()
    assert entered.wait(10)
    began = time.monotonic()
    jobs.end()
    assert time.monotonic() - began < 1
    assert "jobs" not in [each.name for each in threading.enumerate()]


@pytest.mark.slow
def test_the_site_seals_its_audit_log_in_the_background():
    with deployment(f"jobs_{os.getpid()}", settings.LOCAL_POSTGRES) as site:
        site.prepare()
        database = site.database
        database.execute(
            "INSERT INTO audit_entry (act, username, request_id, details)"
            " VALUES ('viewed', '', '', '{}')"
        )
        with site.serving():
            ends = time.monotonic() + 90
            while not database.execute("SELECT count(*) FROM audit_seal").fetchone()[0]:
                assert time.monotonic() < ends
                time.sleep(1)
            began = time.monotonic()
        assert time.monotonic() - began < 10
        assert b"0 pruned" in site.run("audit_verify", check=True).stdout
