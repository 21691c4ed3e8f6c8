"""Printing a conversation."""

import json
import re

import pytest
from playwright.sync_api import expect

from ..support.factories import make_message, make_run, make_session, make_task
from .test_conversation import address, conversation, open_run  # noqa: F401  # a fixture

pytestmark = pytest.mark.django_db(transaction=True)
AT = re.compile(r'"\d+ [A-Z][a-z][a-z] \d{4}, \d\d:\d\d:\d\d UTC"')
AFTER = "element => getComputedStyle(element, '::after').content"


def on_paper(page):
    page.emulate_media(media="print")


def test_opened_runs_are_printed_without_buttons(page, conversation):  # noqa: F811
    page.goto(address(conversation))
    on_paper(page)
    expect(page.locator("details.work")).to_be_hidden()
    page.emulate_media(media="screen")
    open_run(page)
    on_paper(page)
    expect(page.locator(".step-list li").first).to_be_visible()
    expect(page.locator(".step-list li")).to_have_count(4)
    for hidden in ("button", ".button", ".bar", ".tools", ".beside", ".files"):
        for each in page.locator(hidden).all():
            expect(each).to_be_hidden()
    page.emulate_media(media="screen")
    page.locator(".step-list details > summary").first.click()
    expect(page.locator(".step-list .task")).to_be_visible()
    on_paper(page)
    expect(page.locator(".step-list .task")).to_be_visible()
    expect(page.locator(".step-list li:visible")).to_have_count(4)


def test_paper_shows_dates_the_address_and_who_printed_it_when(page, conversation, live_server):  # noqa: F811
    page.goto(address(conversation))
    expect(page.get_by_text("Printed by support")).to_be_hidden()
    on_paper(page)
    told = page.get_by_text("Printed by support")
    expect(told).to_be_visible()
    expect(told).to_contain_text(f"{live_server.url}{address(conversation)}")
    for time in page.locator(".message header time").all():
        assert AT.fullmatch(time.evaluate(AFTER))


def test_the_time_on_paper_is_the_time_of_printing(page, conversation):  # noqa: F811
    page.goto(address(conversation))
    page.clock.set_fixed_time("2026-11-28T10:01:30Z")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(page.locator("[data-now]")).to_have_text("28 Nov 2026, 10:01:30 UTC")


def test_all_of_a_long_conversation_is_printed(page):
    session = make_session()
    run = make_run(session)
    make_task(run, session)
    for number in range(120):
        make_message(session, content=f"number {number}.", run_id=run.id)
    page.goto(f"/conversations/{session.id}/")
    page.get_by_role("link", name="Print").click()
    expect(page.locator(".message")).to_have_count(120)
    expect(page.get_by_role("button", name="Print")).to_be_visible()
    page.locator("details.work > summary").click()
    expect(page.locator(".step-list")).to_be_visible()
    on_paper(page)
    expect(page.locator(".step-list")).to_be_visible()
    expect(page.get_by_role("button", name="Print")).to_be_hidden()
    expect(page.locator(".message").last).to_be_visible()


def test_a_tree_that_is_cut_short_says_so(page):
    session = make_session()
    make_message(session, "assistant", json.dumps([0] * 600))
    page.goto(f"/conversations/{session.id}/")
    expect(page.get_by_role("link", name="Open the whole message")).to_be_visible()
    on_paper(page)
    expect(page.get_by_text("Not all of it is shown.")).to_be_visible()
    page.goto(f"/conversations/{session.id}/print/")
    expect(page.locator(".json .number:visible")).to_have_count(600)


def test_paper_says_what_was_not_loaded(new_context, session_cookie):
    session = make_session()
    for number in range(120):
        make_message(session, content=f"number {number}. " + "x" * 5000 * (number == 3))
    context, _ = new_context(session_cookie, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"/conversations/{session.id}/?from=0")
    on_paper(page)
    expect(page.get_by_text("are not printed here")).to_be_visible()
    expect(page.get_by_text("are not printed here")).to_contain_text(f"/{session.id}/print/")
    expect(page.get_by_text("Show all")).to_be_hidden()
    rest = page.get_by_text("The rest of this message is not printed here")
    expect(rest).to_be_visible()
    expect(rest).to_contain_text(f"/{session.id}/messages/")
    page.goto(f"/conversations/{session.id}/print/")
    expect(page.locator(".message")).to_have_count(120)
    expect(page.get_by_text("not printed")).to_have_count(0)
