"""How an admin limits a group to certain agents, on the group's page of the admin panel."""

import uuid

import pytest
from django.contrib.auth.models import Group

from accounts.models import AgentLimit
from audit.models import Act, Entry

from ..support.factories import make_agent

pytestmark = pytest.mark.django_db


@pytest.fixture
def agents():
    return [make_agent(name) for name in ("Shop", "Rail", "Dental")]


@pytest.fixture
def group(db):
    return Group.objects.create(name="Shop people")


def form_of(group, *ticked, delete=False, **more):
    found = AgentLimit.objects.filter(group=group).first()
    prefix = "agent_limit"
    return {
        "name": group.name,
        f"{prefix}-TOTAL_FORMS": "1",
        f"{prefix}-INITIAL_FORMS": str(int(found is not None)),
        f"{prefix}-0-id": found.pk if found else "",
        f"{prefix}-0-group": group.pk,
        f"{prefix}-0-agents": [str(agent) for agent in ticked],
        **({f"{prefix}-0-DELETE": "on"} if delete else {}),
        **more,
    }


def group_url(group, page="change"):
    return f"/admin/auth/group/{group.pk}/{page}/"


def test_an_admin_limits_a_group_to_agents_by_name(admin_client, group, agents):
    page = admin_client.get(group_url(group)).content.decode()
    assert all(agent.name in page for agent in agents)
    ids = [agents[0].id, agents[2].id]
    assert admin_client.post(group_url(group), form_of(group, *ids)).status_code == 302
    assert AgentLimit.objects.get(group=group).agents == ids
    entry = Entry.objects.get(act=Act.EDITED)
    assert entry.details["before"] is None
    assert entry.details["after"] == sorted(map(str, ids))
    assert entry.details["row"] == "Shop people"
    assert admin_client.get(group_url(group)).content.decode().count("checked") >= 2


def test_saving_a_group_without_ticked_agents_adds_no_limit(admin_client, group, agents):
    assert admin_client.post(group_url(group), form_of(group)).status_code == 302
    assert not AgentLimit.objects.exists()
    assert not Entry.objects.filter(act=Act.EDITED).exists()


def test_unticking_the_last_agent_is_refused(admin_client, group, agents):
    limited = AgentLimit.objects.create(group=group, agents=[agents[0].id])
    response = admin_client.post(group_url(group), form_of(group))
    assert response.status_code == 200
    assert "To let this group see everything, delete the limit." in response.content.decode()
    limited.refresh_from_db()
    assert limited.agents == [agents[0].id]


def test_deleting_a_limit_lifts_it(admin_client, group, agents):
    AgentLimit.objects.create(group=group, agents=[agents[0].id])
    form = form_of(group, agents[0].id, delete=True)
    assert admin_client.post(group_url(group), form).status_code == 302
    assert not AgentLimit.objects.exists()
    assert Entry.objects.get(act=Act.EDITED).details["after"] is None


def test_a_deleted_agent_is_shown_by_its_id_and_can_be_unticked(admin_client, group, agents):
    gone = uuid.uuid4()
    AgentLimit.objects.create(group=group, agents=[agents[0].id, gone])
    assert f"{gone} (no longer exists)" in admin_client.get(group_url(group)).content.decode()
    form = form_of(group, agents[0].id, gone)
    assert admin_client.post(group_url(group), form).status_code == 302
    assert gone in AgentLimit.objects.get().agents
    admin_client.post(group_url(group), form_of(group, agents[0].id))
    assert AgentLimit.objects.get().agents == [agents[0].id]


def test_an_unknown_agent_is_refused(admin_client, group, agents):
    for wrong in (uuid.uuid4(), "x"):
        response = admin_client.post(group_url(group), form_of(group, wrong))
        assert response.status_code == 200
    assert not AgentLimit.objects.exists()


def test_a_group_with_a_limit_cannot_be_deleted(admin_client, group, agents):
    AgentLimit.objects.create(group=group, agents=[agents[0].id])
    url = group_url(group, "delete")
    assert "Shop people only sees certain agents" in admin_client.get(url).content.decode()
    admin_client.post(url, {"post": "yes"})
    assert Group.objects.filter(pk=group.pk).exists()


def test_a_change_that_cannot_be_audited_is_not_made(admin_client, group, agents, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr("accounts.admin.record", broken)
    with pytest.raises(RuntimeError):
        admin_client.post(group_url(group), form_of(group, agents[0].id))
    assert not AgentLimit.objects.exists()
