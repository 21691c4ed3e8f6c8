"""On wide screens, the list is shown beside the conversation that was opened from it."""

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def wide(page):
    page.set_viewport_size({"width": 1500, "height": 900})
    return page


def test_the_filtered_list_stays_beside_and_opens_other_conversations(wide, talks):
    wide.goto("/conversations/?search=ref&external_id=b-")
    wide.locator("a.row", has_text="b-1").click()
    beside = wide.get_by_label("List of conversations")
    expect(beside.locator("a.row")).to_have_count(2)
    expect(beside.locator("[aria-current]")).to_contain_text("b-1")
    assert wide.url.endswith("?search=ref&external_id=b-")
    wide.evaluate("window.marker = 1")
    beside.locator("a.row", has_text="b-2").click()
    expect(wide.locator("h1")).to_have_text("b-2")
    expect(beside.locator("[aria-current]")).to_have_count(1)
    expect(beside.locator("[aria-current]")).to_contain_text("b-2")
    assert wide.evaluate("window.marker") == 1
    assert wide.url.endswith("?search=ref&external_id=b-")
    expect(wide).to_have_title("b-2 · Bank · Conversation Desk")
    wide.go_back()
    expect(wide.locator("h1")).to_have_text("b-1")


def test_a_narrow_screen_neither_shows_nor_requests_the_list(page, watch, talks):
    page.set_viewport_size({"width": 1200, "height": 900})
    page.goto("/conversations/?external_id=s-")
    page.locator("a.row").click()
    expect(page.locator("h1")).to_have_text("s-1")
    page.wait_for_load_state("networkidle")
    expect(page.locator(".beside a.row")).to_have_count(0)
    assert [path for path in watch.paths() if path.startswith("/conversations/?")] == [
        "/conversations/?external_id=s-"
    ]


def test_only_the_rows_of_the_list_are_fetched(wide, talks):
    wide.goto("/conversations/?external_id=b-")
    with wide.expect_response("**/conversations/?external_id=b-") as fetched:
        wide.locator("a.row", has_text="b-1").click()
    expect(wide.locator(".beside a.row")).to_have_count(2)
    assert "<form" not in fetched.value.text()
