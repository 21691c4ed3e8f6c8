"""Large and odd data in a real browser: pages show all of it, log no errors and are accessible."""

import pytest
from playwright.sync_api import expect

from ..support.factories import (
    Json,
    add_messages,
    add_runs,
    add_tasks,
    make_message,
    make_run,
    make_session,
    make_task,
)
from .flaws import AXE, barriers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def assert_accessible(page):
    page.evaluate(AXE)
    assert barriers(page) == []


def test_three_thousand_messages_load_while_scrolling(page, watch):
    session = make_session()
    add_runs(session, 300)
    add_messages(session, 10)
    page.goto(f"/conversations/{session.id}/?from=0")
    messages = page.locator("article.message")
    first = messages.count()
    assert first < 100
    assert_accessible(page)
    for _ in range(3):
        shown = messages.count()
        page.locator(".more").last.scroll_into_view_if_needed()
        expect(messages).not_to_have_count(shown)
    ids = messages.evaluate_all("(all) => all.map((one) => one.id)")
    assert len(ids) == len(set(ids)) > 3 * first
    assert_accessible(page)


def test_a_run_of_five_thousand_tasks_opens(page):
    session = make_session()
    add_runs(session, 1)
    add_tasks(session, 5000)
    page.goto(f"/conversations/{session.id}/")
    page.locator(".work > summary").click()
    tasks = page.locator(".step-list li")
    expect(tasks).to_have_count(200)
    page.get_by_role("link", name="More steps").click()
    expect(tasks).to_have_count(400)
    assert_accessible(page)


def test_large_deep_and_odd_values_open(page):
    session = make_session(external_id="")
    run = make_run(session, context="[" * 600 + "]" * 600, output_data=Json("x" * 5_000_000))
    make_message(session, content="y" * 1_000_000, run_id=run.id)
    for errors in (["a", ["b"]], "text", {"code": 1}, 42, False, "", {}, [None]):
        make_task(run, session, name="", node_type=None, errors=Json(errors))
    page.goto(f"/conversations/{session.id}/")
    page.locator(".work > summary").click()
    folded = page.locator(".payloads > details > summary")
    expect(folded).to_have_count(3)
    for summary in folded.all():
        summary.click()
    expect(page.locator(".payloads .json")).to_have_count(3)
    for number in range(8):
        page.locator(".step-list li > details > summary").nth(number).click()
    expect(page.locator(".task .errors")).to_have_count(8)
    page.get_by_text("Show all 1,000,000 characters").click()
    expect(page.locator(".whole")).to_be_visible()
    assert_accessible(page)
