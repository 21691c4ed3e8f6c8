"""Conversations that arrive while the list is open are announced, and shown on a click."""

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from ..support.factories import make_message
from .steps import LIST, assert_not_reloaded, field, open_list, said, talk, wait_for_query

pytestmark = pytest.mark.django_db(transaction=True)


def ask(page):
    """Do now what the page does every 15 seconds while it is visible."""
    with page.expect_response("**/conversations/new/**") as response:
        page.evaluate("document.dispatchEvent(new Event('refresh'))")
    assert response.value.request.headers["x-refresh"] == "1"


def announced(page):
    return page.locator(".new a")


def test_new_conversations_are_announced_without_moving_rows_and_shown_on_a_click(page, talks):
    open_list(page)
    ask(page)
    expect(announced(page)).to_have_count(0)
    rows = page.locator(".row")
    expect(page.locator(".problems .number").first).to_be_visible()
    before = rows.evaluate_all("(all) => all.map((one) => one.getBoundingClientRect().top)")
    talk("just arrived")
    ask(page)
    expect(announced(page)).to_have_text("1 new")
    expect(said(page)).to_have_text(["refund please", "refuse to pay", "reference number"])
    after = rows.evaluate_all("(all) => all.map((one) => one.getBoundingClientRect().top)")
    assert after == before
    talk("and another")
    ask(page)
    expect(announced(page)).to_have_text("2 new")
    with page.expect_request("**/conversations/**") as request:
        announced(page).click()
    assert "x-refresh" not in request.value.headers
    expect(said(page).nth(0)).to_have_text("and another")
    expect(said(page)).to_have_count(5)
    expect(announced(page)).to_have_count(0)
    ask(page)
    expect(announced(page)).to_have_count(0)
    page.wait_for_url("**/conversations/")
    assert_not_reloaded(page)


def test_only_conversations_that_match_the_filters_are_announced(page, talks):
    open_list(page)
    field(page, "Search").press_sequentially("refund")
    wait_for_query(page, search="refund")
    talk("something else")
    ask(page)
    expect(announced(page)).to_have_count(0)
    talk("another refund")
    ask(page)
    expect(announced(page)).to_have_text("1 new")
    announced(page).click()
    expect(said(page)).to_have_text(["another refund", "refund please"])
    wait_for_query(page, search="refund")
    expect(field(page, "Search")).to_have_value("refund")
    assert_not_reloaded(page)


def test_an_empty_list_announces_its_first_conversation(page):
    open_list(page)
    expect(page.get_by_role("heading", name="No conversations yet")).to_be_visible()
    now = timezone.now()
    talk("the first", created_at=now, updated_at=now)
    ask(page)
    expect(announced(page)).to_have_text("1 new")
    announced(page).click()
    expect(said(page)).to_have_text(["the first"])


def test_an_older_page_announces_nothing(page, talks):
    open_list(page, "?after=4102444800000000.00000000000000000000000000000000")
    expect(said(page)).to_have_count(3)
    expect(page.locator(".new")).to_have_count(0)


def test_the_announcement_is_read_out(page, talks):
    open_list(page)
    talk("just arrived")
    ask(page)
    expect(page.get_by_role("status").filter(has_text="1 new")).to_be_visible()


def test_a_failed_request_announces_nothing(page, watch, talks):
    page.route("**/conversations/new/**", lambda route: route.fulfill(status=503, body="broken"))
    open_list(page)
    with page.expect_event("console"):
        ask(page)
    watch.expect_status(503)
    expect(page.locator(".new")).to_have_text("")
    expect(said(page)).to_have_count(3)
    assert page.url.endswith(LIST)
    make_message(talk("later"), content="later still")
    page.unroute_all()
    ask(page)
    expect(announced(page)).to_have_text("1 new")
