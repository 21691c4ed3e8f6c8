"""
Pages that are open while the runtime writes: everything on them updates in place. If an update
fails, they say so and recover.
"""

import re

import pytest
from playwright.sync_api import expect

from conversations.indexes import catalogue, state

from ..support.factories import Json, make_agent, make_conversation, make_message
from ..support.runtime import LiveRun, new_session
from ..support.tables import sql
from .steps import asked

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

SOON, LATER, MINUTE = 4_000, 15_000, 60_000


@pytest.fixture
def page(page):
    page.set_viewport_size({"width": 1500, "height": 900})
    page.clock.install()
    return page


@pytest.fixture
def shop():
    return make_agent("Shop")


@pytest.fixture
def indexed():
    """The database has our index on unfinished runs."""
    [index] = [each for each in catalogue.indexes() if each.name == "desk_runs_unfinished"]
    sql(index.create(concurrently=False))
    sql(index.describe())
    state.forget()
    yield
    sql(f"DROP INDEX {index.name}")
    state.forget()


def address(session, query=""):
    return f"/conversations/{session.id}/{query}"


def row(page, session):
    return page.locator(f"#row-{session.id}")


def wait(page, milliseconds=LATER):
    """Wait until the page asks for changes again."""
    # Moving the clock would time out requests that are still pending.
    expect(page.locator(".htmx-request")).to_have_count(0)
    with page.expect_response("**/conversations/new/**"):
        page.clock.run_for(milliseconds + 100)


def test_a_whole_run_and_the_next_message_appear_in_the_open_conversation(page, watch, shop):
    make_conversation(agent=shop, external_id="another")
    session = new_session(shop, external_id="ticket-7")
    run = LiveRun(session)
    page.goto(address(session))
    header, work = page.locator(".facts"), page.locator(f"#run-{run.id} .work")
    beside = page.get_by_label("List of conversations").locator(f"#row-{session.id}")
    expect(header.locator(".pill")).to_have_text("Running")
    expect(beside.locator(".pill")).to_have_text("Running")
    work.locator("> summary").click()
    steps = work.locator(".step-list li")
    expect(work).to_contain_text("Only the start and end of this run were recorded.")
    work.evaluate("(element) => (window.opened = element)")

    run.step("classify", "switch")
    run.model_call()
    wait(page, SOON)
    expect(steps).to_have_count(1)
    expect(work.locator("> summary .numbers")).to_contain_text("2 tasks · 1 model call")
    expect(header).to_contain_text("1 run, 2 tasks, 1 message")
    expect(header).to_contain_text("1 model call, 30 tokens")

    # Two parallel branches, each written when it ends.
    run.step("look-up")
    run.step("ask-stock")
    run.step("both", "parallel")
    run.tool("track", "Tallinn")
    run.tool("refund", "Error: no such order")
    run.step("helper", "agent")
    wait(page, SOON)
    expect(steps).to_have_count(7)
    expect(steps.locator(".error")).to_have_text("Error: no such order")
    expect(header.locator(".pill")).to_have_text(["Running", "1 tool call failed"])
    expect(beside.locator(".pill")).to_have_text(["1 tool call failed"])
    task = work.locator(".step-list details", has_text="refund")
    task.locator("> summary").click()
    expect(task.locator(".task")).to_contain_text("The tool call failed")

    run.model_call(response_code=503, response_data=Json("Overloaded."))
    wait(page, SOON)
    expect(header.locator(".pill")).to_have_text(
        ["Running", "1 model call failed", "1 tool call failed"]
    )
    expect(work.locator(".model-calls li.bad")).to_have_count(1)

    run.end("On its *way*.")
    run.step("end", "end")
    wait(page, SOON)
    expect(header.locator(".pill").first).to_have_text("Completed")
    expect(beside.locator(".got")).to_have_text("Answered")
    expect(work.locator("> summary .pill").first).to_have_text("Completed")
    expect(work.locator("> summary .numbers")).to_contain_text("9 tasks · 12.5 s")
    # The steps do not include the start and the end, but the failed model call.
    expect(steps).to_have_count(8)
    expect(page.locator(".message")).to_have_count(2)
    expect(page.locator(".outcome.running")).to_have_count(0)
    # Opened parts have stayed open and were not loaded again.
    assert work.evaluate("(element) => element === window.opened && element.open")
    expect(task.locator(".task")).to_be_visible()
    assert len(asked(watch, "/tasks/")) == 1

    turn = LiveRun(session, "And when?")
    wait(page)
    expect(page.locator(".message")).to_have_count(3)
    expect(header.locator(".pill").first).to_have_text("Running")
    expect(beside.locator(".got")).to_have_text("Waiting for an answer")
    turn.fail()
    wait(page, SOON)
    expect(header.locator(".pill").first).to_have_text("Failed")
    expect(beside.locator(".got")).to_have_text("No answer")
    expect(page.locator(f"#run-{turn.id} .outcome")).to_contain_text("The run failed")
    assert work.evaluate("(element) => element === window.opened && element.open")


# The list


def hide(page):
    """Pretend that the user went to another tab, until show()."""
    page.evaluate(
        """() => {
          window.isShown = false;
          Object.defineProperty(document, "visibilityState", {
            configurable: true, get: () => (window.isShown ? "visible" : "hidden"),
          });
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )


def show(page):
    page.evaluate("isShown = true; document.dispatchEvent(new Event('visibilitychange'))")


def order(page):
    return page.locator(".rows > li").evaluate_all("(all) => all.map((one) => one.id)")


def test_rows_update_in_place_and_only_move_on_a_click(page, shop):
    first, second = (new_session(shop, external_id=f"ticket-{n}") for n in (1, 2))
    run = LiveRun(first)
    other = LiveRun(second)
    other.end()
    page.goto("/conversations/")
    expect(row(page, first).locator(".pill")).to_have_text("Running")
    expect(page.locator(".problems .number").first).to_be_visible()
    before = order(page)
    assert before == [f"row-{second.id}", f"row-{first.id}"]
    link = row(page, second).locator("a.row")
    link.focus()
    top = link.bounding_box()["y"]

    run.tool("refund", "Error: no such order")
    wait(page)
    expect(row(page, first).locator(".got")).to_have_text("Waiting for an answer")
    expect(row(page, first).locator(".pill")).to_have_text(["1 tool call failed"])
    expect(row(page, first).locator(".counts")).to_contain_text("2 tasks")
    run.end("It is refunded.")
    wait(page)
    expect(row(page, first).locator(".got")).to_have_text("Answered")
    expect(row(page, first).locator(".said")).to_contain_text("It is refunded.")
    # The runtime logs tasks in the background, so this one is written after the run's end.
    run.step("end", "end")
    wait(page)
    expect(row(page, first).locator(".counts")).to_contain_text("3 tasks")

    LiveRun(first, "And then?")
    wait(page)
    expect(page.locator(".new a")).to_have_text("1 new")
    expect(page).to_have_title("(1) Conversations · Conversation Desk")
    expect(row(page, first).locator(".got")).to_have_text("Waiting for an answer")
    assert order(page) == before
    assert link.bounding_box()["y"] == top
    expect(link).to_be_focused()
    page.locator(".new a").click()
    expect(page.locator(".rows > li").first).to_have_id(f"row-{first.id}")
    expect(page).to_have_title("Conversations · Conversation Desk")


def test_the_element_under_the_pointer_does_not_move(page, shop):
    sessions = [new_session(shop, external_id=f"ticket-{n}") for n in range(30)]
    runs = [LiveRun(session) for session in sessions]
    page.goto("/conversations/")
    under = row(page, sessions[15])
    under.scroll_into_view_if_needed()
    under.hover()
    top = under.bounding_box()["y"]
    for run in runs[16:]:
        run.tool("refund", "Error: no such order")
    wait(page)
    expect(page.locator(".newest-problem")).to_have_count(14)
    assert abs(under.bounding_box()["y"] - top) < 1


def test_a_run_that_fails_late_is_announced_in_a_list_of_problems(page, shop, indexed):
    seen = make_conversation(agent=shop)
    LiveRun(seen).fail()
    late = new_session(shop, external_id="late")
    run = LiveRun(late)
    fine = LiveRun(new_session(shop))
    # A newer run than the one that fails late.
    newest = new_session(shop)
    LiveRun(newest).fail()
    page.goto("/conversations/?problem=any")
    expect(page.locator(".row")).to_have_count(2)
    expect(page.locator(".hint")).to_have_count(0)
    wait(page)
    expect(page.locator(".new a")).to_have_count(0)
    fine.end()
    run.fail()
    wait(page)
    expect(page.locator(".new a")).to_have_text("1 new")
    expect(page.locator(".row")).to_have_count(2)
    page.locator(".new a").click()
    expect(row(page, late).locator(".pill")).to_have_text("1 run failed")
    expect(page.locator(".row")).to_have_count(3)
    wait(page)
    expect(page.locator(".new a")).to_have_count(0)


def test_a_click_on_new_also_updates_the_counts(page, shop, monkeypatch):
    monkeypatch.setattr("conversations.listing.counts.CACHE_SECONDS", 60)
    LiveRun(new_session(shop)).fail()
    page.goto("/conversations/")
    total, failed = page.locator(".total b"), page.locator(".problems a", has_text="Run failed")
    expect(failed.locator(".number")).to_have_text("1")
    expect(page.locator(".as-of")).to_contain_text("as of")
    LiveRun(new_session(shop)).fail()
    wait(page)
    page.locator(".new a").click()
    expect(total).to_have_text("2")
    expect(failed.locator(".number")).to_have_text("2")


def test_a_hidden_tab_only_requests_the_number_of_new_conversations_once_a_minute(
    page, watch, shop
):
    running = new_session(shop)
    run = LiveRun(running)
    page.goto("/conversations/")
    page.wait_for_load_state("networkidle")
    hide(page)
    before = len(watch.requests)
    run.end()
    LiveRun(new_session(shop))
    page.clock.run_for(MINUTE - 1_000)
    page.wait_for_timeout(200)
    assert len(watch.requests) == before
    with page.expect_response("**/conversations/new/**") as response:
        page.clock.run_for(2_000)
    assert "x-shown-runs" not in response.value.request.headers
    expect(page).to_have_title("(1) Conversations · Conversation Desk")
    page.wait_for_timeout(200)
    assert len(watch.requests) == before + 1
    expect(row(page, running).locator(".pill")).to_have_text("Running")
    show(page)
    expect(row(page, running).locator(".pill")).to_have_count(0)


# Failures


def note(page):
    return page.locator("#freshness")


def fail_with(page, path, **answer):
    page.route(path, lambda route: route.fulfill(**{"body": "broken", **answer}))


def test_a_failed_update_replaces_nothing_and_the_page_recovers(page, watch, shop):
    session = new_session(shop)
    run = LiveRun(session)
    page.clock.set_fixed_time("2026-11-28T14:02:10")
    page.goto(address(session))
    page.clock.set_fixed_time("2026-11-28T14:05:10")
    page.unroute_all()
    run.step("look-up")
    fail_with(page, re.compile("from=0"), status=503)
    wait(page, SOON)
    expect(note(page)).to_have_text("Not up to date since 14:02")
    expect(page.locator(".message")).to_have_count(1)
    assert note(page).get_attribute("role") == "status"
    watch.expect_status(503)
    page.unroute_all()
    # The page waits longer after each failure.
    page.clock.run_for(SOON + 100)
    page.wait_for_timeout(100)
    expect(note(page)).to_have_text("Not up to date since 14:02")
    wait(page, SOON)
    expect(note(page)).to_have_text("")
    expect(page.locator(".facts")).to_contain_text("2 tasks")


FAILURES = ["aborted", 400, 401, 403, 404, 429, 500, 502, 504, "text", "null", "elsewhere"]


@pytest.mark.parametrize("path", ["**/conversations/new/**", re.compile("from=0")])
@pytest.mark.parametrize("kind", FAILURES)
def test_the_page_says_so_after_any_failure_and_recovers(page, watch, shop, kind, path):
    session = new_session(shop)
    run = LiveRun(session)
    page.goto(address(session))
    run.step("look-up")
    if kind == "aborted":
        page.route(path, lambda route: route.abort())
    elif kind == "elsewhere":
        headers = {"Location": "https://sign-in.example/"}
        fail_with(page, path, status=302, headers=headers)
    elif isinstance(kind, str):
        # A proxy's page with status 200.
        fail_with(page, path, status=200, body="null" if kind == "null" else "<p>Wait.</p>")
    else:
        fail_with(page, path, status=kind)
    page.clock.run_for(SOON + 100)
    expect(note(page)).to_contain_text("Not up to date since")
    page.unroute_all()
    page.wait_for_timeout(200)
    watch.complaints.clear()
    watch.requests.clear()
    run.end()
    wait(page, 2 * SOON)
    expect(note(page)).to_have_text("")
    expect(page.locator(".facts .pill")).to_have_text("Completed")


def test_the_page_waits_as_long_as_the_server_asks(page, watch, shop):
    session = new_session(shop)
    LiveRun(session)
    page.goto(address(session), wait_until="networkidle")
    fail_with(page, "**/conversations/new/**", status=503, headers={"Retry-After": "300"})
    wait(page, SOON)
    expect(note(page)).to_contain_text("Not up to date since")
    watch.expect_status(503)
    before = len(watch.requests)
    hide(page)
    show(page)
    page.clock.run_for(295_000)
    page.wait_for_timeout(200)
    assert len(watch.requests) == before
    page.unroute_all()
    wait(page, 10_000)
    expect(note(page)).to_have_text("")


def test_a_user_who_is_signed_out_is_told_and_loses_nothing(page, context, session_cookie, shop):
    session = new_session(shop)
    run = LiveRun(session)
    page.goto(address(session), wait_until="networkidle")
    context.clear_cookies(name="desk_session")
    wait(page, SOON)
    expect(note(page)).to_contain_text("you are signed out")
    link = note(page).get_by_role("link", name="Sign in")
    expect(link).to_have_attribute("href", f"/accounts/login/?next={address(session)}")
    expect(page.locator(".message")).to_have_count(1)
    # The user signs in again in another tab.
    context.add_cookies([session_cookie])
    run.end()
    wait(page, 2 * SOON)
    expect(note(page)).to_have_text("")
    expect(page.locator(".message")).to_have_count(2)


def erase(session):
    for table in ("chat_messages", "tasks", "runs", "sessions"):
        column = "id" if table == "sessions" else "session_id"
        sql(f"DELETE FROM {table} WHERE {column} = %s", [session.id])


def test_the_page_of_an_erased_conversation_says_so(page, watch, shop):
    session = new_session(shop)
    LiveRun(session)
    page.goto(address(session), wait_until="networkidle")
    erase(session)
    wait(page, SOON)
    expect(note(page)).to_have_text("This was erased, or you no longer have access to it.")
    expect(page.locator(".message")).to_have_count(1)
    before = len(watch.requests)
    page.clock.run_for(2 * MINUTE)
    page.wait_for_timeout(200)
    assert len(watch.requests) == before


def test_the_row_of_an_erased_conversation_says_so(page, shop):
    session = new_session(shop)
    LiveRun(session)
    page.goto("/conversations/")
    erase(session)
    wait(page)
    expect(row(page, session)).to_have_text(
        "This conversation was erased, or you no longer have access to it."
    )


def test_later_messages_that_fail_to_load_can_be_requested_again(page, watch, shop):
    session = new_session(shop)
    for number in range(100):
        make_message(session, content=f"Message {number}.")
    page.goto(address(session, "?from=0"))
    fail_with(page, re.compile("from=80"), status=503)
    with page.expect_event("console"):
        page.locator(".more.later").scroll_into_view_if_needed()
    watch.expect_status(503)
    page.unroute_all()
    page.get_by_role("link", name="Later messages (20 left)").click()
    expect(page.locator(".message").last).to_contain_text("Message 99.")


# The pages of a run and of long conversations


def test_the_page_of_a_run_updates(page, shop):
    session = new_session(shop)
    run = LiveRun(session)
    page.goto(address(session, f"runs/{run.id}/"))
    header, steps = page.locator(".facts"), page.locator(".step-list li")
    expect(header.locator(".pill")).to_have_text("Running")
    page.locator(".payloads details", has_text="Output").locator("> summary").click()
    output = page.locator(".payloads details", has_text="Output").locator(".body")
    expect(output).to_contain_text("No value as of")
    run.step("look-up")
    run.model_call(response_code=500)
    wait(page, SOON)
    # The tool call and the model call.
    expect(steps).to_have_count(2)
    expect(header.locator(".pill")).to_have_text(["Running", "1 model call failed"])
    expect(page.locator(".outcome.running")).to_be_visible()
    run.end("On its way.")
    wait(page, SOON)
    expect(header.locator(".pill").first).to_have_text("Completed")
    expect(page.locator(".outcome")).to_have_count(0)
    expect(output).to_contain_text("On its way.")


def test_opened_steps_stay_open_while_the_run_goes_on(page, shop):
    session = new_session(shop)
    run = LiveRun(session)
    for number in range(230):
        run.step(f"step-{number}")
    page.goto(address(session, f"runs/{run.id}/"))
    page.get_by_role("link", name="More steps (31 left)").click()
    tasks = page.locator(".step-list li")
    expect(tasks).to_have_count(230)
    run.step("another")
    wait(page, SOON)
    expect(tasks).to_have_count(231)
    expect(tasks.last).to_contain_text("another")


def test_the_header_of_a_conversation_with_several_pages_updates(page, shop):
    session = new_session(shop)
    for number in range(100):
        make_message(session, content=f"Message {number}.")
    run = LiveRun(session)
    page.goto(address(session, "?from=0"))
    expect(page.locator(".facts .pill")).to_have_text("Running")
    page.locator(".more.later").scroll_into_view_if_needed()
    expect(page.locator(".message")).to_have_count(101)
    run.end()
    wait(page, SOON)
    expect(page.locator(".facts .pill")).to_have_text("Completed")
    expect(page.locator(".facts")).to_contain_text("102 messages")
    expect(page.locator(".message")).to_have_count(102)
    expect(page.locator(".message").first).to_contain_text("Message 0.")


def test_the_newest_page_of_a_long_conversation_updates(page, shop):
    session = new_session(shop)
    for number in range(100):
        make_message(session, content=f"Message {number}.")
    run = LiveRun(session)
    page.goto(address(session))
    expect(page.locator(".message")).to_have_count(79)
    page.get_by_role("link", name="Earlier messages").click()
    expect(page.locator(".message")).to_have_count(101)
    run.end("On its way.")
    wait(page, SOON)
    expect(page.locator(".facts .pill")).to_have_text("Completed")
    expect(page.locator(".message")).to_have_count(102)
    expect(page.locator(".message").first).to_contain_text("Message 0.")
    expect(page.locator(".message").last).to_contain_text("On its way.")


def test_the_first_page_of_a_long_conversation_shows_its_new_status_too(page, shop):
    session = new_session(shop)
    for number in range(100):
        make_message(session, content=f"Message {number}.")
    run = LiveRun(session)
    page.set_viewport_size({"width": 1500, "height": 600})
    page.goto(address(session, "?from=0"))
    run.fail()
    wait(page, SOON)
    expect(page.locator(".facts .pill").first).to_have_text("Failed")
    expect(page.locator(".message")).to_have_count(80)
