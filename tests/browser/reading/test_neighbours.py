"""The next conversation of the filtered list, and others of the same person."""

import pytest
from playwright.sync_api import expect

from ...support.factories import make_agent, make_session
from .transcript import address

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def test_keys_go_to_neighbours_in_the_filtered_list(page, filtered):
    page.goto("/conversations/?search=refund")
    page.locator("a.row", has_text="three").click()
    title = page.locator("h1")
    expect(title).to_have_text("three")
    for key, name in (("j", "two"), ("j", "one"), ("j", "one"), ("k", "two"), ("k", "three")):
        page.keyboard.press(key)
        expect(title).to_have_text(name)
        page.wait_for_url(f"**{address(filtered[name])}?search=refund")
    page.keyboard.press("k")
    page.wait_for_timeout(200)
    expect(title).to_have_text("three")
    page.go_back()
    expect(title).to_have_text("two")


def test_links_go_to_neighbours_in_the_filtered_list(any_page, filtered):
    page = any_page
    page.goto(address(filtered["two"], "?search=refund"))
    walk = page.locator(".walk a")
    expect(walk).to_have_text(["Newer", "Older"])
    page.get_by_role("link", name="Older").click()
    expect(page.locator("h1")).to_have_text("one")
    expect(walk).to_have_text(["Newer"])
    page.get_by_role("link", name="Newer").click()
    expect(page.locator("h1")).to_have_text("two")
    page.get_by_role("link", name="Newer").click()
    expect(page.locator("h1")).to_have_text("three")
    expect(walk).to_have_text(["Older"])
    page.get_by_role("link", name="Back to the results").click()
    page.wait_for_url("**/conversations/?search=refund")


def test_a_link_shows_the_other_conversations_of_the_same_person(any_page):
    page = any_page
    first = make_session(make_agent("Shop"), external_id="person-1")
    second = make_session(make_agent("Bank"), external_id="person-1")
    make_session(make_agent("Cafe"), external_id="person-10")
    page.goto(address(first))
    others = page.locator(".same-person")
    expect(others.locator("h2")).to_have_text("Also from person-1")
    expect(others.get_by_role("link")).to_have_text(["All with this id", "Bank"])
    others.get_by_role("link", name="Bank").click()
    page.wait_for_url(f"**{address(second)}")
    expect(others.get_by_role("link")).to_have_text(["All with this id", "Shop"])
