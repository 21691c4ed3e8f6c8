"""Pages of the list: the numbers of their rows, and the links to older and newer pages."""

import re
import uuid
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from django.db import OperationalError
from psycopg.errors import QueryCanceled

from conversations.listing import pages, views
from conversations.selection.pagination import HIGHEST_ID, Cursor

from ..support.factories import make_agent, make_message, make_run, make_session
from ..support.listing import COUNTS, be_patient, listed
from ..support.pages import HTMX, LIST, get, text, words
from ..support.tables import sql

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
FRAGMENT = {**HTMX, "HX-Target": "main#browse"}
FILTERS = [
    {},
    {"problem": "failed"},
    {"search": "needle"},
    {"end_date": "2026-06-02"},
    {"external_id": "key"},
    {"search": "key-"},
]


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    be_patient(monkeypatch)
    monkeypatch.setattr(views.ConversationListView, "page_size", 3)


@pytest.fixture
def made():
    """The ids of ten conversations, newest first."""
    agent, found = make_agent(), []
    for number in range(10):
        at = NOON - timedelta(hours=number // 2)
        session = make_session(
            agent, external_id=f"key-{number}", created_at=NOON - timedelta(1), updated_at=at
        )
        make_run(session, output_data=None)
        make_message(session, content="needle")
        found.append((at, session.id))
    return [pk for _, pk in sorted(found, reverse=True)]


@pytest.fixture(params=[{}, FRAGMENT], ids=["page", "fragment"])
def open_page(request, support_client):
    def opened(address):
        return support_client.get(address, headers=request.param, follow=True)

    return opened


def address(response, rel) -> str | None:
    found = re.search(rf'rel="{rel}" href="([^"]+)"', response.content.decode())
    return found and LIST + unescape(found[1])


def position(response) -> str:
    found = re.search(r'<p class="position">(.*?)</p>', response.content.decode(), re.DOTALL)
    return words(found[1]) if found else ""


def moved(response) -> str:
    found = re.search(r'<p class="hint moved" role="note">(.*?)</p>', response.content.decode())
    return words(found[1]) if found else ""


def active_now(session_id):
    sql("UPDATE sessions SET updated_at = %s WHERE id = %s", [NOON + timedelta(1), session_id])


@pytest.mark.parametrize("filters", FILTERS)
def test_pages_are_numbered_down_to_the_end_and_up_again(support_client, made, open_page, filters):
    page = get(support_client, **filters)
    seen = [position(page).split(" ")[0]]
    while older := address(page, "next"):
        page = open_page(older)
        seen.append(position(page).split(" ")[0])
    assert seen == ["1–3", "4–6", "7–9", "10"]
    assert listed(page) == made[9:]
    for first in (6, 3):
        page = open_page(address(page, "prev"))
        assert listed(page) == made[first : first + 3]
        assert position(page).split(" ")[0] == f"{first + 1}–{first + 3}"
        assert moved(page) == ""
    page = open_page(address(page, "prev"))
    assert listed(page) == made[:3]
    assert address(page, "prev") is None
    assert position(page).split(" ")[0] == "1–3"


def test_newer_leads_back_to_the_same_page(support_client, made):
    second = address(get(support_client), "next")
    third = address(support_client.get(second), "next")
    newer = support_client.get(address(support_client.get(third), "prev"))
    assert newer.status_code == 302
    assert newer["Location"] == second
    first = support_client.get(address(support_client.get(second), "prev"))
    assert first["Location"] == LIST


def test_a_fragment_pushes_the_pages_own_address(support_client, made):
    second = address(get(support_client), "next")
    third = support_client.get(address(support_client.get(second), "next"))
    response = support_client.get(address(third, "prev"), headers=FRAGMENT, follow=True)
    assert response["HX-Push-Url"] == second
    assert b"<html" not in response.content


def test_newer_keeps_the_filters(support_client, made):
    second = address(get(support_client, search="needle", evals="hidden"), "next")
    third = support_client.get(address(support_client.get(second), "next"))
    newer = support_client.get(address(third, "prev"))["Location"]
    assert newer == second
    assert "search=needle" in newer
    assert "evals=hidden" in newer


def test_the_total_is_beside_the_numbers_if_it_is_known(support_client, made, monkeypatch):
    assert position(get(support_client)) == "1–3 of 10"
    monkeypatch.setattr("conversations.listing.counts.UP_TO", 8)
    assert position(get(support_client)) == "1–3 of 8+"
    assert position(get(support_client, problem="failed")) == "1–3"


def test_counts_that_arrive_later_show_the_total(support_client, made):
    counts = get(support_client, COUNTS, headers=HTMX, problem="failed").content.decode()
    assert '<span id="of-total" hx-swap-oob="true">of 10</span>' in counts
    page = get(support_client, problem="failed").content.decode()
    assert '<span id="of-total"></span>' in page


def test_one_page_needs_no_numbers(support_client):
    make_session()
    page = get(support_client)
    assert position(page) == ""
    assert 'class="pages"' not in page.content.decode()


def test_old_addresses_without_numbers_still_work(support_client, made, open_page):
    page = get(support_client)
    at, row_id, *_ = page.context["next_cursor"].split(".")
    page = open_page(f"{LIST}?after={at}.{row_id}")
    assert listed(page) == made[3:6]
    assert position(page) == moved(page) == ""
    page = open_page(address(page, "next"))
    assert listed(page) == made[6:9]
    assert position(page) == ""
    assert listed(open_page(address(page, "prev"))) == made[3:6]


def test_an_older_page_says_how_many_conversations_moved_up(support_client, made, open_page):
    older = address(get(support_client), "next")
    active_now(made[8])
    page = open_page(older)
    assert moved(page) == (
        "1 conversation has arrived or moved up since you opened the list, so rows are numbered as "
        "they were then. Show the newest"
    )
    assert position(page).startswith("4–6")
    make_session(updated_at=NOON + timedelta(2))
    page = open_page(address(page, "next"))
    assert moved(page).startswith("2 conversations have arrived")
    assert listed(page) == [made[6], made[7], made[9]]


def test_only_matching_conversations_count_as_moved(support_client, made):
    older = address(get(support_client, problem="failed"), "next")
    make_session(updated_at=NOON + timedelta(2))
    assert moved(support_client.get(older)) == ""


def test_the_number_of_moved_conversations_has_a_limit(support_client, made, monkeypatch):
    monkeypatch.setattr("conversations.listing.open_page.UP_TO", 2)
    older = address(get(support_client), "next")
    for pk in made[5:8]:
        active_now(pk)
    assert moved(support_client.get(older)).startswith("More than 2 conversations have")


def test_new_arrivals_do_not_change_the_numbers(support_client, made, open_page):
    second = support_client.get(address(get(support_client), "next"))
    agent = make_agent()
    new = [make_session(agent, updated_at=NOON + timedelta(hours=n)).id for n in (2, 1)]
    page = open_page(address(second, "prev"))
    assert listed(page) == made[:3]
    assert position(page).startswith("1–3")
    assert moved(page).startswith("2 conversations have")
    page = open_page(address(page, "prev"))
    assert listed(page) == [*new, made[0]]
    assert moved(page) == ""


def test_more_may_come_in_than_there_are_numbers(support_client, made, open_page):
    agent = make_agent()
    for hours in range(1, 6):
        make_session(agent, updated_at=NOON + timedelta(hours=hours))
    page = open_page(f"{LIST}?before={Cursor(NOON, made[0], 1, NOON)}")
    assert page.status_code == 200
    assert listed(page)[-1] == made[0]
    assert position(page) == ""


def test_a_page_after_the_end_links_to_the_newest(support_client, made, open_page):
    page = open_page(f"{LIST}?after={Cursor(NOON - timedelta(9), uuid.uuid4(), 10, NOON)}")
    assert "No older conversations" in text(page)
    page = open_page(address(page, "prev"))
    assert listed(page) == made[7:]
    assert position(page).startswith("8–10")


def test_numbers_continue_when_looking_further_back(support_client, made, monkeypatch):
    first, second = made[0], made[6]
    reached = Cursor(NOON - timedelta(hours=2, minutes=30), uuid.UUID(int=0))

    def find(matching, cursor, limit, seconds):
        at = NOON if cursor is None else NOON - timedelta(hours=3)
        return [Cursor(at, first if cursor is None else second)], None if cursor else reached

    monkeypatch.setattr(views, "find", find)
    page = get(support_client, search="needle")
    assert "Look further back" in text(page)
    assert position(page) == "1"
    page = support_client.get(address(page, "next"))
    assert position(page) == "2"


def test_a_newer_page_that_takes_too_long_says_so(support_client, made, monkeypatch):
    def timed_out(*args):
        raise OperationalError from QueryCanceled()

    monkeypatch.setattr(views, "newer_page", timed_out)
    response = get(support_client, before=Cursor(NOON, uuid.uuid4()), search="needle", status=503)
    assert response.context["retry"].startswith(LIST)


def test_rows_behind_the_end_of_a_page_are_numbered_later():
    shown = [Cursor(NOON - timedelta(hours=n), uuid.uuid4()) for n in (1, 2, 9)]
    end = Cursor(NOON - timedelta(hours=5), HIGHEST_ID)
    assert pages.next_cursor(None, end, shown).number == 2
    assert pages.next_cursor(Cursor(NOON, HIGHEST_ID, 30), end, shown).number == 32
    assert pages.next_cursor(None, shown[-1], shown).number == 3
