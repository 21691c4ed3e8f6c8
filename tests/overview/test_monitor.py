"""The page Monitor: a row for each agent with marks for its newest runs."""

import re
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from overview.monitor import runs

from ..support.factories import NULL, add_runs, make_agent, make_run, make_session
from ..support.limited import let_in_limited
from ..support.masking import EMAIL, masking_on
from ..support.pages import HTMX, get, text
from ..support.tables import sql

pytestmark = pytest.mark.django_db
PAGE, STATE = "/monitor/", "/monitor/state/"


def shown(client) -> dict[str, list[str]]:
    """{agent: statuses of its runs, the newest last}, the agent that was active last first"""
    rows = get(client, PAGE).context["monitor"].rows
    return {row.label: [mark.status for mark in row.marks] for row in rows}


def signature(client) -> str:
    return get(client, STATE).json()["signature"]


def make_runs(agent, hours_ago=1):
    """One run of each status, in several conversations."""
    at = timezone.now() - timedelta(hours=hours_ago)
    made = {}
    for number, (status, fields) in enumerate(
        {
            "completed": {},
            "failed": {"output_data": NULL},
            "interrupted": {"output_data": NULL, "duration_seconds": None},
            "running": {
                "output_data": NULL,
                "duration_seconds": None,
                "updated_at": timezone.now(),
            },
        }.items()
    ):
        moment = at + timedelta(minutes=number)
        session = make_session(agent, created_at=at, updated_at=moment)
        made[status] = make_run(session, created_at=moment, **fields)
    return made


def test_each_agent_has_a_row_and_each_run_a_mark(support_client):
    made = make_runs(make_agent("Shop"), hours_ago=5)
    make_runs(make_agent("Bank"))
    make_agent("Never asked")
    statuses = ["completed", "failed", "interrupted", "running"]
    assert shown(support_client) == {"Bank": statuses, "Shop": statuses}
    response = get(support_client, PAGE)
    page = response.content.decode()
    for status, run in made.items():
        link = f'href="/conversations/{run.session_id}/?run={run.id}#run-{run.id}"'
        mark = re.search(rf"<a [^>]*{re.escape(link)}.*?</a>", page)[0]
        assert f'class="run {status}"' in mark
        assert f'href="#shape-{status}"' in mark
        words = re.search(r'aria-label="([^"]*)"', mark)[1]
        assert words.startswith(f"{status.capitalize()}, ")
        assert words.endswith(", 1.5 s") == (status in ("completed", "failed"))
        assert f'id="shape-{status}"' in page
    assert "4 runs, 1 failed , 1 interrupted , 1 running" in text(response)
    # So the page asks again sooner.
    assert 'class="run running"' in page


def test_a_mark_opens_the_run_in_its_conversation(support_client):
    run = make_runs(make_agent("Shop"))["failed"]
    page = get(support_client, f"/conversations/{run.session_id}/?run={run.id}").content.decode()
    assert f'id="run-{run.id}"' in page


def test_only_the_newest_runs_are_shown(support_client, monkeypatch):
    monkeypatch.setattr(runs, "RUNS", 3)
    agent = make_agent("Shop")
    now = timezone.now()
    ids = []
    for hours in (9, 1, 3, 2, 7):
        at = now - timedelta(hours=hours)
        session = make_session(agent, created_at=at, updated_at=at)
        ids.append(make_run(session, created_at=at).id)
    # An older run of a conversation that is still active.
    make_run(session, created_at=now - timedelta(days=2))
    [row] = get(support_client, PAGE).context["monitor"].rows
    assert [mark.id for mark in row.marks] == [ids[2], ids[3], ids[1]]


def test_only_the_agents_that_were_active_last_are_shown(support_client, monkeypatch):
    monkeypatch.setattr(runs, "AGENTS", 2)
    for hours, name in ((3, "Old"), (1, "New"), (2, "Middle")):
        at = timezone.now() - timedelta(hours=hours)
        make_session(make_agent(name), created_at=at, updated_at=at)
    assert shown(support_client) == {"New": [], "Middle": []}
    page = text(get(support_client, PAGE))
    assert "no runs" in page
    assert "Only the 30 agents that were active last are shown." in page


def test_the_signature_changes_when_a_run_begins_or_ends(support_client):
    made = make_runs(make_agent("Shop"))
    first = signature(support_client)
    assert get(support_client, PAGE).context["monitor"].signature == first
    assert signature(support_client) == first
    sql("UPDATE runs SET duration_seconds = 2 WHERE id = %s", [made["running"].id])
    second = signature(support_client)
    make_run(make_session(make_agent("Bank")))
    assert len({first, second, signature(support_client)}) == 3


def test_a_fragment_has_what_an_open_page_replaces(support_client):
    make_runs(make_agent("Shop"))
    fragment = get(support_client, PAGE, {**HTMX, "X-Refresh": "1"}).content.decode()
    assert fragment.lstrip().startswith('<main id="browse"')
    assert 'id="runs" data-part="/monitor/?tz=UTC"' in fragment
    assert f'data-watch="{STATE}"' in fragment


def test_with_no_conversation_at_all(support_client):
    assert "No conversations yet" in text(get(support_client, PAGE))
    assert signature(support_client)


@pytest.mark.parametrize("query", ["tz=Mars/Base", "tz=UTC&tz=UTC", "typo=1", "period=7d"])
def test_an_address_that_makes_no_sense_shows_nothing(support_client, query):
    make_runs(make_agent("Shop"))
    page = get(support_client, f"{PAGE}?{query}")
    assert "Show Monitor without these" in text(page)
    assert "Shop" not in text(page)
    assert "data-watch" not in page.content.decode()


def test_times_are_in_the_zone_of_the_address(support_client):
    make_runs(make_agent("Shop"))
    page = get(support_client, PAGE, tz="Asia/Kathmandu")
    assert "Times are in Asia/Kathmandu ." in text(page)
    assert "+0545" in page.content.decode()


def test_names_of_agents_are_masked_and_stay_text(viewer_client, settings):
    make_runs(make_agent(f"<script>alert(1)</script> {EMAIL}"))
    make_runs(make_agent(""))
    with masking_on(settings):
        html = get(viewer_client, PAGE).content.decode()
    assert "<script>alert" not in html
    assert EMAIL not in html
    assert "(no name)" in html


def test_agents_with_the_same_name_are_told_apart(support_client):
    agents = [make_agent("Shop") for _ in range(2)]
    for agent in agents:
        make_runs(agent)
    assert shown(support_client).keys() == {f"Shop ({str(agent.id)[:8]})" for agent in agents}


def test_whoever_is_limited_sees_only_these_agents(client):
    ours, theirs = make_agent("Ours"), make_agent("Theirs")
    make_runs(ours)
    let_in_limited(client, "Viewer", [ours.id])
    before = signature(client)
    make_runs(theirs)
    assert signature(client) == before
    assert shown(client).keys() == {"Ours"}


@pytest.mark.parametrize("number", ["0002", "0003", "0004", "0005", "0006"])
def test_it_works_at_every_revision(support_client, at_revision, number):
    make_runs(make_agent("Shop"))
    at_revision(number)
    assert shown(support_client)["Shop"] == (
        ["completed", "failed", "interrupted", "running"]
        if number == "0006"
        else ["completed", "incomplete", "incomplete", "incomplete"]
    )
    assert ("Interrupted" in text(get(support_client, PAGE))) == (number == "0006")


@pytest.mark.parametrize("number", [1, 40])
def test_it_takes_four_queries_however_much_there_is(
    support_client, django_assert_num_queries, number
):
    for place in range(number):
        session = make_session(make_agent(f"Agent {place}"))
        add_runs(session, number)
    get(support_client, PAGE)
    with django_assert_num_queries(4, connection=connections["agents"]):
        get(support_client, PAGE)
