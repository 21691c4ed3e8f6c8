"""Home in a browser: its parts load after the page, and charts show their numbers."""

from datetime import timedelta

import pytest
from playwright.sync_api import expect

from ..support.factories import NULL, make_agent, make_message, make_run, make_session
from ..support.figures import last_quarter, roll_up
from .steps import query_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rolled_up():
    agent = make_agent("Shop")
    for days in (1, 2):
        at = last_quarter() - timedelta(days=days)
        for number in range(days * 2):
            session = make_session(agent, created_at=at, updated_at=at)
            make_message(session, created_at=at)
            make_run(session, created_at=at, **({"output_data": NULL} if number else {}))
    roll_up()


def test_the_parts_of_home_load_after_it_and_a_period_can_be_chosen(page, rolled_up):
    page.goto("/")
    expect(page.locator(".tiles")).to_be_visible()
    expect(page.locator(".to-come")).to_have_count(0)
    expect(page.locator("#charts .chart")).to_have_count(6)
    page.get_by_role("link", name="7 days", exact=True).click()
    expect(page.locator("#charts [aria-current]")).to_have_text("7 days")
    assert query_of(page)["period"] == "7d"
    page.reload()
    expect(page.locator("#charts [aria-current]")).to_have_text("7 days")


def test_a_bar_shows_its_number_on_hover_and_on_focus(page, rolled_up):
    page.goto("/home/charts/?period=7d")
    bars = page.locator(".chart").first.locator("a:has(.piece)")
    values = bars.locator(".value")
    expect(bars).to_have_count(2)
    expect(values.first).to_be_hidden()
    bars.first.hover()
    expect(values.first).to_be_visible()
    expect(values.first).to_have_text("4")
    page.mouse.move(0, 0)
    bars.last.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    expect(values.last).to_be_visible()
    expect(values.last).to_have_text("2")
    page.keyboard.press("Enter")
    expect(page.locator(".rows > li")).to_have_count(2)


def test_without_javascript_home_links_to_its_parts(new_context, session_cookie, rolled_up):
    context, _ = new_context(session_cookie, java_script_enabled=False)
    page = context.new_page()
    for name, shown in [
        ("Today and the last 7 days", ".tiles"),
        ("Now", ".rows"),
        ("Rising errors", "#rising"),
        ("Over time", ".chart"),
    ]:
        page.goto("/")
        expect(page.get_by_text("Loading…").filter(visible=True)).to_have_count(0)
        page.get_by_role("main").get_by_role("link", name=name).click()
        expect(page.locator(shown).first).to_be_visible()
    page.get_by_role("link", name="7 days", exact=True).click()
    expect(page.locator("#charts [aria-current]")).to_have_text("7 days")
