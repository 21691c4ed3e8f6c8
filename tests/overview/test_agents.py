"""The list of agents: what it says of each, in which order, and in every state."""

import uuid
from collections import defaultdict
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connections
from django.utils import timezone

from overview import figures, periods
from overview.agents import ranking, reading
from overview.figures import Figures

from ..support.factories import NULL, make_agent, make_message, make_model_call, make_run
from ..support.factories import make_session as make_any_session
from ..support.figures import CHARTS, FIGURES, last_quarter, listed, make_edges, roll_up
from ..support.histories import build_indexes, make_history
from ..support.limited import let_in_limited
from ..support.masking import EMAIL, masking_on
from ..support.pages import get, text

pytestmark = pytest.mark.django_db
AGENTS = "/agents/"


def make_session(agent, at, **fields):
    return make_any_session(agent, created_at=at, updated_at=at, **fields)


def rows(page) -> dict:
    return {row.label: row for row in page.context["ranking"].rows}


def numbers(row) -> list[str]:
    return [cell.number.words for cell in row.cells]


def make_three():
    """Shop is busy, Bank slow and failing, Zoo expensive; nobody ever asked Attic."""
    at = last_quarter() - timedelta(days=2)
    shop, bank, zoo = (make_agent(name) for name in ("Shop", "Bank", "Zoo"))
    make_agent("Attic")
    for _ in range(4):
        make_run(make_session(shop, at), created_at=at, duration_seconds=2)
    make_run(make_session(bank, at), created_at=at, duration_seconds=8)
    make_run(make_session(bank, at), created_at=at, output_data=NULL)
    session = make_session(zoo, at + timedelta(hours=1))
    make_run(session, created_at=at, duration_seconds=4)
    used = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}
    call = {"agent_id": zoo.id, "created_at": at, **used}
    make_model_call(session, model="openai/gpt-4o", **call)
    make_model_call(session, model="nobody-knows", **call)
    roll_up()


def test_it_says_what_each_agent_did(support_client):
    make_three()
    found = rows(get(support_client, AGENTS))
    assert numbers(found["Shop"]) == ["4", "0%", "2.0 s", "2.0 s", "0", "$0"]
    assert numbers(found["Bank"]) == ["2", "50%", "8.0 s", "8.0 s", "0", "$0"]
    assert numbers(found["Zoo"])[-2:] == ["2,000,000", "at least $2.50"]
    assert numbers(found["Attic"]) == ["0", "–", "–", "–", "0", "$0"]
    assert found["Bank"].cells[1].number.note == "1 of 2"
    assert found["Attic"].last_activity is None
    assert found["Zoo"].last_activity - found["Shop"].last_activity > timedelta(minutes=59)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("", "Shop Bank Zoo Attic"),
        ("-conversations", "Attic Zoo Bank Shop"),
        ("name", "Attic Bank Shop Zoo"),
        ("-name", "Zoo Shop Bank Attic"),
        ("problems", "Bank Shop Zoo Attic"),
        ("median", "Bank Zoo Shop Attic"),
        ("-p95", "Shop Zoo Bank Attic"),
        ("tokens", "Zoo Bank Shop Attic"),
        ("cost", "Zoo Bank Shop Attic"),
        ("last", "Zoo Bank Shop Attic"),
    ],
)
def test_it_is_sorted_by_each_column(support_client, sort, order):
    make_three()
    page = get(support_client, AGENTS, sort=sort)
    assert [row.label for row in page.context["ranking"].rows] == order.split()
    assert page.content.decode().count("aria-sort") == 1


def test_a_click_on_the_sorted_column_turns_the_order_round(support_client):
    make_three()
    columns = {one["label"]: one for one in get(support_client, AGENTS).context["columns"]}
    assert columns["Conversations"]["sorted"] == "descending"
    assert "sort=-conversations" in columns["Conversations"]["query"]
    assert "sort=tokens" in columns["Tokens"]["query"]
    assert not columns["Tokens"]["sorted"]


def test_trends_have_the_last_full_days_and_hours(support_client):
    agent, now = make_agent("Shop"), timezone.now()
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for back, number in ((0, 5), (1, 3), (30, 2), (31, 4)):
        for _ in range(number):
            make_message(make_session(agent, at := today - timedelta(days=back)), created_at=at)
    roll_up()
    trend = rows(get(support_client, AGENTS, tz="Asia/Kathmandu"))["Shop"].cells[0].trend
    assert trend.numbers == [2, *[0] * 28, 3]
    yesterday = today - timedelta(days=1)
    assert trend.labels[-1] == f"{yesterday.day} {yesterday:%b}"
    trend = rows(get(support_client, AGENTS, period="today"))["Shop"].cells[0].trend
    assert len(trend.numbers) == 24
    assert sum(trend.numbers) == (5 if now.hour else 3)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "Pacific/Kiritimati"])
@pytest.mark.parametrize("period", ["today", "7d", "30d"])
def test_sums_of_days_and_quarters_are_those_of_quarters_alone(zone, period):
    with timezone.override(ZoneInfo(zone)):
        make_edges(last_quarter(), every=3)
        roll_up()
        found = periods.slices(period, figures.known().until)
        span = periods.Span(found[0].since, found[-1].until)
        agents = ranking.names()
        sums = defaultdict(Figures)
        reading.add_totals(sums, span, agents)
        for agent in agents:
            [exact] = figures.of_periods([span], agent)
            assert sums[agent].messages == exact.messages
            assert sums[agent].answer_bins == exact.answer_bins
            assert sums[agent].money == exact.money
        # Today may have begun just now.
        assert period == "today" or all(sums[agent].messages for agent in agents)


def test_each_number_leads_to_as_many_conversations(support_client):
    make_edges(last_quarter(), every=2)
    build_indexes()
    roll_up()
    for period in ("7d", "30d"):
        for row in get(support_client, AGENTS, period=period).context["ranking"].rows:
            told = [cell.number for cell in row.cells if cell.number.conversations is not None]
            assert len(told) == 2
            for number in told:
                assert number.conversations
                assert listed(support_client, number.link) == number.conversations


def test_without_figures_agents_are_there(support_client):
    agent = make_agent("Shop")
    page = get(support_client, AGENTS)
    assert "There are no figures yet." in text(page)
    assert f'href="/agents/{agent.id}/"' in page.content.decode()
    assert "sparkline" not in page.content.decode()


def test_with_no_agent_at_all(support_client):
    assert "There are no agents yet." in text(get(support_client, AGENTS))
    roll_up()
    assert "There are no agents yet." in text(get(support_client, AGENTS))


@pytest.mark.parametrize(
    "query", ["sort=speed", "page=0", "page=x", "period=3d", "tz=Mars", "typo=1"]
)
def test_an_address_that_makes_no_sense_shows_nothing(support_client, query):
    make_three()
    page = get(support_client, f"{AGENTS}?{query}")
    assert 'role="alert"' in page.content.decode()
    assert "Shop" not in text(page)


def test_agents_are_on_several_pages(support_client, monkeypatch):
    make_three()
    monkeypatch.setattr(ranking, "ROWS", 3)
    first = get(support_client, AGENTS, sort="name")
    assert "Page 1 of 2, 4 agents" in text(first)
    assert "sort=name" in first.context["next"]
    second = get(support_client, f"{AGENTS}?{first.context['next']}")
    assert [row.label for row in second.context["ranking"].rows] == ["Zoo"]
    assert second.context["next"] is False
    assert list(rows(get(support_client, AGENTS, sort="name", page=9))) == ["Zoo"]


def test_of_many_agents_only_the_busiest_are_sorted_by_a_sum(support_client, monkeypatch):
    make_three()
    monkeypatch.setattr(ranking, "MOST_SUMMED", 2)
    page = get(support_client, AGENTS, sort="-median")
    assert list(rows(page)) == ["Shop", "Bank", "Attic", "Zoo"]
    assert "Only the 2 agents" in text(page)
    # What is shown has its sums all the same.
    assert numbers(rows(page)["Zoo"])[2] == "4.0 s"
    assert "Only the" not in text(get(support_client, AGENTS, sort="problems"))


def test_whoever_is_limited_sees_only_their_agents(client, support_client):
    make_three()
    shop = rows(get(support_client, AGENTS))["Shop"]
    limited = let_in_limited(client, "Support", [shop.id])
    for sort in ("", "last", "cost"):
        assert rows(get(limited, AGENTS, sort=sort)) == {"Shop": shop}


@pytest.mark.parametrize("path", [AGENTS, FIGURES, CHARTS])
def test_whoever_may_see_no_agent_sees_none(client, path):
    make_three()
    page = get(let_in_limited(client, "Support", []), path)
    assert "Shop" not in text(page)


def test_names_are_masked_and_stay_text(viewer_client, settings):
    make_agent(f"<script>alert(1)</script> {EMAIL}")
    for _ in range(2):
        with masking_on(settings):
            html = get(viewer_client, AGENTS).content.decode()
        assert "&lt;script&gt;alert" in html
        assert EMAIL not in html
        roll_up()


@pytest.mark.parametrize("number", [1, 60])
@pytest.mark.parametrize("sort", ["", "cost", "last"])
def test_queries_do_not_depend_on_how_many_agents_there_are(
    support_client, django_assert_num_queries, number, sort
):
    for place in range(number):
        make_run(make_any_session(make_agent(f"Agent {place}")))
    roll_up()
    get(support_client, AGENTS)
    with django_assert_num_queries(1, connection=connections["agents"]):
        get(support_client, AGENTS, sort=sort)
    # Besides who is signed in.
    with django_assert_num_queries(9 + 2, connection=connections["default"]):
        get(support_client, AGENTS, sort=sort)


def test_it_works_at_revision_0002(support_client, at_revision):
    make_history(seed=1, size=30)
    at_revision("0002")
    roll_up()
    agent = get(support_client, AGENTS).context["ranking"].rows[0]
    assert agent.last_activity
    for part in ("", "figures/", "charts/"):
        get(support_client, f"/agents/{agent.id}/{part}")


def test_an_agent_that_is_gone_is_not_listed(support_client):
    make_three()
    with connections["agents_write"].cursor() as cursor:
        cursor.execute("DELETE FROM agents WHERE name = 'Zoo'")
    assert set(rows(get(support_client, AGENTS))) == {"Shop", "Bank", "Attic"}
    get(support_client, f"/agents/{uuid.uuid4()}/", status=404)
