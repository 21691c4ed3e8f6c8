"""The thresholds of agents in the admin panel."""

import uuid

import pytest

from audit.models import Act, Entry
from overview.models import Threshold

from ..support.factories import make_agent
from ..support.limited import let_in_limited
from ..support.pages import text

pytestmark = pytest.mark.django_db
PANEL = "/admin/overview/threshold/"
BAD = [
    ("problem_percent", 0),
    ("problem_percent", 101),
    ("minimum_conversations", 0),
    ("silent_hours", 0),
    ("silent_hours", 169),
]
FIELDS = {"problem_percent": 40, "minimum_conversations": 50, "silent_hours": ""}


def edits() -> list[tuple]:
    details = Entry.objects.filter(act=Act.EDITED).order_by("pk").values_list("details", flat=True)
    return [(each["row"], each["before"], each["after"]) for each in details]


def test_an_admin_sets_changes_and_removes_them_and_each_is_recorded(admin_client):
    agent = make_agent("Shop")
    added = admin_client.post(f"{PANEL}add/", {"agent_id": agent.id, **FIELDS})
    assert added.status_code == 302
    row = Threshold.objects.get()
    assert (row.agent_id, row.problem_percent, row.silent_hours) == (agent.id, 40, None)
    assert "Shop" in text(admin_client.get(PANEL))
    page = f"{PANEL}{row.pk}/"
    changed = admin_client.post(f"{page}change/", {**FIELDS, "problem_percent": 10})
    assert changed.status_code == 302
    assert admin_client.post(f"{page}delete/", {"post": "yes"}).status_code == 302
    assert not Threshold.objects.exists()
    stored = {"problem_percent": 40, "minimum_conversations": 50, "silent_hours": None}
    name = {"name": str(agent.id)}
    assert edits() == [
        (str(agent.id), None, name | stored),
        (str(agent.id), {"problem_percent": 40}, {"problem_percent": 10}),
        (str(agent.id), name | stored | {"problem_percent": 10}, None),
    ]


def test_an_agent_has_them_once_and_keeps_them_when_it_is_gone(admin_client):
    agent, gone = make_agent("Shop"), uuid.uuid4()
    Threshold.objects.create(agent_id=agent.id)
    row = Threshold.objects.create(agent_id=gone)
    page = text(admin_client.get(PANEL))
    assert "Shop" in page
    assert f"{gone} (no longer exists)" in page
    # There is no agent left to choose, and the one of a row cannot be changed.
    again = admin_client.post(f"{PANEL}add/", {"agent_id": agent.id, **FIELDS})
    assert "Select a valid choice" in text(again)
    admin_client.post(f"{PANEL}{row.pk}/change/", {"agent_id": make_agent().id, **FIELDS})
    row.refresh_from_db()
    assert (row.agent_id, row.problem_percent) == (gone, 40)


@pytest.mark.parametrize(("field", "value"), BAD)
def test_numbers_have_bounds(admin_client, field, value):
    agent = make_agent()
    page = admin_client.post(f"{PANEL}add/", {"agent_id": agent.id, **FIELDS, field: value})
    assert page.context["errors"]
    assert not Threshold.objects.exists()


def test_an_admin_with_an_agent_limit_sees_only_these_agents(client):
    ours, theirs = make_agent("Shop"), make_agent("Bank")
    let_in_limited(client, "Admin", [ours.id])
    row = Threshold.objects.create(agent_id=theirs.id)
    assert "Bank" not in text(client.get(f"{PANEL}add/"))
    client.post(f"{PANEL}add/", {"agent_id": theirs.id, **FIELDS})
    client.post(f"{PANEL}{row.pk}/delete/", {"post": "yes"})
    assert Threshold.unlimited.get().problem_percent == 25
    assert str(theirs.id) not in text(client.get(PANEL))


def test_a_hostile_name_stays_text(admin_client):
    agent = make_agent("<script>alert(1)</script>")
    Threshold.objects.create(agent_id=agent.id)
    page = admin_client.get(PANEL).content.decode()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page
