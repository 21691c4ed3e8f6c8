"""The search box: words with snippets, and ids that open their conversation."""

import re
import uuid

import pytest
from playwright.sync_api import expect

from ..support.factories import Json, make_message, make_run, make_session, make_task
from .steps import (
    LIST,
    asked,
    assert_not_reloaded,
    field,
    open_list,
    said,
    talk,
    wait_for_query,
)

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def long_talk(talks):
    """A conversation of many messages. The 31st and the 41st have the word to search for."""
    session = make_session(talks["Shop"], external_id="long-1")
    run = make_run(session)
    texts = {30: "Where is my <b>Parcel</b>?", 40: "The parcel is lost."}
    session.messages = [
        make_message(session, content=texts.get(number, f"filler {number}"), run_id=run.id)
        for number in range(60)
    ]
    return session


def snippets(page):
    return page.locator(".snippets a")


# Words


def test_typing_shows_snippets_with_the_term_marked(page, long_talk):
    open_list(page)
    expect(snippets(page)).to_have_count(0)
    search = field(page, "Search")
    search.press_sequentially("parcel")
    expect(snippets(page)).to_have_text(
        ["user Where is my <b>Parcel</b>?", "user The parcel is lost."]
    )
    expect(page.locator(".snippets mark")).to_have_text(["Parcel", "parcel"])
    expect(said(page)).to_have_count(1)
    wait_for_query(page, search="parcel")
    expect(search).to_be_focused()
    search.press_sequentially("s")
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    expect(snippets(page)).to_have_count(0)
    assert_not_reloaded(page)


def test_a_snippet_opens_the_conversation_at_its_message(page, long_talk):
    shop = str(long_talk.agent_id)
    open_list(page, f"?search=parcel&agent={shop}")
    snippets(page).nth(1).click()
    expect(page.get_by_role("heading", name="long-1")).to_be_visible()
    message = page.locator(f"#message-{long_talk.messages[40].id}")
    expect(message).to_have_class(re.compile(r"\bfocus\b"))
    expect(message.locator("mark")).to_have_text("parcel")
    expect(message).to_be_in_viewport()
    expect(page.locator(".message.focus")).to_have_count(1)
    page.get_by_role("link", name="Back to the results").click()
    wait_for_query(page, search="parcel", agent=shop)
    expect(field(page, "Search")).to_have_value("parcel")
    expect(snippets(page)).to_have_count(2)
    page.go_back()
    expect(message).to_have_class(re.compile(r"\bfocus\b"))
    page.go_back()
    wait_for_query(page, search="parcel", agent=shop)
    expect(snippets(page)).to_have_count(2)


def test_back_and_reload_keep_the_search_and_its_snippets(page, long_talk):
    open_list(page)
    field(page, "Search").press_sequentially("parcel")
    wait_for_query(page, search="parcel")
    page.reload()
    expect(snippets(page)).to_have_count(2)
    field(page, "Search").fill("refund")
    wait_for_query(page, search="refund")
    expect(page.locator(".row mark")).to_have_text("refund")
    page.go_back()
    wait_for_query(page, search="parcel")
    expect(snippets(page)).to_have_count(2)
    expect(field(page, "Search")).to_have_value("parcel")


def test_errors_and_tools_are_searched_if_chosen(page, talks):
    session = talk("Something else")
    run = make_run(session)
    output = Json({"result": "Error: the printer is on fire"})
    task = make_task(run, session, "print-label", "tool_call", output=output)
    open_list(page)
    field(page, "Search").press_sequentially("printer")
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    field(page, "Search in").select_option("all")
    expect(said(page)).to_have_text(["Something else"])
    wait_for_query(page, search="printer", scope="all")
    expect(snippets(page).locator(".label")).to_have_text("tool print-label")
    expect(snippets(page).locator("mark")).to_have_text("printer")
    snippets(page).click()
    page.wait_for_url(f"**/tasks/{task.id}/")
    expect(page.get_by_role("heading", name="print-label")).to_be_visible()
    page.go_back()
    expect(field(page, "Search in")).to_have_value("all")
    page.get_by_role("link", name="Remove the filter Search in").click()
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    wait_for_query(page, search="printer")


@pytest.mark.parametrize("typed", ["r", '"r', " "])
def test_the_list_waits_for_the_second_letter(page, watch, talks, typed):
    open_list(page)
    page.wait_for_load_state("networkidle")
    watch.requests.clear()
    search = field(page, "Search")
    search.press_sequentially(typed)
    page.wait_for_timeout(600)
    assert asked(watch, "search=") == []
    expect(said(page)).to_have_count(3)
    expect(page.locator(".field .error")).to_have_count(0)
    search.fill("re")
    expect(page.locator(".chip")).to_have_text("Search re")
    expect(said(page)).to_have_count(3)
    expect(search).to_be_focused()
    # The rows of the last search stay while the user types a new one.
    search.press("Backspace")
    page.wait_for_timeout(600)
    expect(page.locator(".chip")).to_have_text("Search re")
    search.press("Backspace")
    expect(page.locator(".chip")).to_have_count(0)
    assert_not_reloaded(page)


def test_enter_after_one_letter_gets_an_explanation(page, talks):
    open_list(page)
    search = field(page, "Search")
    search.press("r")
    search.press("Enter")
    expect(page.get_by_text("Search for at least two characters.")).to_be_visible()
    expect(page.get_by_text("Fix the highlighted filter to see results.")).to_be_visible()
    expect(page.locator(".row")).to_have_count(0)
    search.press("e")
    expect(said(page)).to_have_count(3)
    expect(page.locator(".field .error")).to_have_count(0)
    expect(search).to_have_value("re")
    assert_not_reloaded(page)


@pytest.mark.parametrize("late", ["requests", "live", "keyboard"])
def test_counts_of_the_list_before_do_not_replace_an_explanation(page, talks, late):
    """Not even if one of the scripts comes late: until then, htmx asks for nothing."""
    held = []
    scripts = []
    page.route(re.compile(f"/{late}[^/]*\\.js"), lambda route: scripts.append(route))
    page.route(re.compile("/counts/"), lambda route: held.append(route))
    page.goto(LIST, wait_until="commit")
    while not scripts:
        page.wait_for_timeout(20)
    page.wait_for_timeout(300)
    assert not held
    scripts[0].continue_()
    while not held:
        page.wait_for_timeout(20)
    search = field(page, "Search")
    search.press("r")
    search.press("Enter")
    explanation = page.get_by_text("Fix the highlighted filter to see results.")
    expect(explanation).to_be_visible()
    with page.expect_response(re.compile("/counts/")) as answer:
        held[0].continue_()
    answer.value.finished()
    page.wait_for_timeout(200)
    expect(explanation).to_be_visible()


def test_typing_one_letter_does_not_cancel_a_pending_search(page, talks):
    held = []
    open_list(page)
    page.route(re.compile("agent="), lambda route: held.append(route))
    field(page, "Agent").select_option("Bank")
    while not held:
        page.wait_for_timeout(20)
    field(page, "Search").press("r")
    held[0].continue_()
    expect(said(page)).to_have_count(2)
    expect(field(page, "Search")).to_have_value("r")


# Ids


def test_typing_an_id_lists_its_conversation_and_enter_opens_it(page, talks):
    session = talk("found by its id", external_id="by-id")
    open_list(page)
    search = field(page, "Search")
    search.press_sequentially(str(session.id))
    expect(said(page)).to_have_text(["found by its id"])
    expect(snippets(page)).to_have_text([f"session id {session.id}"])
    expect(page.locator(".total")).to_have_text("1 conversation")
    assert page.url.partition("?")[0].endswith(LIST)
    expect(search).to_be_focused()
    assert_not_reloaded(page)
    search.press("Enter")
    page.wait_for_url(f"**/conversations/{session.id}/?search=*")
    expect(page.get_by_role("heading", name="by-id")).to_be_visible()
    page.get_by_role("link", name="Back to the results").click()
    expect(said(page)).to_have_text(["found by its id"])


def test_a_pasted_id_is_opened_by_enter_at_once(page, talks):
    session = talk("found by its id", external_id="by-id")
    open_list(page)
    search = field(page, "Search")
    search.fill(f"  {session.id} ")
    search.press("Enter")
    page.wait_for_url(f"**/conversations/{session.id}/?search=*")
    expect(page.get_by_role("heading", name="by-id")).to_be_visible()


def test_external_ids_are_listed_by_prefix_and_the_only_one_opens(page, talks):
    session = talk("found by its key", talks["Shop"], external_id="key-1")
    talk("another", external_id="KEY-2")
    open_list(page)
    search = field(page, "Search")
    search.press_sequentially("key-")
    expect(said(page)).to_have_text(["another", "found by its key"])
    expect(snippets(page)).to_have_text(["External id KEY-2", "External id key-1"])
    expect(page.locator(".snippets mark")).to_have_text(["KEY-", "key-"])
    search.press("Enter")
    page.wait_for_timeout(300)
    assert page.url.partition("?")[0].endswith(LIST)
    search.press_sequentially("1")
    expect(said(page)).to_have_text(["found by its key"])
    search.press("Enter")
    page.wait_for_url(f"**/conversations/{session.id}/?search=key-1")


def test_a_conversation_found_by_id_opens_and_back_returns_to_the_list(page, talks):
    older = talk("the first", talks["Shop"], external_id="key-1")
    talk("the second", talks["Bank"], external_id="key-1")
    open_list(page)
    field(page, "Search").press_sequentially("key-1")
    expect(said(page)).to_have_text(["the second", "the first"])
    page.locator("a.row").first.click()
    page.get_by_role("link", name="Older", exact=True).click()
    page.wait_for_url(f"**/conversations/{older.id}/?search=key-1")
    page.get_by_role("link", name="Back to the results").click()
    expect(field(page, "Search")).to_have_value("key-1")
    expect(said(page)).to_have_text(["the second", "the first"])


def test_a_filter_in_the_address_is_a_chip_that_can_be_removed(page, talks):
    talk("found by its key", talks["Shop"], external_id="key-1")
    open_list(page, "?external_id=key")
    expect(said(page)).to_have_text(["found by its key"])
    expect(page.get_by_label("External id", exact=False)).to_have_count(1)
    page.get_by_role("link", name="Remove the filter External id starts with: key").click()
    expect(said(page)).to_have_count(4)


def test_an_unknown_id_is_searched_for_as_text(page, talks):
    name = str(uuid.uuid4())
    talk(f"Please look at {name}")
    open_list(page)
    search = field(page, "Search")
    search.fill(name)
    search.press("Enter")
    expect(snippets(page).locator("mark")).to_have_text(name)
    wait_for_query(page, search=name)
    assert_not_reloaded(page)


@pytest.mark.parametrize("scripts", [True, False])
def test_an_address_with_an_id_lists_it(new_context, session_cookie, talks, scripts):
    session = talk("found by its id", external_id="by-id")
    context, _ = new_context(session_cookie, java_script_enabled=scripts)
    page = context.new_page()
    page.goto(f"{LIST}?search={session.id}")
    expect(said(page)).to_have_text(["found by its id"])
    expect(snippets(page)).to_have_text([f"session id {session.id}"])


def test_a_search_without_matches_links_to_one_with_matches(page, long_talk):
    open_list(page, "?search=PARCEL%20nowhere")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    page.get_by_role("link", name="Leave out “nowhere”").click()
    wait_for_query(page, search="parcel")
    expect(snippets(page).first.locator("mark")).to_have_text("Parcel")
    assert_not_reloaded(page)
