"""The export menu above the list, and its downloads."""

import csv
import re
import threading

import pytest
from django.test import override_settings
from playwright.sync_api import expect

from audit.models import Act, Entry
from conversations.exports import stream, workbook

from ..support.exports import read_xlsx, slots_taken
from ..support.factories import make_session
from .steps import assert_not_reloaded, field, open_list, said, talk, wait_for_query

pytestmark = pytest.mark.django_db(transaction=True)


def menu(page):
    return page.locator("details.export")


def button(page):
    return menu(page).locator("summary")


def open_menu(page):
    button(page).click()
    expect(menu(page).get_by_role("link").first).to_be_visible()


def link(page, name):
    return menu(page).get_by_role("link", name=name, exact=True)


def download(page, name):
    with page.expect_download() as started:
        link(page, name).click()
    return started.value


def test_a_click_downloads_the_list_and_the_page_stays(page, talks):
    open_list(page, "?search=ref")
    open_menu(page)
    expect(button(page)).to_have_text("Export 3 conversations")
    file = download(page, "Messages as CSV")
    assert file.suggested_filename.startswith("messages-")
    assert file.suggested_filename.endswith(".csv")
    with open(file.path(), encoding="utf-8-sig", newline="") as opened:
        contents = {row["content"] for row in csv.DictReader(opened)}
    assert contents == {"reference number", "refuse to pay", "refund please"}
    assert_not_reloaded(page)
    # The other files are still a click away.
    assert download(page, "Tasks as JSON Lines").suggested_filename.endswith(".jsonl")


def test_the_files_follow_the_filters(page, talks):
    open_list(page)
    open_menu(page)
    field(page, "Search").fill("refund")
    expect(said(page)).to_have_text(["refund please"])
    wait_for_query(page, search="refund")
    expect(button(page)).to_have_text("Export 1 conversation")
    expect(link(page, "Conversations as CSV")).to_have_attribute(
        "href", "/conversations/export/conversations.csv?search=refund"
    )
    field(page, "Search").fill("nowhere")
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    expect(menu(page)).to_have_count(0)


def test_the_number_arrives_while_the_menu_is_open(page, monkeypatch):
    monkeypatch.setattr("conversations.listing.counts.UP_TO", 3)
    monkeypatch.setattr("conversations.listing.views.ConversationListView.page_size", 2)
    for _ in range(7):
        make_session()
    held = []

    def hold(route):
        held.append(route)

    page.route(lambda url: "/counts/" in url, hold)
    open_list(page)
    expect(button(page)).to_have_text("Export 3+ conversations")
    open_menu(page)
    while not held:
        page.wait_for_timeout(20)
    held[0].continue_()
    expect(button(page)).to_have_text("Export 7 conversations")
    expect(page.locator(".total")).to_have_text("7 conversations")
    expect(link(page, "Conversations as CSV")).to_be_visible()
    expect(page.locator("#export-number")).to_have_count(1)


def test_escape_and_clicks_elsewhere_close_the_menu(page, talks):
    open_list(page)
    open_menu(page)
    page.keyboard.press("Tab")
    expect(link(page, "Conversations as XLSX")).to_be_focused()
    page.keyboard.press("Escape")
    expect(link(page, "Conversations as CSV")).to_be_hidden()
    expect(button(page)).to_be_focused()
    open_menu(page)
    page.locator(".total").click()
    expect(link(page, "Conversations as CSV")).to_be_hidden()


def test_a_click_is_not_lost_when_the_number_arrives_during_it(page, talks):
    held = []

    def hold(route):
        held.append(route)

    page.route(lambda url: "/counts/" in url, hold)
    open_list(page)
    place = page.locator("#export-number").bounding_box()
    page.mouse.move(place["x"] + 5, place["y"] + 5)
    page.mouse.down()
    while not held:
        page.wait_for_timeout(20)
    held[0].continue_()
    expect(page.locator("#counts .number").first).to_be_visible()
    page.mouse.up()
    expect(menu(page).get_by_role("link").first).to_be_visible()


def test_the_menu_works_without_javascript(new_context, session_cookie, talks):
    context, _ = new_context(session_cookie, java_script_enabled=False)
    page = context.new_page()
    page.goto("/conversations/?search=refund")
    open_menu(page)
    assert download(page, "Conversations as CSV").path().stat().st_size > 100


def test_one_export_too_many_is_explained_and_back_leads_to_the_list(page, watch):
    talk("hello")
    with slots_taken(1, 2):
        open_list(page)
        open_menu(page)
        link(page, "Conversations as CSV").click()
        expect(page.get_by_role("heading", name="2 exports are already running")).to_be_visible()
        watch.expect_status(429)
    page.go_back()
    expect(said(page)).to_have_text(["hello"])
    open_menu(page)
    assert download(page, "Conversations as CSV")


# Workbooks: the page shows progress while the server makes them


def test_a_workbook_is_saved_once_it_is_made(page, talks):
    open_list(page, "?search=ref")
    open_menu(page)
    file = download(page, "Messages as XLSX")
    assert re.fullmatch(r"messages-\d{4}-\d\d-\d\d\.xlsx", file.suggested_filename)
    found = read_xlsx(file.path().read_bytes())
    assert {row["content"] for row in found} == {
        "reference number",
        "refuse to pay",
        "refund please",
    }
    assert_not_reloaded(page)
    expect(page.locator(".making")).to_have_count(0)


def test_a_workbook_downloads_without_javascript(new_context, session_cookie, talks):
    context, _ = new_context(session_cookie, java_script_enabled=False)
    page = context.new_page()
    page.goto("/conversations/?search=refund")
    open_menu(page)
    assert len(read_xlsx(download(page, "Conversations as XLSX").path().read_bytes())) == 1


@pytest.fixture
def slow(monkeypatch):
    """Each row takes a while, until this event is set."""
    go_on = threading.Event()
    write = workbook.Workbook.write

    def write_slowly(self, row):
        go_on.wait(0.2)
        return write(self, row)

    monkeypatch.setattr(workbook.Workbook, "write", write_slowly)
    monkeypatch.setattr(stream, "BLOCK", 1)
    yield go_on
    go_on.set()


@pytest.mark.slow
def test_the_page_shows_the_progress_of_a_workbook(page, slow):
    for number in range(40):
        talk(f"hello {number}")
    open_list(page)
    open_menu(page)
    with page.expect_download() as started:
        link(page, "Messages as XLSX").click()
        making = page.locator(".making")
        expect(making).to_contain_text("Preparing the file…")
        expect(making).to_contain_text(re.compile(r"\b(?:[3-9]|[123]\d) of 40 rows"))
        expect(making.get_by_role("progressbar")).to_have_attribute("max", "40")
        # Changing a filter meanwhile does not disturb it.
        page.keyboard.press("Escape")
        field(page, "Search").fill('"hello 7"')
        expect(said(page)).to_have_text(["hello 7"])
        expect(making).to_be_visible()
        slow.set()
    assert len(read_xlsx(started.value.path().read_bytes())) == 40
    expect(making).to_have_count(0)


def ended() -> bool | None:
    entry = Entry.objects.filter(act=Act.EXPORTED).latest("pk")
    return entry.details.get("complete")


@pytest.mark.slow
@pytest.mark.parametrize("leave", ["cancel", "go away"])
def test_a_workbook_stops_when_nobody_waits_for_it(page, slow, leave):
    for number in range(100):
        talk(f"hello {number}")
    open_list(page)
    open_menu(page)
    link(page, "Messages as XLSX").click()
    expect(page.locator(".making")).to_contain_text("of 100 rows")
    if leave == "cancel":
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".making")).to_have_count(0)
    else:
        page.goto("/conversations/errors/")
    for _ in range(100):
        if ended() is not None:
            break
        page.wait_for_timeout(100)
    assert ended() is False


def test_too_many_rows_are_explained_and_csv_is_offered(page, watch):
    for number in range(3):
        talk(f"hello {number}")
    with override_settings(XLSX_MAX_ROWS=2):
        open_list(page)
        open_menu(page)
        link(page, "Conversations as XLSX").click()
        expect(page.get_by_role("heading", name="Too many rows for an XLSX file")).to_be_visible()
        watch.expect_status(400)
        with page.expect_download() as started:
            page.get_by_role("link", name="Download CSV").click()
    assert started.value.suggested_filename.endswith(".csv")


def test_a_workbook_that_fails_halfway_says_so(page, monkeypatch, slow):
    for number in range(3):
        talk(f"hello {number}")
    monkeypatch.setattr(stream.Export, "counted", lambda self, connection: None)
    with override_settings(XLSX_MAX_ROWS=2):
        open_list(page)
        open_menu(page)
        link(page, "Conversations as XLSX").click()
        making = page.locator(".making")
        expect(making).to_contain_text("XLSX files are limited to 2 rows here")
        making.get_by_role("button", name="Close").click()
        expect(making).to_have_count(0)


def test_a_user_who_is_signed_out_gets_the_sign_in_form(page, context, talks):
    open_list(page)
    open_menu(page)
    context.clear_cookies(name="desk_session")
    link(page, "Messages as XLSX").click()
    page.wait_for_url("**/accounts/login/?next=/conversations/export/messages.xlsx")
