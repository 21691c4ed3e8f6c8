"""Every figure of home leads to a list with the same filters and the same count."""

import pytest
from django.utils import timezone

from ..support.figures import (
    CHARTS,
    FIGURES,
    last_quarter,
    list_links,
    listed,
    make_edges,
    roll_up,
)
from ..support.histories import build_indexes
from ..support.limited import let_in_limited
from ..support.pages import get

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]
OTHER_ZONES = ("Europe/Tallinn", "Asia/Kolkata", "Australia/Lord_Howe", "America/New_York")
ZONES = [
    "UTC",
    "Asia/Kathmandu",
    *(pytest.param(each, marks=pytest.mark.slow) for each in OTHER_ZONES),
]
BARS = [
    ("today", "UTC"),
    ("7d", "Asia/Kathmandu"),
    *((period, zone) for period in ("today", "30d") for zone in ("Asia/Kathmandu", *OTHER_ZONES)),
]


def numbers_of_figures(page) -> list:
    overview = page.context["overview"]
    pairs = [pair for tile in overview.tiles for pair in tile.pairs]
    found = [number for pair in pairs for number in (pair.shown, pair.before)]
    return found + [number for kind in overview.kinds for number in kind.numbers]


def numbers_of_agents(page) -> list:
    found = []
    for row in page.context["agents"]:
        found += [row.conversations, row.troubled, *(number for _, number in row.kinds)]
    return found


def compare(client, numbers):
    """Whatever says how many conversations it has."""
    told = [number for number in numbers if number.conversations is not None]
    assert any(number.conversations for number in told)
    for number in told:
        assert listed(client, number.link) == number.conversations, number
    return told


@pytest.mark.parametrize("zone", ZONES)
def test_each_figure_leads_to_as_many_conversations(support_client, zone):
    with timezone.override(zone):
        make_edges(last_quarter())
    build_indexes()
    roll_up()
    page = get(support_client, FIGURES, tz=zone)
    told = compare(support_client, numbers_of_figures(page))
    assert len(told) >= 3 * 4 + 5 * 4
    links = {number.link for number in numbers_of_figures(page)}
    assert list_links(page) == links
    # Those of messages, time and money lead to the conversations that they are about.
    assert links == {number.link for number in told}


@pytest.mark.slow
@pytest.mark.parametrize(("period", "zone"), BARS)
def test_each_bar_leads_to_as_many_conversations(support_client, period, zone):
    with timezone.override(zone):
        make_edges(last_quarter())
    build_indexes()
    roll_up()
    page = get(support_client, CHARTS, tz=zone, period=period)
    conversations, troubled, *others = page.context["charts"]
    for chart in (conversations, troubled):
        assert sum(point.numbers[0] for point in chart.points)
        for point in chart.points:
            assert listed(support_client, point.link) == point.numbers[0], point
    for chart in others:
        assert [each.link for each in chart.points] == [each.link for each in conversations.points]
    compare(support_client, numbers_of_agents(page))


@pytest.mark.slow
def test_it_is_so_within_a_limit_to_certain_agents(client, admin_client):
    make_edges(last_quarter(), every=5)
    build_indexes()
    roll_up()
    everybody = [each.words for each in numbers_of_figures(get(admin_client, FIGURES))]
    agent = get(admin_client, CHARTS).context["agents"][0]
    pk = agent.conversations.link.partition("agent=")[2][:36]
    limited = let_in_limited(client, "Support", [pk])
    page = get(limited, FIGURES)
    compare(limited, numbers_of_figures(page))
    own = [each.words for each in numbers_of_figures(page)]
    assert all(one != other for one, other in zip(own[:4], everybody[:4], strict=True))
    [row] = get(limited, CHARTS).context["agents"]
    assert row == agent
