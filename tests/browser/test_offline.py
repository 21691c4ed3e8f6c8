"""Pages say if an answer takes long or if there is no connection."""

import re

import pytest
from playwright.sync_api import expect

from ..support.factories import make_message, make_run, make_session
from .flaws import AXE, barriers
from .steps import assert_not_reloaded, field, open_list, problem_link, said, wait_for_query

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

LONG, AGAIN = 1_100, 15_100
NO_CONNECTION = re.compile(r"^No connection: showing what was loaded at \d\d:\d\d$")


def waiting(page):
    return page.locator("#waiting")


def dimmed(page):
    return page.locator("[aria-busy=true]")


def disconnect(page, path="**/*"):
    page.route(path, lambda route: route.abort())


def click_in_vain(page):
    """Choose "Run failed", which gets no answer."""
    disconnect(page, re.compile("problem=failed"))
    problem_link(page, "Run failed").click()
    expect(waiting(page)).to_have_text(NO_CONNECTION)


@pytest.fixture
def offline(context, watch):
    """Go offline, and ignore what the browser logs about it."""

    def go():
        context.set_offline(True)

    yield go
    watch.complaints = [
        one
        for one in watch.complaints
        if "ERR_INTERNET_DISCONNECTED" not in one and "htmx:error" not in one
    ]


@pytest.fixture
def held(page):
    """Holds answers back until release() is called."""
    routes = []

    class Held:
        def hold(self, path):
            page.route(path, lambda route: routes.append(route))

        def release(self):
            for route in routes:
                route.continue_()
            page.unroute_all()

    return Held()


# Slow


def test_rows_are_dimmed_during_a_request_and_a_note_appears_after_a_second(page, talks, held):
    page.clock.install()
    open_list(page)
    expect(page.locator("#counts[hx-get]")).to_have_count(0)
    top = page.locator(".rows").bounding_box()
    held.hold(re.compile("search=refund"))
    field(page, "Search").press_sequentially("refund")
    page.clock.run_for(400)
    hits = page.get_by_role("group", name="Conversations")
    expect(hits).to_have_attribute("aria-busy", "true")
    expect(said(page)).to_have_count(3)
    expect(hits).to_have_css("opacity", "0.5")
    expect(waiting(page)).to_have_text("")
    page.clock.run_for(LONG)
    expect(waiting(page)).to_have_text("Still searching…")
    assert waiting(page).get_attribute("role") == "status"
    assert page.locator(".rows").bounding_box() == top
    held.release()
    expect(said(page)).to_have_text(["refund please"])
    expect(waiting(page)).to_have_text("")
    expect(dimmed(page)).to_have_count(0)


def test_rows_stay_dimmed_when_a_newer_search_replaces_the_request(page, talks, held):
    page.clock.install()
    open_list(page)
    held.hold(re.compile("search=ref"))
    search = field(page, "Search")
    search.press_sequentially("ref")
    page.clock.run_for(400)
    expect(dimmed(page)).to_have_count(1)
    search.press_sequentially("und")
    page.clock.run_for(400)
    expect(dimmed(page)).to_have_count(1)
    held.release()
    expect(said(page)).to_have_text(["refund please"])
    expect(dimmed(page)).to_have_count(0)


def test_automatic_requests_dim_nothing(page, talks, held):
    page.clock.install()
    held.hold("**/counts/**")
    open_list(page)
    page.clock.run_for(LONG)
    expect(page.locator("#counts.htmx-request")).to_have_count(1)
    expect(dimmed(page)).to_have_count(0)
    expect(waiting(page)).to_have_text("")
    held.release()


# Offline


def test_a_search_offline_says_so_and_is_repeated_once_online(page, context, watch, talks, offline):
    open_list(page)
    page.wait_for_load_state("networkidle")
    offline()
    search = field(page, "Search")
    search.press_sequentially("refund")
    expect(waiting(page)).to_have_text(NO_CONNECTION)
    expect(said(page)).to_have_count(3)
    expect(dimmed(page)).to_have_count(0)
    context.set_offline(False)
    expect(said(page)).to_have_text(["refund please"])
    wait_for_query(page, search="refund")
    expect(waiting(page)).to_have_text("")
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    expect(search).to_be_focused()
    assert_not_reloaded(page)


def test_a_click_offline_says_so_and_can_be_repeated(page, watch, talks, offline):
    open_list(page)
    page.wait_for_load_state("networkidle")
    click_in_vain(page)
    page.evaluate(AXE)
    assert barriers(page) == []
    again = page.get_by_role("button", name="Try again")
    again.click()
    expect(waiting(page)).to_have_text(NO_CONNECTION)
    page.unroute_all()
    again.click()
    wait_for_query(page, problem="failed")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    expect(waiting(page)).to_have_text("")
    watch.complaints.clear()
    assert_not_reloaded(page)


def test_the_page_repeats_failed_requests_automatically(page, watch, talks):
    page.clock.install()
    open_list(page)
    click_in_vain(page)
    page.unroute_all()
    page.clock.run_for(AGAIN)
    wait_for_query(page, problem="failed")
    watch.complaints.clear()


def test_only_the_last_click_is_repeated(page, watch, talks):
    open_list(page)
    page.wait_for_load_state("networkidle")
    disconnect(page, re.compile("problem="))
    for label in ("Run failed", "Any problem"):
        problem_link(page, label).click()
        expect(waiting(page)).to_have_text(NO_CONNECTION)
    page.unroute_all()
    watch.requests.clear()
    page.get_by_role("button", name="Try again").click()
    wait_for_query(page, problem="any")
    assert not [path for path in watch.paths() if "problem=failed" in path]
    watch.complaints.clear()


def test_a_click_is_not_repeated_while_a_later_one_waits_for_its_answer(page, watch, talks, held):
    open_list(page)
    page.wait_for_load_state("networkidle")
    click_in_vain(page)
    held.hold(re.compile("problem=any"))
    problem_link(page, "Any problem").click()
    assert page.get_by_role("button", name="Try again").is_hidden()
    held.release()
    wait_for_query(page, problem="any")
    watch.complaints.clear()


@pytest.fixture
def answered():
    session = make_session(external_id="answered")
    run = make_run(session)
    make_message(session, content="Where is it?", run_id=run.id)
    return session


def test_a_run_that_was_opened_offline_loads_once_online(page, context, watch, answered, offline):
    page.goto(f"/conversations/{answered.id}/")
    page.wait_for_load_state("networkidle")
    offline()
    page.locator("details.work > summary").click()
    expect(waiting(page)).to_have_text(NO_CONNECTION)
    context.set_offline(False)
    expect(page.locator("details.work .payloads")).to_be_visible()
    expect(waiting(page)).to_have_text("")


def test_a_run_that_takes_long_says_so(page, answered, held):
    page.clock.install()
    page.goto(f"/conversations/{answered.id}/")
    held.hold("**/runs/**")
    page.locator("details.work > summary").click()
    expect(page.locator("details.work > .body")).to_have_attribute("aria-busy", "true")
    page.clock.run_for(LONG)
    expect(waiting(page)).to_have_text("Still loading…")
    held.release()
    expect(page.locator("details.work .payloads")).to_be_visible()
    expect(waiting(page)).to_have_text("")


def test_going_to_the_next_conversation_offline_says_so_and_works_once_online(
    page, context, watch, talks, offline
):
    page.goto("/conversations/")
    page.locator("a.row").first.click()
    page.wait_for_load_state("networkidle")
    offline()
    page.keyboard.press("j")
    expect(waiting(page)).to_have_text(NO_CONNECTION)
    expect(page.locator("h1")).to_have_text("s-1")
    # Only one note says so: the note about the page's age is hidden.
    page.evaluate("document.dispatchEvent(new Event('refresh'))")
    page.wait_for_timeout(300)
    expect(page.locator("#freshness")).to_be_hidden()
    context.set_offline(False)
    expect(page.locator("h1")).to_have_text("b-2")
    expect(page.locator("h1")).to_be_focused()


def test_a_timeout_is_not_called_a_lack_of_connection(page, watch, talks, held):
    page.clock.install()
    open_list(page)
    held.hold(re.compile("problem=failed"))
    problem_link(page, "Run failed").click()
    page.clock.run_for(30_100)
    expect(waiting(page)).to_have_text(re.compile("^No answer: showing what was loaded at"))
    held.release()
    page.get_by_role("button", name="Try again").click()
    wait_for_query(page, problem="failed")
    watch.complaints.clear()
