"""Slow and failing in a browser: choosing an agent, sorting, and following a row to the list."""

from datetime import timedelta

import pytest
from playwright.sync_api import expect

from ..support.factories import Json, make_agent, make_run, make_session, make_task
from ..support.figures import last_quarter, roll_up
from .steps import query_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rolled_up():
    at = last_quarter() - timedelta(hours=1)
    times = {"created_at": at, "updated_at": at}
    for agent, tools in (("Shop", "search order order"), ("Bank", "transfer")):
        session = make_session(make_agent(agent), **times)
        run = make_run(session, **times)
        for name in tools.split():
            failed = Json({"result": "Error: gone"}) if name == "order" else Json(None)
            make_task(run, session, name, "tool_call", output=failed, **times)
    roll_up()


def test_an_agent_is_chosen_and_its_rows_lead_to_the_list(page, rolled_up):
    page.goto("/slow/?period=7d&tools=name")
    names = page.locator("#tools tbody th")
    expect(names).to_have_text(["order", "search", "transfer"])
    page.get_by_label("Agent").select_option(label="Shop")
    expect(names).to_have_text(["order", "search"])
    asked = query_of(page)
    assert (asked["period"], asked["tools"]) == ("7d", "name")
    page.locator("#tools").get_by_role("link", name="Tool", exact=True).click()
    expect(names).to_have_text(["search", "order"])
    expect(page.locator("#tools [aria-sort]")).to_have_attribute("aria-sort", "descending")
    assert query_of(page)["agent"] == asked["agent"]
    page.locator("#tools tr", has_text="order").get_by_role("link", name="2", exact=True).click()
    expect(page.locator(".rows > li")).to_have_count(1)
    chips = page.locator(".chips span")
    expect(chips).to_have_text(["Agent", "Tool", "Step", "Step from", "Step before"])
    page.go_back()
    expect(names).to_have_text(["search", "order"])


def test_without_javascript_a_button_shows_the_chosen_agent(new_context, session_cookie, rolled_up):
    context, _ = new_context(session_cookie, java_script_enabled=False)
    page = context.new_page()
    page.goto("/slow/")
    page.get_by_label("Agent").select_option(label="Bank")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#tools tbody th")).to_have_text(["transfer"])
