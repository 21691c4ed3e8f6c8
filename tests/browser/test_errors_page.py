"""The page Errors in a browser: what got worse since yesterday, and its conversations."""

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from ..errors.test_errors import model_failure, task_failure, tool_failure
from ..support.factories import NULL, make_agent, make_message, make_run, make_session
from ..support.payloads import PAYLOADS
from .flaws import flaws

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
ERRORS = "/conversations/errors/"


@pytest.fixture
def worse():
    """More failures of the device than yesterday, two busy models, and some steady problems."""
    now = timezone.now()
    for hours, number in ((0, 4), (25, 1), (80, 2), (200, 1)):
        for place in range(number):
            moment = now - timedelta(hours=hours)
            session = make_session(make_agent("Shop"), created_at=moment, updated_at=moment)
            make_message(session, content=f"My device {place} is lost", created_at=moment)
            tool_failure("device lost", session=session, created_at=moment)
    for model in ("openai/gpt-5.4-mini", "google/gemini-3-flash", "openai/gpt-5.4-mini"):
        model_failure("rate limit reached", 429, model=model)
    for hours in (1, 26, 50, 75):
        task_failure("why", created_at=now - timedelta(hours=hours))
    make_run(make_session(), output_data=NULL)


def test_two_clicks_show_what_got_worse_and_a_third_its_conversations(page, worse):
    page.goto(ERRORS)
    page.get_by_role("navigation", name="Period").get_by_role("link", name="24 hours").click()
    expect(page.get_by_text("compared with the 24 hours before")).to_be_visible()
    page.get_by_role("navigation", name="Sort by").get_by_role("link", name="Rising").click()
    expect(page).to_have_url(f"{page.url.split('?')[0]}?period=24h&sort=rising")
    first = page.locator(".rows > li").first
    expect(first).to_contain_text("device lost")
    expect(first.locator(".pill")).to_have_text(["Tool call failed", "rising"])
    expect(first.locator(".times small")).to_have_text(["in 4 conversations", "before: 1"])
    first.locator(".row").click()
    expect(page.locator(".total")).to_have_text("4 conversations")
    expect(page.locator(".newest-problem")).to_have_text(["tool look_up: device lost"] * 4)
    # The tab shows the same number.
    expect(page.locator(".problems [aria-current=true] .number")).to_have_text("4")
    page.go_back()
    expect(page.locator(".rows > li").first).to_contain_text("device lost")


def test_a_failure_of_two_models_opens_into_them(any_page, worse):
    any_page.goto(ERRORS)
    row = any_page.locator(".rows > li").filter(has_text="rate limit reached")
    expect(row.locator(".what b")).to_have_text("2 models")
    models = row.locator("details li")
    expect(models.first).to_be_hidden()
    row.locator("summary").click()
    expect(models).to_contain_text(["gpt-5.4-mini: 2 in 2 conversations", "gemini-3-flash: 1 in 1"])
    models.first.get_by_role("link").click()
    expect(any_page.locator("#results .rows > li")).to_have_count(2)


@pytest.mark.parametrize("query", ["", "?period=today", "?period=30d&sort=new"])
def test_the_page_has_no_flaws(page, worse, query):
    for place, words in enumerate(PAYLOADS[::60][:4]):
        model_failure(words, 500, model=words)
        model_failure(words, 500, model=f"{'m' * 80}{place}")
    page.goto(f"{ERRORS}{query}")
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert flaws(page, f"errors{query.strip('?').replace('&', '-')}") == []


def test_the_empty_page_has_no_flaws(page):
    page.goto(f"{ERRORS}?period=7d")
    expect(page.get_by_text("No problem was recorded in the last 7 days")).to_be_visible()
    assert flaws(page, "errors-empty") == []
