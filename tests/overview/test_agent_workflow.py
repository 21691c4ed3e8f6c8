"""An agent's workflow on its page: drawn, with figures of its nodes, whatever is stored."""

import html
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections
from django.db.models.functions import Substr
from django.utils import timezone

from conversations.models import Agent
from overview.agents import nodes
from overview.percentiles import percentile
from overview.periods import Span
from overview.workflow.document import MOST_NODES
from privacy import masking

from ..conversations.test_recorded import RECORDED, recorded, recorded_database  # noqa: F401
from ..support.expected_figures import run_sql
from ..support.factories import NULL, Json, make_agent, make_run, make_session, make_task
from ..support.figures import last_quarter, listed, roll_up
from ..support.masking import EMAIL, masking_on
from ..support.pages import get, text
from ..support.tables import sql
from ..support.workflows import ALL_TYPES, random_workflow

pytestmark = pytest.mark.django_db
EVIL = f"</title><script>alert(1)</script> {EMAIL}"
BROKEN = [
    [], {}, 7, "text", {"nodes": []}, {"nodes": 7}, {"nodes": [None, 7, []]},
    {"nodes": [{"next": {"next": []}}]}, {"nodes": [{"name": {}, "type": [], "cases": 7}] * 3},
    {"nodes": [{"name": "a", "next": "a"}, {"name": "a", "next": "b"}, {"name": "b", "next": "a"}]},
    {"nodes": [{"name": "{0}{x}%s", "type": "%(a)s", "next": "{}"}]},
    {"truncated": True, "bytes": 9, "preview": '{"nodes": ['},
]  # fmt: skip


def path(agent) -> str:
    return f"/agents/{agent.id}/workflow/"


def make_shop(**fields):
    """An agent of ALL_TYPES whose node "repair" ran 30 times, and "old", which it has no longer."""
    agent = make_agent("Shop", workflow=Json(ALL_TYPES), **fields)
    at = {"created_at": last_quarter() - timedelta(days=1)}
    session = make_session(agent, **at)
    run = make_run(session, **at)
    for number in range(30):
        seconds = 9 if number > 27 else 2
        errors = Json(["boom"]) if number < 3 else NULL
        make_task(run, session, "repair", "agent", duration_seconds=seconds, errors=errors, **at)
    make_task(run, session, "refund", **at)
    make_task(run, session, "old", **at)
    make_task(run, session, "look up shoes", "tool_call", **at)
    # Another agent's node of the same name.
    other = make_session(make_agent("Bank"), **at)
    make_task(make_run(other, **at), other, "repair", **at)
    return agent


def rows(page) -> dict:
    return {row.name: row for row in page.context["workflow"].rows}


def test_each_node_has_its_figures(support_client):
    agent = make_shop()
    roll_up()
    page = get(support_client, path(agent))
    found = rows(page)
    repair = found["repair"].figures
    assert (repair.runs, repair.failed, repair.median, repair.slow) == (30, 3, "2.0 s", "9.0 s")
    assert (repair.has_few, found["refund"].figures.has_few) == (False, True)
    assert found["gather"].figures.runs == 0
    # jsonb has sorted the cases.
    assert found["route"].leads[:2] == [("repair", "broken"), ("refund", "refund, money back")]
    title = "repair, agent: 30 runs, 3 failed, median 2.0 s, 95th percentile 9.0 s"
    assert f"<title>{title}</title>" in page.content.decode()
    assert [row.name for row in page.context["workflow"].others] == ["old"]
    assert "Not in the workflow" in text(page)


def test_figures_are_of_the_period(support_client):
    agent = make_shop()
    roll_up()
    at = timezone.localtime(last_quarter() - timedelta(days=1)).date()
    expected = 30 if at == timezone.localdate() else 0
    assert rows(get(support_client, path(agent), period="today"))["repair"].figures.runs == expected
    assert rows(get(support_client, path(agent), period="7d"))["repair"].figures.runs == 30


def test_a_node_leads_to_its_conversations_in_the_period(support_client):
    agent = make_shop()
    roll_up()
    page = get(support_client, path(agent), period="7d", tz="Asia/Kathmandu")
    link = rows(page)["repair"].link
    names = ["node", "agent", "step_from", "step_until", "tz"]
    found = dict(re.findall(r"[?&](\w+)=([^&]*)", link))
    assert link.startswith("/conversations/?")
    assert sorted(found) == sorted(names)
    assert (found["node"], found["agent"], found["tz"]) == (
        "repair", str(agent.id), "Asia%2FKathmandu",
    )  # fmt: skip
    # Once as a node, once in the table.
    assert page.content.decode().count(f'href="{html.escape(link)}"') == 2
    assert rows(page)["gather"].link == ""
    # Another agent's conversation is not in it.
    assert listed(support_client, link) == 1


def test_all_nodes_and_lines_are_drawn_and_prompts_are_not_shown(support_client):
    agent = make_shop()
    page = get(support_client, path(agent)).content.decode()
    for node in ALL_TYPES["nodes"]:
        assert f">{node['name']}</text>" in page
    assert page.count('class="shape"') == 11
    assert page.count('class="arrow"') == 14
    assert page.count('class="line back"') == 1
    assert ">refund, money back</text>" in page
    assert "secret" not in page


def test_without_figures_the_workflow_is_drawn_without_them(support_client):
    agent = make_shop()
    page = get(support_client, path(agent))
    assert 'class="workflow"' in page.content.decode()
    assert "runs" not in text(page)
    assert rows(page)["repair"].figures is None


@pytest.mark.parametrize("stored", [None, NULL])
def test_without_a_workflow_it_says_so_and_lists_what_ran(support_client, stored):
    agent = make_shop()
    value = None if stored is None else "null"
    sql("UPDATE agents SET workflow = %s::jsonb WHERE id = %s", [value, agent.id])
    roll_up()
    page = get(support_client, path(agent))
    assert "No workflow is stored for this agent." in text(page)
    assert '<svg class="workflow"' not in page.content.decode()
    others = [row.name for row in page.context["workflow"].others]
    assert others == ["repair", "old", "refund"]


@pytest.mark.parametrize("place", range(len(BROKEN)))
def test_a_broken_workflow_is_shown_as_far_as_it_is_one(support_client, place):
    agent = make_agent("Shop", workflow=Json(BROKEN[place]))
    roll_up()
    page = get(support_client, path(agent))
    assert page.context["workflow"].rows or "has no nodes" in text(page)


def test_what_is_nested_deeper_than_python_reads_is_no_workflow(support_client):
    agent = make_agent("Shop")
    deep = '{"nodes": ' + "[" * 3_000 + "]" * 3_000 + "}"
    sql("UPDATE agents SET workflow = %s::jsonb WHERE id = %s", [deep, agent.id])
    assert get(support_client, path(agent)).context["workflow"].is_stored


def test_of_a_huge_workflow_only_the_beginning_is_read(support_client, monkeypatch):
    monkeypatch.setattr(nodes, "LENGTH", 5_000)
    monkeypatch.setattr(nodes, "WORKFLOW", Substr(nodes.WORKFLOW, 1, 5_000))
    agent = make_agent("Shop", workflow=Json(random_workflow(1, MOST_NODES)))
    page = get(support_client, path(agent))
    assert "Only its first 5,000 characters are read." in text(page)
    assert rows(page)


def test_names_are_masked_and_stay_text(viewer_client, settings):
    document = {
        "nodes": [
            {"name": EVIL, "type": EVIL, "cases": {EVIL: EVIL, "b": f"{EVIL}{EVIL}"}},
            {"name": EVIL},
        ]
    }
    agent = make_agent("Shop", workflow=Json(document))
    at = {"created_at": last_quarter() - timedelta(days=1)}
    session = make_session(agent, **at)
    run = make_run(session, **at)
    for name in (EVIL, f"{EVIL} again", "", "plain"):
        make_task(run, session, name, **at)
    roll_up()
    page = get(viewer_client, path(agent))
    assert "<script>alert" not in page.content.decode()
    assert page.context["workflow"].rows[0].link
    with masking_on(settings):
        page = get(viewer_client, path(agent))
    source = page.content.decode()
    assert "<script>alert" not in source
    assert EMAIL not in source
    assert EMAIL.replace("@", "%40") not in source
    first, *_ = page.context["workflow"].rows
    # It has its figures all the same, but its name may not be in an address.
    assert (first.figures.runs, first.link) == (1, "")
    others = {row.name: bool(row.link) for row in page.context["workflow"].others}
    assert (others["plain"], others["(no name)"]) == (True, False)


def test_nothing_is_masked_that_is_not_shown(viewer_client, settings, monkeypatch):
    long = f"{EMAIL} " * 1_000
    document = {"nodes": [{"name": "a", "prompt": long, "cases": {long: "b"}}, {"name": long}]}
    agent = make_agent("Shop", workflow=Json(document))
    masked, mask = [], masking.mask

    def noted(text, *args, **kwargs):
        masked.append(len(text))
        return mask(text, *args, **kwargs)

    monkeypatch.setattr(masking, "mask", noted)
    with masking_on(settings):
        page = get(viewer_client, path(agent))
    assert EMAIL not in page.content.decode()
    assert 0 < max(masked) <= nodes.NAME_LENGTH


def test_queries_do_not_depend_on_how_many_nodes_there_are(
    support_client, django_assert_num_queries
):
    for number in (3, 100):
        agent = make_agent("Shop", workflow=Json(random_workflow(1, number)))
        at = {"created_at": last_quarter() - timedelta(days=1)}
        session = make_session(agent, **at)
        run = make_run(session, **at)
        for place in range(number):
            make_task(run, session, f"node {place}", **at)
        roll_up()
        get(support_client, path(agent))
        with django_assert_num_queries(1, connection=connections["agents"]):
            get(support_client, path(agent))
        # Besides who is signed in.
        with django_assert_num_queries(2 + 2, connection=connections["default"]):
            get(support_client, path(agent))


@pytest.mark.thorough
@pytest.mark.skipif(not RECORDED.exists(), reason="The recorded databases are not here.")
def test_figures_of_recorded_nodes_agree_with_sql(recorded, support_client):  # noqa: F811
    roll_up()
    span = Span(datetime(2026, 11, 1, 7, 15, tzinfo=UTC), datetime(2026, 12, 9, 3, tzinfo=UTC))
    expected = run_sql("""
        SELECT s.agent_id, t.name, count(*), count(*) FILTER (
            WHERE jsonb_typeof(t.errors) = 'array' AND jsonb_array_length(t.errors) > 0),
            percentile_disc(0.95) WITHIN GROUP (ORDER BY t.duration_seconds)
        FROM tasks t JOIN sessions s ON s.id = t.session_id
        WHERE t.node_type <> 'tool_call' GROUP BY 1, 2
    """)
    assert len(expected) == 30
    for agent_id, name, runs, failed, slow in expected:
        found = nodes.of_nodes(span, agent_id)[name]
        assert (found.runs, found.failed) == (runs, failed)
        assert percentile(found.bins, 95) == pytest.approx(float(slow), rel=0.005)
    for agent in Agent.objects.all():
        page = get(support_client, f"/agents/{agent.pk}/workflow/")
        assert len(page.context["workflow"].nodes) == 10
        assert page.context["workflow"].flaws == []
