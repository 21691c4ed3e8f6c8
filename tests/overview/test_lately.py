"""What Home says of the time since its figures end."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import connections
from django.utils import timezone

from accounts.models import AgentLimit
from overview.models import Progress
from overview.periods import Span
from overview.quarters import QUARTER
from overview.rollup import lately

from ..support.expected_home import assert_lately_is_right
from ..support.factories import (
    NULL,
    make_agent,
    make_message,
    make_model_call,
    make_run,
    make_session,
)
from ..support.figures import NOW, last_quarter, list_links, listed, make_edges, roll_up
from ..support.pages import get, text

pytestmark = pytest.mark.django_db


def make_late(number=1, **fields):
    """Conversations with a message since the last full quarter of an hour."""
    at = {"created_at": last_quarter(), "updated_at": last_quarter()}
    sessions = [make_session(**at, **fields) for _ in range(number)]
    for session in sessions:
        make_message(session, **at)
    return sessions


def numbers(page) -> dict[str, str]:
    return {label: number.words for label, number in page.context["lately_numbers"]}


def test_it_counts_what_is_not_in_the_figures_yet(support_client):
    [session] = make_late(external_id="ann")
    make_message(session, created_at=last_quarter() - timedelta(microseconds=1))
    make_run(session, created_at=last_quarter(), output_data=NULL, duration_seconds=3)
    roll_up()
    page = get(support_client, NOW)
    assert numbers(page) == {
        "Conversations": "1",
        "Messages": "1",
        "People without an answer": "1",
        "Conversations with a problem": "1",
        "Time to an answer, median": "–",
        "Time to an answer, 95th percentile": "–",
        "Tokens": "0",
        "Cost of model calls": "$0",
    }
    assert f"Since {timezone.localtime(last_quarter()):%H:%M} as of" in text(page)


def test_what_happened_before_is_not_counted_again(support_client):
    before = {"created_at": last_quarter() - QUARTER}
    session = make_session(**before, updated_at=last_quarter())
    make_message(session, **before)
    make_run(session, **before, output_data=NULL, duration_seconds=3)
    make_model_call(session, created_at=last_quarter(), total_tokens=7)
    roll_up()
    found = numbers(get(support_client, NOW))
    assert {label: words for label, words in found.items() if words == "0"}.keys() == {
        "Conversations",
        "Messages",
        "People without an answer",
        "Conversations with a problem",
    }
    assert found["Tokens"] == "7"


def test_its_figures_are_those_of_sql_and_its_links_count_the_same(support_client):
    make_edges(last_quarter() + QUARTER, every=3)
    make_edges(last_quarter() - 2 * QUARTER, every=3)
    roll_up()
    Progress.objects.update(as_of=last_quarter() - 3 * QUARTER)
    page = get(support_client, NOW)
    span = page.context["lately"].span
    assert span == Span(last_quarter() - 3 * QUARTER, last_quarter() + QUARTER)
    assert_lately_is_right(span)
    found = [number for _, number in page.context["lately_numbers"] if number.conversations]
    assert len(found) == 3
    for number in found:
        assert number.link in list_links(page)
        assert listed(support_client, number.link) == number.conversations


def test_a_limit_to_agents_applies(support_client):
    shop, bank = make_agent("Shop"), make_agent("Bank")
    for agent in (shop, bank):
        make_late(agent=agent)
    roll_up()
    assert numbers(get(support_client, NOW))["Conversations"] == "2"
    AgentLimit.objects.create(group=Group.objects.get(name="Support"), agents=[shop.id])
    assert numbers(get(support_client, NOW))["Conversations"] == "1"


def test_more_than_can_be_read_is_not_counted(support_client, monkeypatch):
    monkeypatch.setattr(lately, "MOST", 2)
    at = {"created_at": last_quarter(), "updated_at": last_quarter()}
    for _ in range(2):
        make_run(make_session(**at), created_at=last_quarter())
    roll_up()
    assert numbers(get(support_client, NOW))["Conversations"] == "2"
    make_run(make_session(**at), created_at=last_quarter())
    page = get(support_client, NOW)
    assert page.context["lately_numbers"] == []
    assert "Too much is happening to count it right now." in text(page)


def test_too_slow_a_reading_leaves_the_rest_of_the_page(support_client, monkeypatch):
    def slow(span):
        with connections["agents"].cursor() as cursor:
            cursor.execute("SELECT pg_sleep(60)")

    [session] = make_late()
    make_run(session, output_data=NULL, duration_seconds=3)
    roll_up()
    monkeypatch.setattr("overview.rollup.lately.SECONDS", 0.2)
    monkeypatch.setattr(lately, "figures_of", slow)
    page = get(support_client, NOW)
    assert "Too much is happening to count it right now." in text(page)
    assert str(session.id) in page.content.decode()


def test_it_is_not_there_if_no_index_finds_messages_by_their_times(support_client, monkeypatch):
    make_late()
    roll_up()
    monkeypatch.setattr("overview.rollup.changes.state.is_ready", lambda name: False)
    assert get(support_client, NOW).context["lately"]
    with connections["agents_write"].cursor() as cursor:
        for column in ("agent_id", "session_id"):
            cursor.execute(f"DROP INDEX ix_chat_messages_{column}_created_at")
    page = get(support_client, NOW)
    assert page.context["lately"] is None
    assert "Since" not in text(page)


def test_figures_that_are_too_old_are_not_continued(support_client):
    make_late()
    assert get(support_client, NOW).context["lately"] is None
    roll_up()
    assert get(support_client, NOW).context["lately"]
    Progress.objects.update(as_of=timezone.now() - lately.LONGEST - QUARTER)
    page = get(support_client, NOW)
    assert page.context["lately"] is None
    assert "Since" not in text(page)
