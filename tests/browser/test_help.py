"""Finding an answer: from any page to Help, to a document, and to a section of another one."""

import re

import pytest
from playwright.sync_api import expect

from .flaws import AXE, barriers, overflow

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]


def test_a_link_to_a_section_of_another_document_shows_that_section(any_page):
    any_page.goto("/conversations/")
    any_page.get_by_role("link", name="Help", exact=True).click()
    expect(any_page).to_have_title("Help · Conversation Desk")
    any_page.get_by_role("link", name="Export", exact=True).click()
    expect(any_page).to_have_title("Export · Help · Conversation Desk")
    any_page.get_by_role("link", name="streaming replica").click()
    expect(any_page).to_have_url(re.compile(r"/help/operating/#replicas$"))
    heading = any_page.get_by_role("heading", name="Replicas", exact=True)
    expect(heading).to_be_in_viewport()
    # Not hidden by the bar, which stays in view.
    bar = any_page.locator(".bar").bounding_box()
    assert heading.bounding_box()["y"] >= bar["y"] + bar["height"]


def test_a_wide_table_scrolls_by_itself_and_by_keyboard(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/help/security/")
    table = page.get_by_role("group", name="Table").first
    table.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("(box) => box.scrollLeft > 0", arg=table.element_handle())
    assert page.evaluate("scrollX") == 0


@pytest.mark.parametrize("path", ["/help/", "/help/operating/"])
def test_at_320_pixels_buttons_are_large_enough_and_nothing_overflows(page, path):
    page.goto(path)
    page.evaluate(AXE)
    for width in (1440, 390, 320):
        page.set_viewport_size({"width": width, "height": 844})
        assert barriers(page, "target-size") == []
        assert overflow(page) == []
