"""What PostgreSQL's planner expects of a condition."""

from types import SimpleNamespace

import pytest

from conversations.access import agent_limits
from conversations.models import Session, Task
from conversations.problems import kinds
from conversations.selection.conditions import has_problem
from conversations.selection.estimates import entries, expected_rows

from ..support.factories import Json, make_agent, make_run, make_session, make_task
from ..support.histories import build_indexes

pytestmark = pytest.mark.django_db
FAILED = Json({"result": "Error: gone"})


@pytest.fixture
def _tasks():
    """200 tool calls, 3 of which failed."""
    session = make_session()
    run = make_run(session)
    for number in range(200):
        output = FAILED if number < 3 else Json({"result": "fine"})
        make_task(run, session, "step", "tool_call", output=output)
    build_indexes()


@pytest.mark.usefixtures("_tasks")
def test_the_planner_is_asked_for_any_queryset():
    assert expected_rows(Task.objects.all()) == 200
    assert expected_rows(Task.objects.filter(name="step")) == 200
    assert expected_rows(Task.objects.none()) == 0


@pytest.mark.usefixtures("_tasks")
def test_an_index_knows_how_few_tool_calls_failed():
    index = kinds.TOOL_ERROR.index_name
    assert expected_rows(kinds.TOOL_ERROR.rows()) > 3
    assert entries((index,)) == 3
    assert has_problem("tool_error").expected_rows() == 3


def test_an_index_that_has_not_been_counted_says_nothing():
    assert entries(()) is None
    assert entries(("desk_dropped",)) is None


def test_a_user_limited_to_some_agents_can_cause_it():
    user = SimpleNamespace(is_authenticated=True, agent_limit=frozenset([make_agent().id]))
    with agent_limits.reading_for(SimpleNamespace(user=user)):
        assert expected_rows(Session.objects.all()) >= 1
