"""What users see when their sign-in, the database, the network or our code fails."""

import re

import pytest
from django.db import OperationalError
from playwright.sync_api import expect

from conversations.listing import views

from ..support.factories import make_conversation
from ..support.listing import timed_out
from .steps import LIST, assert_not_reloaded, field, open_list, said, sign_in, wait_for_query

pytestmark = pytest.mark.django_db(transaction=True)


def test_after_the_sign_in_expired_users_return_to_the_filtered_list(page, context, talks):
    # Wait for the list's own requests, which still need the cookie.
    with page.expect_response(re.compile("/counts/")):
        open_list(page, f"?agent={talks['Bank'].id}")
    page.wait_for_load_state("networkidle")
    context.clear_cookies(name="desk_session")
    field(page, "Search").fill("refuse")
    page.wait_for_url(re.compile(r"/accounts/login/\?next="))
    expect(page.locator("#filters")).to_have_count(0)
    expect(page.locator("form.sign-in")).to_have_count(1)
    sign_in(page, "support")
    wait_for_query(page, agent=str(talks["Bank"].id), search="refuse")
    expect(said(page)).to_have_count(1)
    expect(field(page, "Search")).to_have_value("refuse")
    expect(field(page, "Agent").locator("option:checked")).to_have_text("Bank")


def unreachable(*args):
    raise OperationalError


@pytest.mark.parametrize(
    ("failure", "title"),
    [(timed_out, "That took too long"), (unreachable, "The database is not responding")],
)
def test_a_failure_of_the_database_leaves_the_filters_in_place(
    page, watch, talks, monkeypatch, failure, title
):
    open_list(page, f"?agent={talks['Bank'].id}")
    search = field(page, "Search")
    with monkeypatch.context() as broken:
        broken.setattr(views, "find", failure)
        search.press_sequentially("refuse")
        expect(page.get_by_role("heading", name=title)).to_be_visible()
    watch.expect_status(503)
    expect(page.locator("#results .notice")).to_have_count(1)
    expect(search).to_have_value("refuse")
    expect(search).to_be_focused()
    expect(field(page, "Agent").locator("option:checked")).to_have_text("Bank")
    expect(page.locator(".row")).to_have_count(0)
    assert_not_reloaded(page)
    page.get_by_role("link", name="Try again").click()
    expect(said(page)).to_have_text(["refuse to pay"])
    expect(search).to_have_value("refuse")


def test_the_list_recovers_from_a_failure_when_the_user_types_on(page, watch, talks, monkeypatch):
    open_list(page)
    search = field(page, "Search")
    with monkeypatch.context() as broken:
        broken.setattr(views, "find", unreachable)
        search.press_sequentially("refu")
        expect(page.locator("#results .notice")).to_be_visible()
    watch.expect_status(503)
    search.press_sequentially("nd")
    expect(said(page)).to_have_text(["refund please"])
    expect(page.locator(".notice")).to_have_count(0)
    assert_not_reloaded(page)


def test_a_bug_of_ours_leaves_the_filters_in_place(page, watch, talks, monkeypatch):
    def broken(*args):
        raise ZeroDivisionError

    open_list(page)
    monkeypatch.setattr(views, "find", broken)
    field(page, "Search").press_sequentially("refund")
    expect(page.get_by_role("heading", name="Something broke on our side")).to_be_visible()
    watch.expect_status(500)
    expect(field(page, "Search")).to_have_value("refund")


def test_without_a_network_filters_and_typed_text_stay(page, watch, talks):
    open_list(page)
    page.route(lambda url: "search=refund" in url, lambda route: route.abort())
    search = field(page, "Search")
    with page.expect_event("requestfailed"):
        search.press_sequentially("refund")
    page.wait_for_timeout(200)
    expect(search).to_have_value("refund")
    expect(page.locator("#filters")).to_have_count(1)
    page.unroute_all()
    search.press("Enter")
    expect(said(page)).to_have_text(["refund please"])
    assert len(watch.complaints) == 2
    watch.complaints.clear()


def test_a_malformed_cursor_gets_a_page_in_our_style(page, watch, talks):
    page.goto(f"{LIST}?after=made-up")
    watch.expect_status(400)
    expect(page.get_by_role("heading", name="This address is not valid")).to_be_visible()
    page.get_by_role("link", name="All conversations").click()
    expect(said(page)).to_have_count(3)


@pytest.mark.parametrize(
    "path", ["/nowhere", "/conversations/00000000-0000-0000-0000-000000000000/"]
)
def test_an_unknown_address_gets_a_page_in_our_style(page, watch, talks, path):
    response = page.goto(path)
    assert response.status == 404
    watch.expect_status(404)
    expect(page.get_by_role("heading", name="Nothing at this address")).to_be_visible()
    expect(page.locator(".notice")).to_have_css("text-align", "center")
    page.get_by_role("link", name="All conversations").click()
    expect(said(page)).to_have_count(3)


def test_an_empty_list_says_so(page):
    open_list(page)
    expect(page.get_by_role("heading", name="No conversations yet")).to_be_visible()
    make_conversation()
    page.reload()
    expect(page.locator(".row")).to_have_count(1)
