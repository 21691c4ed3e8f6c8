"""Signing in and out, and the whole site without JavaScript."""

import re

import pytest
from playwright.sync_api import expect

from ..support.factories import Json, make_agent, make_message, make_run, make_session, make_task
from ..support.signing_in import make_user
from .steps import sign_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def support(_rows):
    return make_user("support")


def test_signing_in_leads_to_the_page_that_was_asked_for(new_context, support):
    make_message(make_session(), content="Hello")
    context, _ = new_context()
    page = context.new_page()
    page.goto("/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    sign_in(page, "support", "wrong")
    expect(page.get_by_role("alert")).to_be_visible()
    sign_in(page, "support")
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
    expect(page.get_by_text("support", exact=True)).to_be_visible()


def test_signing_in_returns_to_the_requested_page(new_context, support):
    make_message(make_session(external_id="mine"), content="Hello")
    context, _ = new_context()
    page = context.new_page()
    page.goto("/conversations/?external_id=mine&search=Hello")
    sign_in(page, "support")
    page.wait_for_url(re.compile(r"/conversations/\?external_id=mine&search=Hello$"))
    expect(page.locator(".row")).to_have_count(1)


def test_signing_out_ends_the_session(page):
    page.goto("/conversations/")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(re.compile("/accounts/login/"))
    page.goto("/conversations/")
    page.wait_for_url(re.compile("/accounts/login/"))


@pytest.mark.slow
def test_everything_works_without_javascript(new_context, support):
    shop = make_agent("Shop")
    session = make_session(shop, external_id="ticket-7")
    run = make_run(session, input_data=Json({"user_message": "A refund please"}))
    make_message(session, content="A refund please", run_id=run.id)
    make_task(run, session, "look-up", seq=0, output=Json({"order": "seventeen"}))
    make_message(make_session(make_agent("Bank")), content="Another refund")

    context, _ = new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto("/conversations/")
    sign_in(page, "support")
    expect(page.locator(".row")).to_have_count(2)
    filters = page.locator("#filters")
    filters.get_by_label("Search", exact=True).fill("refund")
    filters.get_by_label("Agent").select_option("Shop")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator(".row")).to_have_count(1)
    expect(filters.get_by_label("Search", exact=True)).to_have_value("refund")
    page.get_by_role("link", name="Remove the filter Agent").click()
    expect(page.locator(".row")).to_have_count(2)
    page.locator(".row", has_text="Shop").click()
    expect(page.get_by_role("heading", name="ticket-7")).to_be_visible()
    expect(page.locator(".message .text")).to_have_text("A refund please")
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    page.locator("details.work > summary").click()
    page.get_by_role("link", name="Open this run").click()
    page.locator(".payloads summary").first.click()
    page.get_by_role("link", name="Open input").click()
    expect(page.get_by_role("heading", name="Input")).to_be_visible()
    expect(page.locator(".json .string")).to_have_text("A refund please")
    page.get_by_role("link", name="The run").click()
    page.locator(".step-list summary").click()
    page.get_by_role("link", name="Open this task").click()
    expect(page.get_by_role("heading", name="look-up")).to_be_visible()
    expect(page.locator(".json .string")).to_have_text("seventeen")
    page.get_by_role("link", name="Show raw").click()
    expect(page.locator("body")).to_contain_text('{"order": "seventeen"}')
    page.go_back()
    page.get_by_role("link", name="The conversation").click()
    page.get_by_role("link", name="All conversations").click()
    expect(page.locator(".row")).to_have_count(2)
    page.get_by_role("button", name="Sign out").click()
    page.goto("/conversations/")
    page.wait_for_url(re.compile("/accounts/login/"))
