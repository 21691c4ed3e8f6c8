"""The runtime is upgraded or downgraded while the site is running."""

import pytest
from django.db import connections

from conversations.agentdb import process_cache, revision

from ..support.factories import make_conversation, make_run

pytestmark = pytest.mark.django_db
ADD = "ALTER TABLE runs ADD COLUMN duration_seconds numeric"
DROP = "ALTER TABLE runs DROP COLUMN duration_seconds"
LIST = "/conversations/"


def alter(statement: str):
    with connections["agents_write"].cursor() as cursor:
        cursor.execute(statement)


def later(monkeypatch, seconds: float):
    real = process_cache.time.monotonic
    monkeypatch.setattr(process_cache.time, "monotonic", lambda: real() + seconds)


def test_a_new_column_is_noticed_within_a_minute(support_client, at_revision, monkeypatch):
    session = make_conversation()
    at_revision("0005")
    assert support_client.get(LIST).status_code == 200
    assert not revision.has_run_durations()
    alter(ADD)
    run = make_run(session, duration_seconds=3)
    assert support_client.get(f"{LIST}{session.id}/").status_code == 200
    assert not revision.has_run_durations()
    later(monkeypatch, process_cache.SECONDS + 1)
    page = support_client.get(f"{LIST}{session.id}/runs/{run.id}/")
    assert page.status_code == 200
    assert revision.has_run_durations()
