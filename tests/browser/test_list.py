"""The list as people use it: typing, choosing, going back, turning pages."""

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from conversations.listing import views

from ..support.factories import make_agent
from .steps import (
    LIST,
    asked,
    assert_not_reloaded,
    field,
    open_dates,
    open_list,
    query_of,
    said,
    talk,
    wait_for_query,
    zone_of,
)

pytestmark = pytest.mark.django_db(transaction=True)

# Filtering


def test_typing_in_the_search_filters_without_a_reload_and_keeps_the_focus(page, talks):
    open_list(page)
    expect(said(page)).to_have_count(3)
    search = field(page, "Search")
    search.press_sequentially("refund")
    expect(said(page)).to_have_text(["refund please"])
    wait_for_query(page, search="refund")
    expect(search).to_be_focused()
    assert_not_reloaded(page)


def test_the_address_never_holds_an_empty_parameter(page, talks):
    open_list(page)
    field(page, "Agent").select_option("Bank")
    wait_for_query(page, agent=str(talks["Bank"].id))
    field(page, "Search in").select_option("all")
    wait_for_query(page, agent=str(talks["Bank"].id), scope="all")
    field(page, "Search in").select_option("")
    field(page, "Agent").select_option("")
    page.wait_for_url("**/conversations/")
    expect(said(page)).to_have_count(3)
    assert_not_reloaded(page)


def test_text_typed_while_a_request_is_pending_is_kept(page, talks):
    held = []

    def hold(route):
        held.append((route, route.fetch()))

    open_list(page)
    page.route(lambda url: "search=ref&" in url, hold)
    search = field(page, "Search")
    search.press_sequentially("ref")
    while not held:
        page.wait_for_timeout(20)
    search.press("u")
    route, response = held[0]
    route.fulfill(response=response)
    page.wait_for_timeout(200)
    assert search.input_value() == "refu"
    search.press_sequentially("nd")
    expect(said(page)).to_have_text(["refund please"])
    wait_for_query(page, search="refund")
    expect(search).to_have_value("refund")
    expect(search).to_be_focused()
    assert_not_reloaded(page)


def test_typed_text_is_kept_when_the_user_moves_to_the_next_field(page, talks):
    held = []

    def hold(route):
        held.append((route, route.fetch()))

    open_list(page)
    page.route(lambda url: "search=ref&" in url, hold)
    search = field(page, "Search")
    search.press_sequentially("ref")
    while not held:
        page.wait_for_timeout(20)
    search.press("u")
    search.press("Tab")
    route, response = held[0]
    route.fulfill(response=response)
    expect(said(page)).to_have_text(["refund please", "refuse to pay"])
    wait_for_query(page, search="refu")
    expect(search).to_have_value("refu")


def test_an_outdated_answer_is_not_shown(page, talks):
    held = []

    def hold(route):
        held.append(route)

    open_list(page)
    page.route(lambda url: "search=ref&" in url, hold)
    search = field(page, "Search")
    search.press_sequentially("ref")
    while not held:
        page.wait_for_timeout(20)
    search.press_sequentially("und")
    expect(said(page)).to_have_text(["refund please"])
    held[0].continue_()
    page.wait_for_timeout(300)
    expect(said(page)).to_have_text(["refund please"])
    wait_for_query(page, search="refund")


def test_the_caret_stays_where_it_is_when_an_answer_arrives(page, talks):
    open_list(page)
    search = field(page, "Search")
    search.press_sequentially("rund")
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    for _ in range(3):
        search.press("ArrowLeft")
    search.press_sequentially("ef")
    expect(said(page)).to_have_text(["refund please"])
    assert search.evaluate("(input) => [input.selectionStart, input.selectionEnd]") == [3, 3]


def test_enter_in_the_search_searches_again_without_a_reload(page, talks):
    open_list(page, "?search=refund")
    expect(said(page)).to_have_count(1)
    talk("another refund")
    field(page, "Search").press("Enter")
    expect(said(page)).to_have_text(["another refund", "refund please"])
    assert_not_reloaded(page)


def test_choosing_an_agent_only_shows_its_conversations(page, talks):
    open_list(page)
    field(page, "Agent").select_option("Shop")
    expect(said(page)).to_have_text(["refund please"])
    wait_for_query(page, agent=str(talks["Shop"].id))
    assert_not_reloaded(page)


def test_choosing_dates_narrows_the_list(page):
    for days in (1, 5, 9):
        at = timezone.now().replace(hour=12) - timedelta(days=days)
        talk(f"{days} days ago", created_at=at)
    start, end = ((timezone.now() - timedelta(days=days)).date() for days in (6, 4))
    open_list(page)
    open_dates(page)
    field(page, "Created from").fill(str(start))
    expect(said(page)).to_have_text(["1 days ago", "5 days ago"])
    field(page, "Created until").fill(str(end))
    expect(said(page)).to_have_text(["5 days ago"])
    wait_for_query(page, start_date=str(start), end_date=str(end), tz=zone_of(page))
    assert_not_reloaded(page)


def test_a_date_typed_slowly_is_requested_once(page, watch, talks):
    open_list(page)
    open_dates(page)
    start = field(page, "Created from")
    start.focus()
    for key in "11232025":
        page.keyboard.press(key)
        page.wait_for_timeout(450)
    expect(start).to_have_value("2025-11-23")
    assert asked(watch, "start_date=0") == []
    wait_for_query(page, start_date="2025-11-23", tz=zone_of(page))
    expect(said(page)).to_have_count(3)


def test_a_chip_removes_its_filter_and_empties_its_field(page, talks):
    open_list(page, f"?search=ref&agent={talks['Bank'].id}&external_id=b-2")
    expect(said(page)).to_have_count(1)
    expect(page.locator(".chip")).to_have_count(3)
    page.get_by_role("link", name="Remove the filter External id").click()
    expect(said(page)).to_have_count(2)
    expect(field(page, "Search")).to_have_value("ref")
    page.get_by_role("link", name="Remove the filter Search").click()
    expect(field(page, "Search")).to_have_value("")
    page.get_by_role("link", name="Remove the filter Agent").click()
    expect(field(page, "Agent")).to_have_value("")
    expect(page.locator(".chip")).to_have_count(0)
    page.wait_for_url("**/conversations/")
    assert_not_reloaded(page)


def test_clear_all_empties_every_field(page, talks):
    open_list(
        page,
        f"?search=ref&scope=all&agent={talks['Bank'].id}&external_id=b-2&start_date=2025-01-01",
    )
    page.get_by_role("link", name="Clear all").click()
    expect(said(page)).to_have_count(3)
    for label in ("Search", "Search in", "Agent", "Created from"):
        expect(field(page, label)).to_have_value("")
    page.wait_for_url("**/conversations/")
    assert_not_reloaded(page)


# Addresses


def test_back_and_forward_restore_list_form_and_address(page, talks):
    open_list(page)
    search, agent = field(page, "Search"), field(page, "Agent")
    search.press_sequentially("ref")
    wait_for_query(page, search="ref")
    agent.select_option("Bank")
    wait_for_query(page, search="ref", agent=str(talks["Bank"].id))
    search.fill("refuse")
    wait_for_query(page, search="refuse", agent=str(talks["Bank"].id))

    def shows(rows, text, chosen, **query):
        wait_for_query(page, **query)
        expect(said(page)).to_have_count(rows)
        expect(search).to_have_value(text)
        expect(agent.locator("option:checked")).to_have_text(chosen)
        expect(page.locator("body > header.bar")).to_have_count(1)

    bank = str(talks["Bank"].id)
    shows(1, "refuse", "Bank", search="refuse", agent=bank)
    page.go_back()
    shows(2, "ref", "Bank", search="ref", agent=bank)
    page.go_back()
    shows(3, "ref", "All agents", search="ref")
    page.go_back()
    shows(3, "", "All agents")
    page.go_forward()
    shows(3, "ref", "All agents", search="ref")
    page.go_forward()
    shows(2, "ref", "Bank", search="ref", agent=bank)
    page.go_forward()
    shows(1, "refuse", "Bank", search="refuse", agent=bank)


def test_back_from_a_conversation_returns_to_the_filtered_page(page, talks):
    open_list(page)
    field(page, "Search").press_sequentially("refund")
    wait_for_query(page, search="refund")
    page.locator("a.row", has_text="refund please").click()
    expect(page.get_by_role("heading", name="s-1")).to_be_visible()
    page.go_back()
    wait_for_query(page, search="refund")
    expect(said(page)).to_have_text(["refund please"])
    expect(field(page, "Search")).to_have_value("refund")
    expect(page.get_by_role("link", name="Conversation Desk")).to_be_visible()


def test_a_pasted_address_restores_everything(page, talks):
    bank = talks["Bank"].id
    page.goto(
        f"{LIST}?search=ref&agent={bank}&external_id=b-&start_date=2025-01-02"
        "&end_date=2099-03-04T05:06&problem="
    )
    expect(said(page)).to_have_count(2)
    expect(field(page, "Search")).to_have_value("ref")
    expect(field(page, "Agent")).to_have_value(str(bank))
    expect(page.locator("#id_external_id")).to_have_value("b-")
    expect(field(page, "Created from")).to_have_value("2025-01-02")
    expect(field(page, "Created until")).to_have_value("2099-03-04T05:06")
    expect(page.locator(".chip")).to_have_count(5)


@pytest.mark.parametrize(
    ("query", "label"),
    [
        ("start_date=someday", "Created from"),
        ("end_date=2026-02-31", "Created until"),
        ("agent=nobody", "Agent"),
        (f"search={'x' * 201}", "Search"),
        ("search=x", "Search"),
        ("scope=nowhere", "Search in"),
    ],
)
def test_an_invalid_value_is_explained_beside_its_field_and_shows_nothing(
    page, talks, query, label
):
    page.goto(f"{LIST}?{query}")
    wrong = field(page, label)
    of_field = page.locator(".field", has=page.get_by_label(label, exact=label == "Search"))
    error = of_field.locator(".error")
    expect(error).to_be_visible()
    if label not in ("Agent", "Search in"):
        expect(wrong).to_have_value(query.partition("=")[2])
    assert wrong.get_attribute("aria-invalid") == "true"
    assert error.get_attribute("id") in (wrong.get_attribute("aria-describedby") or "")
    expect(page.locator(".row")).to_have_count(0)
    expect(page.get_by_text("Fix the highlighted filter")).to_be_visible()
    page.get_by_role("link", name="Clear all").click()
    expect(said(page)).to_have_count(3)


@pytest.mark.parametrize(
    ("query", "label"),
    [
        ("problem=bad-luck", "Problem"),
        ("evals=shown", "Evaluations"),
        (f"error={'x' * 401}", "Error"),
    ],
)
def test_an_invalid_value_of_a_filter_without_a_field_is_explained_too(page, talks, query, label):
    open_list(page, f"?{query}")
    expect(page.locator("#filters").get_by_role("alert")).to_contain_text(f"{label}: ")
    expect(page.locator(".row")).to_have_count(0)
    expect(page.get_by_text("Fix the highlighted filter")).to_be_visible()
    field(page, "Search").fill("refund")
    name, value = query.split("=")
    wait_for_query(page, search="refund", **{name: value})
    expect(page.locator(".row")).to_have_count(0)
    page.get_by_role("link", name="Clear all").click()
    expect(said(page)).to_have_count(3)
    field(page, "Search").fill("refund")
    wait_for_query(page, search="refund")
    expect(said(page)).to_have_count(1)
    assert_not_reloaded(page)


def test_a_filter_that_does_not_exist_is_named(page, talks):
    page.goto(f"{LIST}?serach=refund")
    expect(page.get_by_role("alert")).to_contain_text("serach")
    expect(page.locator(".row")).to_have_count(0)


def test_an_end_before_the_start_is_explained_while_the_form_is_used(page, talks):
    open_list(page)
    open_dates(page)
    field(page, "Created from").fill("2026-05-02")
    wait_for_query(page, start_date="2026-05-02", tz=zone_of(page))
    field(page, "Created until").fill("2026-05-01")
    expect(page.get_by_text("The end is before the start.")).to_be_visible()
    expect(page.locator(".row")).to_have_count(0)
    field(page, "Created until").fill("2099-05-03")
    expect(page.locator(".field .error")).to_have_count(0)
    expect(said(page)).to_have_count(3)
    assert_not_reloaded(page)


def test_older_and_newest_turn_pages_and_keep_the_filters(page, monkeypatch):
    monkeypatch.setattr(views.ConversationListView, "page_size", 2)
    agent = make_agent()
    for number in range(5):
        talk(f"talk {number}", agent)
    talk("something else", agent)
    open_list(page, "?search=talk")
    expect(said(page)).to_have_text(["talk 4", "talk 3"])
    page.get_by_role("link", name="Older").click()
    expect(said(page)).to_have_text(["talk 2", "talk 1"])
    expect(field(page, "Search")).to_have_value("talk")
    assert set(query_of(page)) == {"search", "after"}
    page.get_by_role("link", name="Older").click()
    expect(said(page)).to_have_text(["talk 0"])
    expect(page.get_by_role("link", name="Older")).to_have_count(0)
    expect(page.locator("#counts").get_by_role("status")).to_have_text("5 conversations")
    expect(page.locator(".position")).to_have_text("5 of 5")
    page.get_by_role("link", name="Newer").click()
    expect(said(page)).to_have_text(["talk 2", "talk 1"])
    assert set(query_of(page)) == {"search", "after"}
    expect(page.locator(".position")).to_have_text("3–4 of 5")
    assert_not_reloaded(page)
    page.go_back()
    expect(said(page)).to_have_text(["talk 0"])
    page.go_back()
    expect(said(page)).to_have_text(["talk 2", "talk 1"])
    page.get_by_role("link", name="Newer").click()
    expect(said(page)).to_have_text(["talk 4", "talk 3"])
    wait_for_query(page, search="talk")


def test_back_shows_the_list_of_its_url_before_the_page_has_loaded_its_scripts(page, monkeypatch):
    monkeypatch.setattr(views.ConversationListView, "page_size", 2)
    agent = make_agent()
    for number in range(6):
        talk(f"talk {number}", agent)
    open_list(page, "?search=talk")
    for expected in (["talk 3", "talk 2"], ["talk 1", "talk 0"]):
        page.get_by_role("link", name="Older").click()
        expect(said(page)).to_have_text(expected)
    # Never answered.
    page.route("**/htmx-*.js", lambda route: None)
    with page.expect_request("**/htmx-*.js"):
        page.go_back()
    expect(said(page)).to_have_text(["talk 3", "talk 2"])
    page.unroute("**/htmx-*.js")
    page.go_back(wait_until="commit")
    expect(said(page)).to_have_text(["talk 5", "talk 4"])
    wait_for_query(page, search="talk")


# Between its loading and its first timer, htmx does not listen to Back yet.
SLOW_TIMERS = """
    const later = window.setTimeout;
    window.setTimeout = (what, delay = 0, ...rest) => later(what, delay + 3000, ...rest);
"""


def test_back_shows_the_list_of_its_url_before_htmx_has_begun(page, monkeypatch):
    monkeypatch.setattr(views.ConversationListView, "page_size", 2)
    for number in range(6):
        talk(f"talk {number}")
    page.add_init_script(SLOW_TIMERS)
    open_list(page, "?search=talk")
    expect(page.locator("[data-htmx-powered]").first).to_be_attached()
    for expected in (["talk 3", "talk 2"], ["talk 1", "talk 0"]):
        page.get_by_role("link", name="Older").click()
        expect(said(page)).to_have_text(expected)
    page.go_back(wait_until="commit")
    expect(said(page)).to_have_text(["talk 3", "talk 2"])
    page.wait_for_function("window.htmx")
    page.go_back(wait_until="commit")
    expect(said(page)).to_have_text(["talk 5", "talk 4"])
    wait_for_query(page, search="talk")


def test_pages_can_be_turned_without_javascript(new_context, session_cookie, monkeypatch):
    monkeypatch.setattr(views.ConversationListView, "page_size", 2)
    context, _ = new_context(session_cookie, java_script_enabled=False)
    page = context.new_page()
    for number in range(5):
        talk(f"talk {number}")
    page.goto(f"{LIST}?evals=hidden")
    for name, texts, place in (
        ("Older", ["talk 2", "talk 1"], "3–4 of 5"),
        ("Older", ["talk 0"], "5 of 5"),
        ("Newer", ["talk 2", "talk 1"], "3–4 of 5"),
        ("Newest", ["talk 4", "talk 3"], "1–2 of 5"),
    ):
        page.get_by_role("link", name=name).click()
        expect(said(page)).to_have_text(texts)
        expect(page.locator(".position")).to_have_text(place)
        assert query_of(page)["evals"] == "hidden"


def test_an_older_page_says_how_many_conversations_moved_up(page, monkeypatch):
    monkeypatch.setattr(views.ConversationListView, "page_size", 2)
    for number in range(5):
        talk(f"talk {number}")
    open_list(page)
    talk("talk 5")
    page.get_by_role("link", name="Older").click()
    expect(page.get_by_text("1 conversation has arrived or moved up")).to_be_visible()
    page.get_by_role("link", name="Show the newest").click()
    expect(said(page)).to_have_text(["talk 5", "talk 4"])
    expect(page.get_by_text("arrived or moved up")).to_have_count(0)
    assert_not_reloaded(page)


def test_filtering_from_an_older_page_starts_at_the_newest(page, monkeypatch):
    monkeypatch.setattr(views.ConversationListView, "page_size", 2)
    for number in range(5):
        talk(f"talk {number}")
    open_list(page)
    page.get_by_role("link", name="Older").click()
    expect(said(page)).to_have_text(["talk 2", "talk 1"])
    field(page, "Search").fill("talk 4")
    expect(said(page)).to_have_text(["talk 4"])
    wait_for_query(page, search="talk 4")


def test_the_link_back_from_a_conversation_keeps_the_filters(page, talks):
    open_list(page, "?search=refund")
    page.locator("a.row", has_text="refund please").click()
    page.get_by_role("link", name="Back to the results").click()
    wait_for_query(page, search="refund")
    expect(said(page)).to_have_text(["refund please"])
