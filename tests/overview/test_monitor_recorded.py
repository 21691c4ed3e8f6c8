"""Monitor on the databases that the real runtime wrote, against SQL."""

import pytest
from django.db import connections

from overview.monitor import runs

from ..conversations.test_recorded import RECORDED, recorded, recorded_database  # noqa: F401

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.thorough,
    pytest.mark.skipif(not RECORDED.exists(), reason="The recorded databases are not here."),
]
NEWEST = """
    SELECT agent_id, array_agg(id ORDER BY created_at, id) FROM (
        SELECT sessions.agent_id, runs.id, runs.created_at, row_number() OVER (
            PARTITION BY sessions.agent_id ORDER BY runs.created_at DESC, runs.id DESC
        ) AS place
        FROM runs JOIN sessions ON sessions.id = runs.session_id
    ) AS run WHERE place <= %s GROUP BY agent_id
"""


@pytest.mark.parametrize("number", [3, 30])
def test_each_agents_newest_runs_are_found(recorded, monkeypatch, number):  # noqa: F811
    monkeypatch.setattr(runs, "RUNS", number)
    with connections["agents"].cursor() as cursor:
        cursor.execute(NEWEST, [number])
        expected = dict(cursor.fetchall())
    rows = runs.monitor().rows
    assert {row.id: [mark.id for mark in row.marks] for row in rows} == expected
