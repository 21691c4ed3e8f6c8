"""Nothing reads the overview's tables past the user's limit to certain agents."""

import re
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.conf import settings

from conversations.access import agent_limits
from overview.managers import AgentLimitedManager, UnlimitedManager
from overview.models import Activity, Cell, Fact, Threshold, WorkflowSnapshot
from overview.rollup.passes import Pass

from ..support.factories import make_message, make_model_call, make_run, make_session

pytestmark = pytest.mark.django_db
ROOT = settings.BASE_DIR
# What may read all agents' rows: it keeps them up to date, and shows nothing.
UNLIMITED = {"overview/telling.py", "overview/rollup", "overview/models.py", "overview/managers.py"}
OF_AGENTS = [model for model in apps.get_app_config("overview").get_models()
             if any(field.name == "agent_id" for field in model._meta.fields)]  # fmt: skip


def limited_to(*agents):
    user = SimpleNamespace(is_authenticated=True, agent_limit=frozenset(agents))
    return agent_limits.reading_for(SimpleNamespace(user=user))


@pytest.fixture
def two_agents():
    found = []
    for _ in range(2):
        session = make_session()
        run = make_run(session)
        make_message(session, run_id=run.id)
        make_model_call(session, run, agent_id=session.agent_id)
        Threshold.objects.create(agent_id=session.agent_id)
        found.append(session.agent_id)
    # Of no agent.
    make_model_call()
    Pass(wait=True).run()
    return found


def test_whoever_has_a_limit_reads_only_rows_of_these_agents(two_agents):
    one, other = two_agents
    for model in OF_AGENTS:
        assert {one, other} <= set(model.objects.values_list("agent_id", flat=True))
        with limited_to(one):
            assert set(model.objects.values_list("agent_id", flat=True)) == {one}
            assert not model.objects.of_agent(other).exists()
        with limited_to():
            assert not model.objects.exists()


def test_cells_of_all_agents_are_added_up_once(two_agents):
    def calls(agent_id=None):
        days = Cell.objects.of_agent(agent_id).filter(grain="day")
        return sum(days.values_list("calls", flat=True))

    one, other = two_agents
    assert (calls(), calls(one), calls(other)) == (3, 1, 1)
    with limited_to(one):
        assert (calls(), calls(one), calls(other)) == (1, 1, 0)
    with limited_to(one, other):
        assert calls() == 2


def test_last_activities_are_of_agents_within_the_limit(two_agents):
    one, other = two_agents
    assert Fact.objects.last_activities([one, other]).keys() == {one, other}
    with limited_to(one):
        assert Fact.objects.last_activities([one, other]).keys() == {one}


def test_each_table_with_agents_has_these_managers_and_no_other():
    assert {Fact, Activity, Cell, Threshold, WorkflowSnapshot} == set(OF_AGENTS)
    for model in OF_AGENTS:
        managers = {manager.name: type(manager) for manager in model._meta.managers}
        assert managers.keys() == {"objects", "unlimited"}
        assert issubclass(managers["objects"], AgentLimitedManager)
        assert managers["unlimited"] is UnlimitedManager
        for default in (model._default_manager, model._base_manager):
            assert isinstance(default, AgentLimitedManager)


def test_nothing_but_the_rollup_reads_them_in_another_way():
    tables = "|".join(model._meta.db_table for model in OF_AGENTS)
    other_ways = re.compile(rf"\bunlimited\b|\b({tables})\b")
    found = set()
    for path in ROOT.glob("*/**/*.py"):
        name = str(path.relative_to(ROOT))
        if name.startswith(("tests/", ".", "overview/migrations/")):
            continue
        if other_ways.search(path.read_text()) and not name.startswith(tuple(UNLIMITED)):
            found.add(name)
    assert not found
