"""The links above the rows: problems with their numbers, and hiding evaluations."""

import pytest
from playwright.sync_api import expect

from conversations.listing import counts

from ..support.factories import Json, make_agent, make_run, make_task
from .steps import (
    LIST,
    assert_not_reloaded,
    field,
    open_list,
    problem_link,
    said,
    talk,
    wait_for_query,
)

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

NUMBERS = {
    "Any problem": "3",
    "Run failed": "2",
    "Run still running": "0",
    "Run interrupted": "0",
    "Model call failed": "0",
    "Tool call failed": "1",
    "Task error": "0",
}


@pytest.fixture
def troubled(talks):
    """Three conversations without a problem and three with one, two of them with the agent Shop."""
    for text in ("one broke", "another broke"):
        make_run(talk(text, talks["Shop"]), output_data=Json(None))
    session = talk("a tool broke", external_id="eval:7")
    output = Json({"result": "Error: offline"})
    make_task(make_run(session), session, "restart", "tool_call", output=output)
    return talks


def numbers(page):
    """{label: number} of the links that have one."""
    expect(page.locator(".problems .number")).to_have_count(len(NUMBERS))
    links = page.locator(".problems a").all_inner_texts()
    return dict(link.rsplit(maxsplit=1) for link in links if link != "All")


def chosen(page):
    return page.get_by_role("navigation", name="Problems").locator("[aria-current=true]")


def test_choosing_a_problem_shows_conversations_that_have_it_and_marks_it(page, troubled):
    open_list(page)
    expect(chosen(page)).to_have_text("All")
    problem_link(page, "Run failed").click()
    expect(said(page)).to_have_text(["another broke", "one broke"])
    wait_for_query(page, problem="failed")
    expect(chosen(page)).to_have_text("Run failed 2")
    problem_link(page, "Tool call failed").click()
    expect(said(page)).to_have_text(["a tool broke"])
    expect(page.locator(".row .newest-problem")).to_have_text("tool restart: offline")
    wait_for_query(page, problem="tool_error")
    problem_link(page, "Any problem").click()
    expect(said(page)).to_have_text(["a tool broke", "another broke", "one broke"])
    problem_link(page, "All").click()
    expect(said(page)).to_have_count(6)
    page.wait_for_url("**/conversations/")
    assert_not_reloaded(page)


def test_a_chosen_problem_stays_while_other_filters_change(page, troubled):
    open_list(page)
    problem_link(page, "Any problem").click()
    wait_for_query(page, problem="any")
    field(page, "Agent").select_option("Shop")
    shop = str(troubled["Shop"].id)
    wait_for_query(page, problem="any", agent=shop)
    expect(said(page)).to_have_text(["another broke", "one broke"])
    field(page, "Search").press_sequentially("one")
    wait_for_query(page, problem="any", agent=shop, search="one")
    expect(said(page)).to_have_text(["one broke"])
    expect(chosen(page)).to_have_text("Any problem 1")
    problem_link(page, "All").click()
    wait_for_query(page, agent=shop, search="one")
    field(page, "Search").fill("")
    wait_for_query(page, agent=shop)
    expect(said(page)).to_have_count(3)
    page.get_by_role("link", name="Remove the filter Agent").click()
    page.wait_for_url("**/conversations/")
    assert_not_reloaded(page)


def test_back_and_reload_keep_the_chosen_problem(page, troubled):
    open_list(page)
    problem_link(page, "Run failed").click()
    wait_for_query(page, problem="failed")
    problem_link(page, "Tool call failed").click()
    wait_for_query(page, problem="tool_error")
    page.reload()
    expect(said(page)).to_have_text(["a tool broke"])
    expect(chosen(page)).to_have_text("Tool call failed 1")
    page.go_back()
    wait_for_query(page, problem="failed")
    expect(said(page)).to_have_text(["another broke", "one broke"])
    expect(chosen(page)).to_have_text("Run failed 2")
    page.go_back()
    page.wait_for_url("**/conversations/")
    expect(said(page)).to_have_count(6)
    expect(chosen(page)).to_have_text("All")
    page.go_forward()
    expect(said(page)).to_have_text(["another broke", "one broke"])
    field(page, "Search").press_sequentially("one")
    wait_for_query(page, problem="failed", search="one")


def test_numbers_appear_beside_the_problems_and_follow_the_other_filters(page, watch, troubled):
    open_list(page)
    assert numbers(page) == NUMBERS
    expect(page.locator("#counts").get_by_role("status")).to_have_text("6 conversations")
    field(page, "Agent").select_option("Shop")
    wait_for_query(page, agent=str(troubled["Shop"].id))
    of_shop = NUMBERS | {"Any problem": "2", "Tool call failed": "0"}
    expect(problem_link(page, "Any problem")).to_have_text("Any problem 2")
    assert numbers(page) == of_shop
    # The numbers do not depend on the chosen problem.
    problem_link(page, "Tool call failed").click()
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    assert numbers(page) == of_shop
    page.go_back()
    expect(said(page)).to_have_count(3)
    assert numbers(page) == of_shop
    asked = [path for path in watch.paths() if path.startswith("/conversations/counts/")]
    assert len(asked) == 4


def test_the_list_works_before_the_numbers_arrive(page, troubled):
    held = []
    page.route("**/conversations/counts/**", lambda route: held.append(route))
    open_list(page)
    expect(said(page)).to_have_count(6)
    expect(page.locator("#counts").get_by_role("status")).to_have_text("6 conversations")
    expect(page.locator(".problems .number")).to_have_count(0)
    while not held:
        page.wait_for_timeout(20)
    problem_link(page, "Run failed").click()
    expect(said(page)).to_have_text(["another broke", "one broke"])
    # The answer to the previous list's request must not set the numbers of this one.
    while len(held) < 2:
        page.wait_for_timeout(20)
    held[0].continue_()
    page.wait_for_timeout(300)
    expect(chosen(page)).to_have_text("Run failed")
    expect(page.locator("#counts").get_by_role("status")).to_have_text("2 conversations")
    held[1].continue_()
    expect(chosen(page)).to_have_text("Run failed 2")
    assert numbers(page) == NUMBERS
    expect(page.locator("#counts")).to_have_count(1)


def test_if_counting_fails_the_list_stays_as_it_is(page, watch, troubled, monkeypatch):
    def broken(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(counts, "of_problems", broken)
    with page.expect_event("console"):
        open_list(page)
    watch.expect_status(500)
    expect(said(page)).to_have_count(6)
    expect(page.locator(".problems a")).to_have_count(len(NUMBERS) + 1)
    expect(page.locator(".notice")).to_have_count(0)
    expect(page.locator("#counts").get_by_role("status")).to_have_text("6 conversations")


def test_numbers_are_requested_once_and_not_without_results(page, watch, talks):
    open_list(page, "?start_date=someday")
    expect(page.get_by_text("Fix the highlighted filter")).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert not [path for path in watch.paths() if "/counts/" in path]
    open_list(page, "?search=ref")
    assert numbers(page) == dict.fromkeys(NUMBERS, "0")
    page.wait_for_timeout(300)
    asked = [path for path in watch.paths() if "/counts/" in path]
    assert asked == ["/conversations/counts/?search=ref"]


def test_large_numbers_end_with_a_plus(page, troubled, monkeypatch):
    monkeypatch.setattr(counts, "PROBLEM_UP_TO", 1)
    open_list(page)
    assert numbers(page) == NUMBERS | {"Any problem": "1+", "Run failed": "1+"}


# Evaluations


def test_evaluations_are_hidden_by_a_link_and_brought_back_by_its_chip(page, troubled):
    open_list(page, "?search=broke")
    expect(said(page)).to_have_count(3)
    expect(page.locator(".row .who .pill")).to_have_text(["evaluation"])
    page.get_by_role("link", name="Hide evaluations").click()
    expect(said(page)).to_have_text(["another broke", "one broke"])
    wait_for_query(page, search="broke", evals="hidden")
    expect(page.get_by_role("link", name="Hide evaluations")).to_have_count(0)
    assert numbers(page) == NUMBERS | {"Any problem": "2", "Tool call failed": "0"}
    # They stay hidden after choosing, typing and reloading.
    field(page, "Search").fill("a tool")
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    wait_for_query(page, search="a tool", evals="hidden")
    page.reload()
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    page.get_by_role("link", name="Remove the filter Evaluations: hidden").click()
    expect(said(page)).to_have_text(["a tool broke"])
    wait_for_query(page, search="a tool")
    expect(page.get_by_role("link", name="Hide evaluations")).to_be_visible()
    page.go_back()
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    wait_for_query(page, search="a tool", evals="hidden")


# Without JavaScript


def test_problems_search_and_evaluations_work_without_javascript(
    new_context, session_cookie, troubled
):
    context, watch = new_context(session_cookie, java_script_enabled=False)
    page = context.new_page()
    page.goto(LIST)
    expect(said(page)).to_have_count(6)
    expect(page.locator("#counts").get_by_role("status")).to_have_text("6 conversations")
    problem_link(page, "Any problem").click()
    expect(said(page)).to_have_text(["a tool broke", "another broke", "one broke"])
    expect(chosen(page)).to_have_text("Any problem")
    page.get_by_role("link", name="Hide evaluations").click()
    expect(said(page)).to_have_text(["another broke", "one broke"])
    field(page, "Search").fill("one")
    page.get_by_role("button", name="Filter").click()
    expect(said(page)).to_have_text(["one broke"])
    expect(page.locator(".said mark")).to_have_text("one")
    expect(chosen(page)).to_have_text("Any problem")
    page.get_by_role("link", name="Remove the filter Evaluations").click()
    page.get_by_role("link", name="Remove the filter Search").click()
    expect(said(page)).to_have_count(3)
    field(page, "Search").fill("eval:7")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("heading", name="eval:7")).to_be_visible()
    assert not [path for path in watch.paths() if "/counts/" in path or "/new/" in path]


def test_the_label_of_a_problem_is_read_out_with_its_number(page):
    make_run(talk("one broke", make_agent("Shop")), output_data=Json(None))
    open_list(page)
    expect(page.get_by_role("link", name="Run failed 1", exact=True)).to_be_visible()


def test_a_click_on_a_problem_is_not_lost_when_its_number_arrives(page, troubled):
    held = []

    def hold(route):
        held.append(route)

    page.route(lambda url: "/counts/" in url and "problem" not in url, hold)
    open_list(page)
    problem_link(page, "Run failed").hover()
    page.mouse.down()
    while not held:
        page.wait_for_timeout(20)
    held[0].continue_()
    expect(page.locator(".problems .number").first).to_be_visible()
    page.mouse.up()
    expect(said(page)).to_have_text(["another broke", "one broke"])
