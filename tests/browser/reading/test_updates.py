"""What an open page fetches when the conversation has changed."""

import pytest
from django.db import connections
from django.utils import timezone
from playwright.sync_api import expect

from ...support.factories import NULL, make_agent, make_message, make_run, make_session, make_task
from ..steps import asked
from .transcript import address, ids, ids_of, said

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

POLL = 4_100


@pytest.fixture
def running():
    """A conversation whose last run is unfinished."""
    session = make_session(make_agent("Shop"))
    for number in range(30):
        make_message(session, content=f"Before {number}. " * 20)
    session.run = make_run(
        session, output_data=NULL, duration_seconds=None, updated_at=timezone.now()
    )
    make_message(session, "user", "Where is it?", run_id=session.run.id)
    make_task(session.run, session, "look-up", seq=0)
    return session


def end(session):
    make_message(session, "assistant", "On its *way*.", run_id=session.run.id)
    with connections["agents_write"].cursor() as cursor:
        cursor.execute(
            "UPDATE runs SET output_data = %s, duration_seconds = 2, updated_at = now()"
            " WHERE id = %s",
            ['{"agent_response": "On its way."}', session.run.id],
        )


def requests_for_changes(watch):
    """How many times the page asked for changes."""
    return len(asked(watch, "/conversations/new/"))


def loads(watch, session):
    """How many times the conversation was fetched again after the page was loaded."""
    return len([path for path in watch.paths() if path.startswith(address(session))]) - 1


def test_a_conversation_is_only_fetched_again_when_it_has_changed(page, watch, running):
    page.clock.install()
    page.goto(address(running), wait_until="networkidle")
    expect(page.locator(".outcome.running")).to_be_visible()
    assert requests_for_changes(watch) == 0
    for count in (1, 2):
        with page.expect_response("**/conversations/new/**") as response:
            page.clock.run_for(POLL)
        assert response.value.request.headers["x-refresh"] == "1"
        assert (requests_for_changes(watch), loads(watch, running)) == (count, 0)
    expect(page.locator(".outcome.running")).to_be_visible()
    end(running)
    with page.expect_response(f"**{address(running)}**") as response:
        page.clock.run_for(POLL)
    assert response.value.request.headers["x-refresh"] == "1"
    expect(said(page).last).to_have_text("On its way.")
    expect(page.locator(".outcome.running")).to_have_count(0)
    expect(page.locator(".run .pill.completed")).to_have_count(1)
    expect(page.locator(".facts .pill.completed")).to_have_count(1)
    expect(page.locator(".message")).to_have_count(32)
    # From now on, the page asks less often.
    page.clock.run_for(10_000)
    page.wait_for_timeout(200)
    assert requests_for_changes(watch) == 3
    with page.expect_response("**/conversations/new/**"):
        page.clock.run_for(POLL + 1_000)
    assert (requests_for_changes(watch), loads(watch, running)) == (4, 1)


def test_a_refresh_closes_nothing_and_moves_nothing(page, watch, running):
    long = make_message(running, content="A long story. " * 300, run_id=running.run.id)
    page.clock.install()
    page.goto(address(running))
    page.locator("details.work > summary").click()
    task = page.locator(".step-list li > details")
    task.locator("> summary").click()
    expect(task.locator(".task")).to_be_visible()
    rest = page.locator(f"#message-{long.id} .rest")
    rest.locator("> summary").click()
    expect(rest.locator(".text")).to_be_visible()
    page.mouse.move(700, 400)
    start = page.evaluate("scrollY")
    page.mouse.wheel(0, -300)
    for _ in range(500):
        if page.evaluate("scrollY") <= start - 300:
            break
        page.wait_for_timeout(20)
    task.evaluate("(element) => (window.opened = element)")
    anchor = page.locator(".message").nth(28)
    before = page.evaluate("scrollY"), anchor.bounding_box()
    assert before[0] > 0
    loaded = len(asked(watch, "/runs/")), len(asked(watch, "/tasks/"))
    for finish in (False, True):
        if finish:
            end(running)
        with page.expect_response("**/conversations/new/**"):
            page.clock.run_for(POLL)
        page.wait_for_timeout(300)
        assert (page.evaluate("scrollY"), anchor.bounding_box()) == before
    expect(page.locator(".message").last).to_contain_text("On its way.")
    expect(task.locator(".task")).to_be_visible()
    expect(rest.locator(".text")).to_be_visible()
    assert task.evaluate("(element) => element === window.opened && element.open")
    # The steps of the ended run were loaded again, the task was not.
    assert (len(asked(watch, "/runs/")), len(asked(watch, "/tasks/"))) == (loaded[0] + 1, loaded[1])


def test_a_hidden_tab_does_not_ask_for_changes(page, watch, running):
    page.add_init_script(
        """window.shown = false;
        Object.defineProperty(document, "visibilityState", {
          get: () => (window.shown ? "visible" : "hidden"),
        });"""
    )
    page.clock.install()
    page.goto(address(running), wait_until="networkidle")
    end(running)
    for _ in range(3):
        page.clock.run_for(POLL)
    page.wait_for_timeout(200)
    assert (requests_for_changes(watch), loads(watch, running)) == (0, 0)
    # It asks as soon as it is visible again.
    page.evaluate("window.shown = true; document.dispatchEvent(new Event('visibilitychange'))")
    expect(said(page).last).to_have_text("On its way.")


def test_the_last_page_of_a_long_conversation_refreshes(page, watch, long_conversation):
    session = long_conversation
    session.run = make_run(
        session, output_data=NULL, duration_seconds=None, updated_at=timezone.now()
    )
    question = make_message(session, "user", "Where is it?", run_id=session.run.id)
    page.clock.install()
    page.goto(address(session, "?from=0"))
    for shown in (160, 201):
        page.locator(".message").last.scroll_into_view_if_needed()
        page.mouse.wheel(0, 1_000)
        expect(page.locator(".message")).to_have_count(shown)
    expect(page.locator(".outcome.running")).to_be_visible()
    end(session)
    page.clock.run_for(POLL)
    expect(page.locator(".message")).to_have_count(202)
    expect(said(page).last).to_have_text("On its way.")
    assert ids(page)[:-1] == ids_of([*session.messages, question])
    expect(page.locator(".outcome.running")).to_have_count(0)
    expect(page.locator(".facts .pill")).to_have_text("Completed")
