"""Relative times stay current while a page is open."""

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from ..support.factories import make_agent, make_message, make_session
from .steps import field, open_list, wait_for_query

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def agent():
    return make_agent("Bank")


def talked(agent, ago: timedelta, words="hello"):
    at = timezone.now() - ago
    session = make_session(agent, created_at=at, updated_at=at)
    make_message(session, content=words, created_at=at)
    return session


def shown(page):
    return page.locator(".row .when > time")


def pass_time(page, milliseconds):
    """Move the clock, but only once no request is pending: the clock also moves their timeouts."""
    expect(page.locator("#counts[hx-get], .htmx-request")).to_have_count(0)
    page.clock.fast_forward(milliseconds)


def hide(page, state: str):
    page.evaluate(
        """(state) => {
            const now = { value: state, configurable: true };
            Object.defineProperty(document, "visibilityState", now);
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        state,
    )


def test_just_now_becomes_minutes_ago(page, agent):
    talked(agent, timedelta(seconds=2))
    talked(agent, timedelta(minutes=59))
    talked(agent, timedelta(hours=23, minutes=59))
    page.clock.install()
    open_list(page)
    expect(shown(page)).to_have_text(["just now", "59 minutes ago", "23 hours ago"])
    pass_time(page, 60_000)
    expect(shown(page)).to_have_text(["1 minute ago", "1 hour ago", "1 day ago"])
    pass_time(page, 120_000)
    expect(shown(page).first).to_have_text("3 minutes ago")
    expect(page.locator(".row .when small").first).to_have_text("created 3 minutes ago")
    # The exact time does not change.
    assert "UTC" in shown(page).first.get_attribute("title")


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_browser_whose_clock_is_off_counts_from_what_the_server_said(page, agent, hours):
    talked(agent, timedelta(seconds=2))
    talked(agent, timedelta(minutes=7))
    page.clock.install(time=timezone.now() + timedelta(hours=hours))
    open_list(page)
    expect(shown(page)).to_have_text(["just now", "7 minutes ago"])
    pass_time(page, 180_000)
    expect(shown(page)).to_have_text(["3 minutes ago", "10 minutes ago"])


def test_times_in_fragments_stay_current_too(page, agent):
    talked(agent, timedelta(seconds=2), "refund")
    page.clock.install()
    open_list(page)
    pass_time(page, 300_000)
    expect(shown(page)).to_have_text("5 minutes ago")
    field(page, "Search").press_sequentially("refund")
    wait_for_query(page, search="refund")
    # Only the browser's clock has moved, not the server's.
    expect(shown(page)).to_have_text("just now")
    pass_time(page, 120_000)
    expect(shown(page)).to_have_text("2 minutes ago")


def test_a_hidden_page_updates_times_when_it_is_visible_again(page, agent):
    talked(agent, timedelta(seconds=2))
    page.clock.install()
    open_list(page)
    hide(page, "hidden")
    pass_time(page, 600_000)
    expect(shown(page)).to_have_text("just now")
    hide(page, "visible")
    expect(shown(page)).to_have_text("10 minutes ago")
