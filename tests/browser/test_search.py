"""The search box: words and where they were found, ids that open what they name."""

import re
import uuid

import pytest
from playwright.sync_api import expect

from ..support.factories import Json, make_message, make_run, make_session, make_task
from .steps import (
    LIST,
    assert_not_reloaded,
    field,
    open_list,
    said,
    talk,
    wait_for_query,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def long_talk(talks):
    """A conversation of many messages, with the word of interest in its 31st and 41st."""
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


def test_typing_shows_where_the_words_were_said_with_the_term_marked(page, long_talk):
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
    expect(snippets(page)).to_have_text(["user refund please"])
    page.go_back()
    wait_for_query(page, search="parcel")
    expect(snippets(page)).to_have_count(2)
    expect(field(page, "Search")).to_have_value("parcel")


def test_errors_and_tools_are_searched_where_the_reader_asks_for_them(page, talks):
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


def test_one_letter_is_explained_until_there_are_two(page, talks):
    open_list(page)
    search = field(page, "Search")
    search.press("r")
    expect(page.get_by_text("Search for at least two characters.")).to_be_visible()
    expect(page.locator(".row")).to_have_count(0)
    search.press("e")
    expect(said(page)).to_have_count(3)
    expect(page.locator(".field .error")).to_have_count(0)
    expect(search).to_have_value("re")
    expect(search).to_be_focused()
    assert_not_reloaded(page)


# Ids


def test_typing_an_id_lists_what_it_names_and_enter_opens_it(page, talks):
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


def test_external_ids_are_listed_by_their_beginning_and_the_only_one_opens(page, talks):
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


def test_a_row_that_is_named_opens_with_its_list_and_back_returns_to_it(page, talks):
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


def test_the_filter_of_an_address_is_a_chip_that_can_be_removed(page, talks):
    talk("found by its key", talks["Shop"], external_id="key-1")
    open_list(page, "?external_id=key")
    expect(said(page)).to_have_text(["found by its key"])
    expect(page.get_by_label("External id", exact=False)).to_have_count(1)
    page.get_by_role("link", name="Remove the filter External id starts with: key").click()
    expect(said(page)).to_have_count(4)


def test_an_id_that_names_nothing_is_searched_for(page, talks):
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


def test_a_search_that_finds_nothing_leads_to_one_that_does(page, long_talk):
    open_list(page, "?search=PARCEL%20nowhere")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    page.get_by_role("link", name="Leave out “nowhere”").click()
    wait_for_query(page, search="parcel")
    expect(snippets(page).first.locator("mark")).to_have_text("Parcel")
    assert_not_reloaded(page)
