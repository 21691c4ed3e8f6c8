"""Changes of a workflow: noticed by the rollup, marked in charts, with figures before and after."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from overview.agents import changes
from overview.models import WorkflowSnapshot
from overview.quarters import kept_since
from overview.rollup import workflows

from ..support.factories import NULL, Json, make_agent, make_message, make_run, make_session
from ..support.figures import last_quarter, listed, roll_up
from ..support.histories import build_indexes
from ..support.limited import let_in_limited
from ..support.masking import EMAIL, masking_on
from ..support.pages import get, text
from ..support.tables import sql
from ..support.workflows import ALL_TYPES

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
FIRST = {
    "nodes": [
        {"name": "a", "type": "start", "next": "b"},
        {"name": "b", "type": "llm", "prompt": "secret", "next": "c"},
        {"name": "c", "type": "end"},
    ]
}


def path(agent, part="changes") -> str:
    return f"/agents/{agent.id}/{part}/"


def store(agent, document, at=None):
    """As the runtime overwrites a workflow."""
    sql(
        "UPDATE agents SET workflow = %s::jsonb, updated_at = %s WHERE id = %s",
        [json.dumps(document), at or timezone.now(), agent.id],
    )


def with_node(place: int, **fields) -> dict:
    nodes = [dict(node) for node in FIRST["nodes"]]
    nodes[place] |= fields
    return {"nodes": nodes}


def make_changed(at, *, before=FIRST, after=None, name="Shop", known_since=None):
    """An agent whose workflow is known for 30 days, and changed at that moment."""
    known_since = known_since or timezone.now() - 30 * DAY
    agent = make_agent(name, workflow=Json(before), updated_at=known_since)
    roll_up()
    WorkflowSnapshot.objects.update(since=known_since)
    store(agent, after or with_node(1, prompt="kinder"), at)
    roll_up()
    return agent


def snapshots(agent):
    return list(WorkflowSnapshot.objects.of_agent(agent.id).order_by("id"))


def words_of(before, after) -> list[str]:
    return changes.what_changed(workflows.outline(before), workflows.outline(after))


# What is kept


def test_a_snapshot_is_made_once_and_again_when_the_workflow_changes():
    agent = make_agent("Shop", workflow=Json(FIRST), updated_at=timezone.now() - DAY)
    roll_up()
    [first] = snapshots(agent)
    roll_up()
    assert snapshots(agent) == [first]
    assert timezone.now() - first.since < timedelta(minutes=1)
    # Not by the workflow, but by something else of the agent.
    store(agent, FIRST)
    roll_up()
    assert snapshots(agent) == [first]
    WorkflowSnapshot.objects.update(since=timezone.now() - DAY)
    at = timezone.now() - timedelta(hours=1)
    store(agent, with_node(1, prompt="kinder"), at)
    roll_up()
    _, second = snapshots(agent)
    assert second.since == at


def test_what_was_written_by_a_wrong_clock_changed_when_it_was_noticed():
    agent = make_changed(timezone.now() + DAY)
    assert abs(snapshots(agent)[1].since - timezone.now()) < timedelta(minutes=1)


def test_what_was_before_is_no_change_when_a_replica_lags_behind():
    first, second = timezone.now() - 2 * DAY, timezone.now() - DAY
    agent = make_agent("Shop", workflow=Json(FIRST), updated_at=first)
    roll_up()
    for document, at in ((with_node(1, prompt="kinder"), second), (FIRST, first)):
        store(agent, document, at)
        roll_up()
    assert len(snapshots(agent)) == 2


def test_a_change_after_one_by_a_wrong_clock_is_noticed():
    agent = make_changed(timezone.now() + DAY)
    store(agent, with_node(1, prompt="third"))
    roll_up()
    assert len(snapshots(agent)) == 3


def test_nothing_is_kept_but_names_types_digests_and_where_nodes_lead():
    agent = make_agent("Shop", workflow=Json(ALL_TYPES))
    roll_up()
    [kept] = snapshots(agent)
    assert len(kept.digest) == 64
    assert [node[0] for node in kept.nodes] == [node["name"] for node in ALL_TYPES["nodes"]]
    name, node_type, digest, leads = kept.nodes[4]
    assert (name, node_type, sorted(leads)) == (
        "route", "switch", ["gather", "refund", "refund", "repair"],
    )  # fmt: skip
    assert len(digest) == 16
    assert "secret" not in json.dumps(kept.nodes)


def test_each_program_that_overwrites_it_adds_few_snapshots(monkeypatch):
    monkeypatch.setattr(workflows, "MOST_SNAPSHOTS", 3)
    agent, other = make_agent("Shop", workflow=Json(FIRST)), make_agent("Bank")
    for number in range(5):
        store(agent, with_node(1, prompt=str(number)))
        roll_up()
    assert len(snapshots(agent)) == 3
    assert len(snapshots(other)) == 1


DEEP = "[" * 3_000 + "]" * 3_000


@pytest.mark.parametrize(
    "stored",
    ["[]", "7", '"x"', "null", '{"nodes": [7, null, {}]}', f'{{"nodes": [{{"type": {DEEP}}}]}}'],
)
def test_whatever_is_stored_the_rollup_goes_on(stored):
    agent = make_agent("Shop")
    sql("UPDATE agents SET workflow = %s::jsonb WHERE id = %s", [stored, agent.id])
    roll_up()
    assert len(snapshots(agent)) == 1


def test_it_works_at_revision_0002(at_revision):
    agent = make_agent("Shop", workflow=Json(FIRST))
    at_revision("0002")
    roll_up()
    assert len(snapshots(agent)) == 1


# What is said


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (with_node(1, prompt="kinder"), ["“b” was edited."]),
        (with_node(1, next="a"), ["“b” leads elsewhere."]),
        (with_node(1, type="agent"), ["“b” is of another type: agent."]),
        (with_node(2, name="d"), ["“d” was added.", "“c” was removed."]),
        ({**FIRST, "llm_model": "other"}, ["Settings of the whole workflow changed."]),
        ({}, ["The workflow was removed."]),
    ],
)
def test_it_says_what_changed(after, words):
    assert words_of(FIRST, after) == words


def test_a_workflow_may_be_added():
    assert words_of(None, FIRST) == ["The workflow was added."]


def test_before_the_first_snapshot_the_page_says_so(support_client):
    agent = make_agent("Shop", workflow=Json(FIRST))
    assert "Nothing is known about changes yet." in text(get(support_client, path(agent)))
    roll_up()
    page = text(get(support_client, path(agent)))
    assert "The workflow has not changed since" in page
    assert "What it was before that is not known." in page
    store(agent, with_node(1, prompt="kinder"))
    roll_up()
    page = text(get(support_client, path(agent)))
    assert "“b” was edited." in page
    assert "earlier changes are not known" in page
    assert "There are not enough figures around it to compare." in page


def test_figures_before_and_after_are_of_the_same_length_and_lead_to_as_many(support_client):
    at = last_quarter() - timedelta(days=2, minutes=3)
    agent = make_changed(at)
    for moment, number in ((at - DAY, 3), (at, 5), (at + DAY, 2), (at - 4 * DAY, 7)):
        for _ in range(number):
            session = make_session(agent, created_at=moment, updated_at=moment)
            make_message(session, created_at=moment)
            make_run(session, created_at=moment, output_data=NULL)
    build_indexes()
    roll_up()
    [change] = get(support_client, path(agent)).context["history"].changes
    assert change.at == at
    assert change.comparison.length == "2\xa0days"
    rows = {label: numbers for label, *numbers in change.comparison.rows}
    # Those in the quarter of an hour of the change are neither before nor after it.
    assert [number.words for number in rows["Conversations"]] == ["3", "2"]
    for numbers in rows.values():
        for number in numbers:
            if number.conversations is not None:
                assert listed(support_client, number.link) == number.conversations


def test_a_change_is_compared_no_further_back_than_the_one_before(support_client):
    at = last_quarter() - timedelta(days=2)
    agent = make_changed(at - timedelta(hours=5))
    store(agent, with_node(1, prompt="third"), at)
    roll_up()
    newest, older = get(support_client, path(agent)).context["history"].changes
    assert newest.comparison.length == "4\xa0hours"
    # What came before the first snapshot may have been the same.
    assert older.comparison.length == "2\xa0days"


def test_of_an_old_change_whole_days_are_compared_and_the_page_says_so(support_client):
    # The week before reaches back to when quarters of an hour are no longer kept.
    day = kept_since() + 3 * DAY
    at = day + timedelta(hours=10)
    agent = make_changed(at, known_since=at - 30 * DAY)
    moments = [(day - timedelta(minutes=1), 2), (day - 6 * DAY, 1), (day, 7), (at + DAY, 4)]
    for moment, number in [*moments, (day - 8 * DAY, 9), (day + 9 * DAY, 9)]:
        for _ in range(number):
            session = make_session(agent, created_at=moment, updated_at=moment)
            make_message(session, created_at=moment)
    roll_up()
    page = get(support_client, path(agent))
    [change] = page.context["history"].changes
    assert change.comparison.length == "1\xa0week"
    assert "By whole days of UTC, without the day of the change" in text(page)
    rows = {
        label: [number.words for number in numbers] for label, *numbers in change.comparison.rows
    }
    assert rows["Conversations"] == rows["Messages"] == ["3", "4"]


def test_an_old_change_is_not_compared_over_less_than_a_day(support_client):
    at = kept_since() - 3 * DAY
    agent = make_changed(at, known_since=at - 30 * DAY)
    store(agent, with_node(1, prompt="third"), at + timedelta(hours=5))
    roll_up()
    newest, _ = get(support_client, path(agent)).context["history"].changes
    assert newest.comparison is None


def test_only_the_newest_changes_are_compared_and_listed(support_client, monkeypatch):
    monkeypatch.setattr(changes, "MOST", 4)
    agent = make_agent("Shop", workflow=Json(FIRST), updated_at=timezone.now() - 30 * DAY)
    roll_up()
    WorkflowSnapshot.objects.update(since=timezone.now() - 30 * DAY)
    for back in range(9, 3, -1):
        store(agent, with_node(1, prompt=str(back)), timezone.now() - back * DAY)
        roll_up()
    history = get(support_client, path(agent)).context["history"]
    assert [change.comparison is not None for change in history.changes] == [True] * 3 + [False]
    assert history.is_cut


def test_charts_of_the_agent_mark_the_change_and_no_other_chart_does(support_client):
    at = last_quarter() - timedelta(days=2)
    agent = make_changed(at)
    moment = at - timedelta(hours=1)
    make_message(make_session(agent, created_at=moment, updated_at=moment), created_at=moment)
    make_agent("Bank", workflow=Json(FIRST))
    roll_up()
    page = get(support_client, path(agent, "charts"), period="7d")
    mark = f"workflow changed at {timezone.localtime(at):%H:%M}"
    for chart in page.context["charts"]:
        assert [point.mark for point in chart.points].count(mark) == 1
        assert [slot.mark for slot in chart.slots].count("") == 6
    assert 'class="mark"' in page.content.decode()
    assert f"; {mark}</title>" in page.content.decode()
    assert 'class="mark"' not in get(support_client, "/home/charts/").content.decode()


def test_whoever_may_not_see_the_agent_sees_no_changes(client):
    shop = make_changed(timezone.now())
    bank = make_changed(timezone.now(), name="Bank")
    limited = let_in_limited(client, "Support", [shop.id])
    assert "was edited" in text(get(limited, path(shop)))
    get(limited, path(bank), status=404)


def test_names_are_masked_and_stay_text(viewer_client, settings):
    evil = f"<script>alert(1)</script> {EMAIL}"
    after = with_node(1, name=evil)
    after["nodes"][2] |= {"type": evil}
    agent = make_changed(timezone.now(), after=after)
    assert EMAIL in get(viewer_client, path(agent)).content.decode()
    with masking_on(settings):
        html = get(viewer_client, path(agent)).content.decode()
    assert "was added" in html
    assert EMAIL not in html
    assert "<script>alert" not in html
