"""Agents with the same name can be told apart wherever they are chosen or named."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.db import connections
from django.utils import timezone

from ..support.factories import make_agent, make_session
from ..support.pages import get, text, url

pytestmark = pytest.mark.django_db


def options(response) -> list[str]:
    [select] = re.findall(r'<select[^>]*name="agent".*?</select>', response.content.decode(), re.S)
    return [unescape(label) for label in re.findall(r"<option[^>]*>(.*?)</option>", select)]


@pytest.fixture
def twins():
    return [make_agent("Help"), make_agent("Help")]


def test_agents_can_be_told_apart_where_they_are_chosen(support_client, twins):
    first, second = twins
    lone = make_agent("Shop")
    make_session(first, updated_at=timezone.now() - timedelta(hours=3, minutes=1))
    make_session(first, updated_at=timezone.now() - timedelta(days=3))
    make_session(lone)
    assert set(options(get(support_client))) == {
        "All agents",
        f"Help ({str(first.id)[:8]}, active 3\N{NO-BREAK SPACE}hours ago)",
        f"Help ({str(second.id)[:8]}, no conversations)",
        "Shop",
    }


def test_agents_can_be_told_apart_where_they_are_named(support_client, twins):
    session, _ = (make_session(agent, external_id="ella") for agent in twins)
    label = f"Help ({str(twins[0].id)[:8]})"
    theirs = f"Help ({str(twins[1].id)[:8]})"
    page = get(support_client, agent=twins[0].id)
    assert page.context["chips"][0]["text"] == label
    assert f'<b dir="auto">{label}</b>' in page.content.decode()
    assert page.context["title"] == f"{label} · Conversations"
    for name in ("detail", "print"):
        assert label in text(get(support_client, url(name, session.id)))
    assert theirs in text(get(support_client, url("detail", session.id)))


def test_long_names_that_begin_alike_can_be_told_apart(support_client):
    begin = "Help with orders, deliveries and returns of the shop for garden tools "
    agents = [make_agent(begin + end) for end in ("in Tallinn", "in Riga")]
    labels = {str(agent.id): f"{begin[:48]}… ({str(agent.id)[:8]})" for agent in agents}
    page = get(support_client, agent=agents[0].id)
    shown = options(page)
    for label in labels.values():
        assert any(option.startswith(label[:-1]) for option in shown)
    assert labels[str(agents[0].id)] in text(page)


def test_a_unique_name_stays_as_it_is(support_client, twins):
    session = make_session(make_agent("Shop"))
    assert '<b dir="auto">Shop</b>' in get(support_client).content.decode()
    assert "Shop (" not in text(get(support_client, url("detail", session.id)))


def test_activity_takes_one_query_and_only_for_shared_names(support_client):
    def queries():
        statements = []

        def wrapper(execute, sql, params, many, context):
            statements.append(sql)
            return execute(sql, params, many, context)

        with connections["agents"].execute_wrapper(wrapper):
            get(support_client)
        return len([sql for sql in statements if "sessions WHERE agent_id = agent.id" in sql])

    for name in "abc":
        make_session(make_agent(name))
    get(support_client)
    assert queries() == 0
    for _ in range(3):
        make_session(make_agent("Help"))
    assert queries() == 1
