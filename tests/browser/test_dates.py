"""Filters by date in a browser, including one that calls its time zone by an old name."""

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from ..support.factories import make_agent
from .steps import assert_not_reloaded, field, open_dates, open_list, said, talk, wait_for_query

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def calcutta(new_context, session_cookie):
    """A page in a browser in India. The server knows its time zone."""
    context, _ = new_context(session_cookie, timezone_id="Asia/Calcutta")
    page = context.new_page()
    page.goto("/accounts/login/")
    return page


def test_choosing_a_date_adds_the_zone_to_the_address(calcutta, new_context, session_cookie):
    at = timezone.now().replace(year=2026, month=6, day=1, hour=20, minute=0)
    talk("in the morning of the second", created_at=at, updated_at=at)
    talk("now")
    page = calcutta
    open_list(page)
    open_dates(page)
    field(page, "Created until").fill("2026-06-02")
    wait_for_query(page, end_date="2026-06-02", tz="Asia/Calcutta")
    field(page, "Created from").fill("2026-06-02")
    dates = {"start_date": "2026-06-02", "end_date": "2026-06-02"}
    wait_for_query(page, **dates, tz="Asia/Calcutta")
    expect(said(page)).to_have_text(["in the morning of the second"])
    expect(page.locator(".zone")).to_have_text("Dates are in Asia/Calcutta.")
    assert_not_reloaded(page)
    # Somebody in another time zone opens the link.
    context, _ = new_context(session_cookie, timezone_id="America/New_York")
    other = context.new_page()
    other.goto("/accounts/login/")
    other.goto(page.url)
    expect(said(other)).to_have_text(["in the morning of the second"])
    title = other.locator(".when time").first.get_attribute("title")
    assert title.startswith("2 Jun 2026, 01:")
    assert title.endswith(" IST")
    other.get_by_role("link", name="Use America/New_York instead").click()
    wait_for_query(other, **dates, tz="America/New_York")
    expect(said(other)).to_have_count(0)
    # Without dates, the address has no time zone.
    other.get_by_role("link", name="Clear all", exact=True).click()
    wait_for_query(other)


def test_a_time_can_be_set_to_the_minute_or_second(calcutta):
    page = calcutta
    open_list(page, "?end_date=2026-06-02")
    page.get_by_role("link", name="Set a time").click()
    until = field(page, "Created until")
    expect(until).to_have_value("2026-06-02T23:59:59")
    assert until.evaluate("field => field.validity.valid")
    until.fill("2026-06-02T12:30")
    wait_for_query(page, end_date="2026-06-02T12:30", tz="Asia/Calcutta")
    assert_not_reloaded(page)


def test_a_click_filters_by_recent_days(calcutta):
    at = timezone.now() - timedelta(days=3)
    talk("of this week", created_at=at, updated_at=at)
    talk("of today")
    page = calcutta
    open_list(page)
    open_dates(page)
    days = page.get_by_role("navigation", name="Recent activity")
    expect(said(page)).to_have_count(2)
    days.get_by_role("link", name="Last 7 days").click()
    expect(days.get_by_role("link", name="Last 7 days")).to_have_attribute("aria-current", "true")
    expect(said(page)).to_have_count(2)
    days.get_by_role("link", name="Today").click()
    expect(days.get_by_role("link", name="Today")).to_have_attribute("aria-current", "true")
    today = field(page, "Active from").input_value()
    assert field(page, "Active until").input_value() == today
    wait_for_query(page, active_from=today, active_until=today, tz="Asia/Calcutta")
    assert_not_reloaded(page)
    page.get_by_role("link", name="Remove the filter Active from").click()
    wait_for_query(page, active_until=today, tz="Asia/Calcutta")


def test_chips_show_dates_as_people_write_them(calcutta):
    page = calcutta
    open_list(
        page,
        "?start_date=2026-06-02&end_date=2026-06-03T14:00&active_from=2026-06-01T22:00:30%2B02:00"
        "&problem_from=2026-06-02&tz=Asia/Tokyo",
    )
    expect(page.locator(".chip b")).to_have_text(
        ["2 Jun 2026", "3 Jun 2026, 14:00", "2 Jun 2026, 05:00:30", "2 Jun 2026"]
    )


# The width of a field's text, and the width available to it.
WIDTHS = """(field) => {
  const style = getComputedStyle(field);
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  const text = field.matches("select") ? field.selectedOptions[0].text : field.placeholder;
  const arrow = field.matches("select") ? 16 : 0;
  const padding = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
  return [pen.measureText(text).width, field.clientWidth - padding - arrow];
}"""


@pytest.mark.parametrize("width", [1440, 390, 320])
def test_no_field_is_clipped(new_context, session_cookie, width):
    agent = make_agent("Quillfeather order help, west coast")
    talk("hello", agent)
    context, _ = new_context(session_cookie, viewport={"width": width, "height": 900})
    page = context.new_page()
    times = "start_date=2026-12-22T22:00&end_date=2026-12-28T23:59:59"
    open_list(page, f"?scope=all&agent={agent.id}&outcome=waiting&{times}")
    if width < 700:
        page.locator("#filters .folded > summary").click()
    for label in ("Search", "Search in", "Agent", "Customer got"):
        needed, room = field(page, label).evaluate(WIDTHS)
        assert needed <= room, label
    # The width that Chromium needs for a time with seconds, without the picker's button.
    for label in ("Created from", "Created until"):
        assert field(page, label).bounding_box()["width"] >= 235


@pytest.mark.parametrize("width", [1440, 390])
def test_the_form_fits(new_context, session_cookie, width):
    context, _ = new_context(
        session_cookie,
        timezone_id="America/Argentina/ComodRivadavia",
        viewport={"width": width, "height": 900},
    )
    page = context.new_page()
    page.goto("/accounts/login/")
    open_list(page, "?start_date=2026-01-01T10:00&active_from=2026-01-01&tz=Asia/Tokyo")
    if width < 700:
        page.locator("#filters .folded > summary").click()
    expect(page.locator(".zone")).to_contain_text("Dates are in Asia/Tokyo")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [each.bounding_box() for each in page.locator("#filters .field, .activity").all()]
    for box in boxes:
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
