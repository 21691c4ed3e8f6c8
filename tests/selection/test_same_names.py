"""Agents of one name are told apart wherever they are chosen or named."""

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


def test_they_are_told_apart_where_they_are_chosen(support_client, twins):
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


def test_they_are_told_apart_where_they_are_named(support_client, twins):
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


def test_a_name_of_its_own_stays_as_it_is(support_client, twins):
    session = make_session(make_agent("Shop"))
    assert '<b dir="auto">Shop</b>' in get(support_client).content.decode()
    assert "Shop (" not in text(get(support_client, url("detail", session.id)))


def test_activity_is_one_query_and_only_for_them(support_client):
    def queries():
        statements = []

        def wrapper(execute, sql, params, many, context):
            statements.append(sql)
            return execute(sql, params, many, context)

        with connections["agents"].execute_wrapper(wrapper):
            get(support_client)
        return len([sql for sql in statements if '"agents"' in sql and sql.startswith("SELECT")])

    for name in "abc":
        make_session(make_agent(name))
    get(support_client)
    before = queries()
    for _ in range(3):
        make_session(make_agent("Help"))
    assert queries() == before + 1
