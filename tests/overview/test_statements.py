"""Every statement of the rollup on the agent database is one that a sharded PostgreSQL takes."""

import pytest
from django.core.management import call_command

from conversations.access import agent_limits
from overview.models import Progress

from ..support.factories import make_run, make_session
from ..support.histories import build_indexes, make_history
from ..support.statements import flaws

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("number", ["0002", "0006"])
def test_each_statement_equates_the_sessions_of_what_it_joins(at_revision, monkeypatch, number):
    make_history(seed=1, size=30)
    make_run(make_session(), output_data=None, duration_seconds=None)
    at_revision(number)
    statements = set()
    confined = agent_limits.confined

    def collected(query, cursor):
        if agent_limits.NAMES_TABLE.search(query):
            statements.add(query)
        return confined(query, cursor)

    monkeypatch.setattr(agent_limits, "confined", collected)
    call_command("rollup", verbosity=0)
    build_indexes()
    Progress.objects.update(
        walked_updated_at="2026-06-05T00:00Z", walked_session_id=str(make_session().id)
    )
    call_command("rollup", "--from=2026-06-05", "--until=2026-06-07", verbosity=0)
    assert len(statements) > 15
    assert {statement: found for statement in statements if (found := flaws(statement))} == {}
