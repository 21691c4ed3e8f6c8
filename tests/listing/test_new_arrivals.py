"""The number of conversations that arrived or moved up since the list was loaded."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from conversations.selection.pagination import Cursor

from ..support.factories import Json, make_agent, make_message, make_run, make_session, make_task
from ..support.listing import NEW, be_patient, slowed
from ..support.pages import HTMX, get

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    be_patient(monkeypatch)


@pytest.fixture
def agent():
    return make_agent()


def new(client, since, **filters) -> str:
    number = get(client, NEW, headers=HTMX, since=since, **filters).json()["new"]
    return number and f"{number} new"


def newest(client, **filters) -> str:
    """The cursor of the newest row, as the list has it now."""
    return get(client, **filters).context["newest"]


def test_without_new_conversations_the_number_is_empty(support_client, agent):
    assert new(support_client, newest(support_client)) == ""
    make_session(agent)
    assert new(support_client, newest(support_client)) == ""


def test_the_list_asks_with_the_cursor_of_its_newest_row(support_client, agent):
    session = make_session(agent, external_id="a&b")
    since = Cursor(session.updated_at, session.id)
    html = get(support_client, external_id="a&").content.decode()
    assert f'data-watch="{NEW}?external_id=a%26&amp;since={since}"' in html
    assert 'class="new"' in html
    older = get(support_client, after=since).content.decode()
    assert 'class="new"' not in older


def test_new_and_newly_active_conversations_count(support_client, agent):
    now = timezone.now()
    make_session(agent, updated_at=now)
    since = newest(support_client)
    make_session(agent, updated_at=now + timedelta(microseconds=1))
    make_session(agent, created_at=now - timedelta(days=9), updated_at=now + timedelta(1))
    make_session(agent, created_at=now + timedelta(1), updated_at=now - timedelta(1))
    assert new(support_client, since) == "2 new"


def test_at_the_same_moment_higher_ids_count_as_new(support_client, agent):
    now = timezone.now()
    ids = sorted(uuid.uuid4() for _ in range(3))
    for each in ids:
        make_session(agent, id=each, updated_at=now)
    since = [Cursor(now, each) for each in ids]
    assert [new(support_client, each) for each in since] == ["2 new", "1 new", ""]


def test_an_empty_list_counts_from_the_time_it_was_loaded(support_client, agent):
    since = newest(support_client)
    make_session(agent, updated_at=timezone.now() - timedelta(minutes=1))
    make_session(agent, updated_at=timezone.now())
    assert new(support_client, since) == "1 new"


def test_only_conversations_that_match_the_filters_count(support_client, agent):
    since = Cursor(timezone.now() - timedelta(days=1), uuid.UUID(int=0))
    session = make_session(agent, external_id="t-1")
    make_message(session, content="a needle")
    output = Json({"result": "Error: offline"})
    make_task(make_run(session), session, "restart", "tool_call", output=output)
    make_session(agent, external_id="eval:1")
    make_session()
    assert new(support_client, since) == "3 new"
    today = timezone.now().date()
    for filters, number in [
        ({"agent": agent.id}, "2 new"),
        ({"agent": agent.id, "evals": "hidden"}, "1 new"),
        ({"external_id": "t-"}, "1 new"),
        ({"search": "NEEDLE"}, "1 new"),
        ({"search": "offline"}, ""),
        ({"search": "offline", "scope": "all"}, "1 new"),
        ({"problem": "any"}, "1 new"),
        ({"problem": "tool_error", "search": "needle"}, "1 new"),
        ({"problem": "failed", "search": "needle"}, ""),
        ({"error": "restart: offline"}, "1 new"),
        ({"start_date": today - timedelta(days=1)}, "3 new"),
        ({"end_date": today - timedelta(days=2)}, ""),
    ]:
        assert new(support_client, since, **filters) == number, filters


def test_the_link_shows_the_newest_page_of_the_same_list(support_client):
    html = get(support_client, external_id="a&", problem="").content.decode()
    assert 'data-list="/conversations/?external_id=a%26"' in html


def test_the_number_ends_at_ninety_nine_plus(support_client, agent):
    since = newest(support_client)
    for _ in range(99):
        make_session(agent, updated_at=timezone.now())
    assert new(support_client, since) == "99 new"
    make_session(agent, updated_at=timezone.now())
    assert new(support_client, since) == "99+ new"


@pytest.mark.parametrize("since", ["", "x", "1", "1.0", "9" * 18 + "." + "0" * 32, "1.\0", "ü"])
def test_a_malformed_cursor_gets_a_400(support_client, agent, since):
    get(support_client, NEW, since=since, status=400)


def test_a_missing_cursor_gets_a_400(support_client):
    get(support_client, NEW, status=400)


@pytest.mark.parametrize("filters", [{"start_date": "soon"}, {"agnet": "1"}, {"search": "x"}])
def test_an_invalid_filter_finds_nothing_new(support_client, agent, filters):
    make_message(make_session(agent), content="x")
    since = Cursor(timezone.now() - timedelta(days=9), uuid.UUID(int=0))
    assert new(support_client, since, **filters) == ""


@pytest.mark.parametrize("filters", [{}, {"search": "needle"}, {"problem": "any"}])
def test_a_count_that_takes_too_long_is_empty(support_client, agent, monkeypatch, filters):
    monkeypatch.setattr("conversations.listing.open_page.SECONDS", 0.02)
    make_session(agent)
    since = Cursor(timezone.now() - timedelta(days=9), uuid.UUID(int=0))
    with slowed(r"updated_at. >=") as slow:
        assert new(support_client, since, **filters) == ""
    assert slow


@pytest.mark.parametrize("number", ["0002", "0004", "0005"])
def test_new_conversations_count_at_older_revisions(support_client, agent, at_revision, number):
    make_session(agent)
    at_revision(number)
    since = Cursor(timezone.now() - timedelta(days=9), uuid.UUID(int=0))
    assert new(support_client, since) == "1 new"
    assert new(support_client, since, problem="any") == ""
    assert new(support_client, since, search="needle", scope="all") == ""
