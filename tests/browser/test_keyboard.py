"""The list and a conversation without a mouse: focus and shortcuts."""

import re

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from conversations.listing import views

from ..support.factories import make_agent
from .flaws import AXE, barriers
from .steps import (
    LIST,
    assert_not_reloaded,
    field,
    open_dates,
    open_list,
    problem_link,
    said,
    talk,
    wait_for_query,
    zone_of,
)

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def hits(page):
    return page.get_by_role("group", name="Conversations")


def today() -> str:
    return timezone.now().date().isoformat()


def rows(page):
    return page.locator("#results a.row")


def tabs_to(page, locator) -> int:
    """How many times Tab must be pressed until the element has the focus."""
    for number in range(1, 40):
        page.keyboard.press("Tab")
        if locator.evaluate("(element) => element === document.activeElement"):
            return number
    raise AssertionError("The focus does not get there.")


# The focus


def test_the_first_row_is_a_few_tabs_away(page, talks):
    open_list(page)
    expect(page.locator("#counts[hx-get]")).to_have_count(0)
    skip = page.get_by_role("link", name="Skip to the results")
    assert tabs_to(page, skip) == 1
    page.keyboard.press("Enter")
    expect(hits(page)).to_be_focused()
    assert tabs_to(page, rows(page).first) == 1


def test_the_folded_dates_are_one_tab_stop(page, talks):
    open_list(page)
    field(page, "Customer got").focus()
    assert tabs_to(page, page.locator(".dates > summary")) == 1
    assert tabs_to(page, problem_link(page, "All")) == 1


def test_the_skip_link_skips_the_list_beside_a_conversation(page, talks):
    page.set_viewport_size({"width": 1500, "height": 900})
    page.goto(LIST)
    rows(page).first.click()
    expect(page.locator(".beside a.row")).to_have_count(3)
    page.evaluate("document.querySelector('.skip').focus()")
    page.keyboard.press("Enter")
    assert tabs_to(page, page.get_by_role("link", name="All conversations", exact=True)) == 1


def test_after_each_click_the_results_have_the_focus_and_their_number_is_read_out(
    page, monkeypatch
):
    monkeypatch.setattr(views.ConversationListView, "page_size", 2)
    agent = make_agent("Shop")
    for number in range(5):
        talk(f"talk {number}", agent)
    open_list(page, "?search=talk")
    for link in (
        page.get_by_role("link", name="Older"),
        page.get_by_role("link", name="Newest"),
        page.get_by_role("link", name="Remove the filter Search"),
        page.get_by_role("link", name="Hide evaluations"),
        page.get_by_role("link", name="Clear all"),
    ):
        link.press("Enter")
        expect(hits(page)).to_be_focused()
        expect(hits(page)).to_have_accessible_description("5 conversations")
    open_dates(page)
    page.get_by_role("link", name="Today").press("Enter")
    wait_for_query(
        page, **dict.fromkeys(("active_from", "active_until"), today()), tz=zone_of(page)
    )
    expect(hits(page)).to_be_focused()
    problem_link(page, "Run failed").press("Enter")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    expect(hits(page)).to_be_focused()
    expect(hits(page)).to_have_accessible_description("0 conversations")
    assert_not_reloaded(page)


def test_after_a_click_the_results_of_the_errors_page_have_the_focus(page):
    page.goto("/conversations/errors/")
    page.get_by_role("navigation", name="Period").get_by_role("link").nth(1).press("Enter")
    results = page.get_by_role("region", name="Results")
    expect(results).to_be_focused()
    expect(results).to_have_accessible_description("0 problems")


def test_after_a_failure_the_focus_is_where_the_results_were(page, watch, talks, monkeypatch):
    def broken(*args):
        raise ZeroDivisionError

    open_list(page)
    monkeypatch.setattr(views, "find", broken)
    problem_link(page, "Run failed").press("Enter")
    expect(page.get_by_role("heading", name="Something broke on our side")).to_be_visible()
    expect(page.get_by_role("region", name="Results")).to_be_focused()
    watch.expect_status(500)


def test_choosing_in_a_field_keeps_the_focus_there(page, talks):
    open_list(page)
    agent = field(page, "Agent")
    agent.focus()
    agent.select_option("Bank")
    expect(said(page)).to_have_count(2)
    expect(agent).to_be_focused()


def test_automatic_updates_do_not_move_the_focus(page, talks):
    open_list(page)
    talk("new", talks["Shop"])
    with page.expect_response("**/conversations/new/**"):
        page.evaluate("document.dispatchEvent(new Event('refresh'))")
    expect(page.locator(".new a")).to_have_text("1 new")
    assert page.evaluate("document.activeElement === document.body")


# Shortcuts in the list


def test_a_slash_goes_to_the_search_and_can_be_typed_there(page, talks):
    open_list(page)
    page.keyboard.press("/")
    search = field(page, "Search")
    expect(search).to_be_focused()
    expect(search).to_have_value("")
    page.keyboard.type("a/b")
    expect(search).to_have_value("a/b")


def test_escape_leaves_the_search_and_keeps_the_typed_text(page, talks):
    open_list(page, "?search=refund")
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    expect(hits(page)).to_be_focused()
    expect(field(page, "Search")).to_have_value("refund")
    expect(said(page)).to_have_count(1)


@pytest.mark.parametrize(("down", "up"), [("j", "k"), ("ArrowDown", "ArrowUp")])
def test_keys_move_between_rows_and_enter_opens_one(page, talks, down, up):
    open_list(page)
    if down == "j":
        page.keyboard.press("j")
    else:
        rows(page).first.focus()
    for key, place in [(up, 0), (down, 1), (down, 2), (down, 2), (up, 1)]:
        page.keyboard.press(key)
        expect(rows(page).nth(place)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="b-2")).to_be_visible()


def test_o_opens_the_row_and_u_returns_to_the_list(page, talks):
    open_list(page, "?search=ref")
    page.keyboard.press("o")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("o")
    expect(page.get_by_role("heading", name="b-2")).to_be_visible()
    page.keyboard.press("u")
    wait_for_query(page, search="ref")
    expect(said(page)).to_have_count(3)
    expect(page.locator("a.row", has_text="b-2")).to_be_focused()


def test_keys_with_a_modifier_or_in_a_field_do_nothing(page, talks):
    open_list(page)
    for key in ("Control+j", "Alt+j", "Meta+j", "Shift+J", "Control+/"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement === document.body")
    field(page, "Agent").focus()
    page.keyboard.press("j")
    expect(field(page, "Agent")).to_be_focused()


# On a conversation


def test_j_and_k_go_to_other_conversations_and_the_list_beside_follows(page):
    page.set_viewport_size({"width": 1500, "height": 700})
    agent = make_agent("Shop")
    sessions = [talk(f"talk {number}", agent, external_id=f"t-{number}") for number in range(20)]
    open_list(page)
    rows(page).first.click()
    current = page.locator(".beside [aria-current]")
    expect(current).to_contain_text("t-19")
    page.evaluate("window.stayed = true")
    for number in range(18, 5, -1):
        page.keyboard.press("j")
        expect(page.locator("h1")).to_have_text(f"t-{number}")
        expect(page.locator("h1")).to_be_focused()
    expect(current).to_have_count(1)
    expect(current).to_contain_text("t-6")
    expect(current).to_be_in_viewport(ratio=0.9)
    page.keyboard.press("k")
    expect(current).to_contain_text("t-7")
    assert_not_reloaded(page)
    page.keyboard.press("/")
    page.wait_for_url(re.compile("#id_search$"))
    expect(field(page, "Search")).to_be_focused()
    assert len(sessions) == 20


# The list of shortcuts


def test_a_question_mark_lists_the_same_shortcuts_as_help(page, talks):
    open_list(page)
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_have_count(0)
    page.keyboard.press("j")
    page.keyboard.press("?")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("button", name="Close")).to_be_focused()
    page.evaluate(AXE)
    assert barriers(page) == []
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        assert barriers(page, "color-contrast") == []
    listed = dialog.locator("dt, dd").all_inner_texts()
    # Shortcuts do nothing behind the dialog.
    page.keyboard.press("/")
    expect(field(page, "Search")).not_to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(rows(page).first).to_be_focused()
    page.keyboard.press("?")
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)
    page.goto("/help/")
    assert page.locator("main .shortcuts").locator("dt, dd").all_inner_texts() == listed


def test_shortcuts_can_be_switched_off_in_the_account(page, talks):
    page.goto("/accounts/")
    page.get_by_label("Single letters do something").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").first).to_have_text("Keyboard shortcuts are off.")
    expect(page.get_by_label("Single letters do something")).not_to_be_checked()
    open_list(page)
    for key in ("j", "/", "?", "o"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement === document.body")
    expect(page.get_by_role("dialog")).to_have_count(0)
    # Keys other than letters still work.
    rows(page).first.focus()
    page.keyboard.press("ArrowDown")
    expect(rows(page).nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Older", exact=True)).to_have_attribute("title", "Older")
