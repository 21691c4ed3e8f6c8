"""The page of an agent in a browser: its parts load, and its workflow can be seen and reached."""

import pytest
from playwright.sync_api import expect

from ..support.factories import Json, make_agent, make_run, make_session, make_task
from ..support.figures import roll_up
from ..support.workflows import ALL_TYPES
from .flaws import SIZES

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def agent():
    agent = make_agent("Shop", workflow=Json(ALL_TYPES))
    session = make_session(agent)
    make_task(make_run(session), session, "begin", "start")
    roll_up()
    return agent


@pytest.fixture
def page(new_context, session_cookie, agent):
    context, _ = new_context(session_cookie)
    page = context.new_page()
    page.set_viewport_size(SIZES[1])
    page.goto(f"/agents/{agent.id}/")
    expect(page.locator(".to-come")).to_have_count(0)
    return page


def test_on_a_small_screen_a_drawing_begins_where_the_workflow_begins(page):
    box = page.locator(".drawing").bounding_box()
    first = page.locator(".workflow .node").first.bounding_box()
    assert box["x"] <= first["x"]
    assert first["x"] + first["width"] <= box["x"] + box["width"]
    # It would not be seen otherwise.
    page.evaluate("document.querySelector('.drawing').scrollLeft = 0")
    first = page.locator(".workflow .node").first.bounding_box()
    assert first["x"] + first["width"] > box["x"] + box["width"]


def test_the_keyboard_scrolls_a_drawing_and_opens_a_node(page, agent):
    drawing = page.locator(".drawing")
    before = drawing.evaluate("(one) => one.scrollLeft")
    drawing.focus()
    page.keyboard.press("ArrowLeft")
    expect(drawing).to_be_focused()
    page.wait_for_function(
        "(before) => document.querySelector('.drawing').scrollLeft < before", arg=before
    )
    page.keyboard.press("Tab")
    link = page.evaluate("document.activeElement.getAttribute('href')")
    assert "node=begin" in link
    assert f"agent={agent.id}" in link


def test_another_period_replaces_the_part_alone(page):
    page.locator("#workflow").get_by_role("link", name="7 days").click()
    current = page.locator("#workflow nav [aria-current]")
    expect(current).to_have_text("7 days")
    assert page.url.endswith("/?period=7d&tz=UTC")
    expect(page.locator("#charts nav [aria-current]")).to_have_text("30 days")
