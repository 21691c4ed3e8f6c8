"""From a list of problems to the place of a problem, and from there to the next one."""

import pytest
from playwright.sync_api import expect

from ..support.factories import Json, make_message, make_model_call, make_run, make_session

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def troubled():
    """Twenty-five questions, three of which got no answer."""
    session = make_session(external_id="troubled")
    runs = []
    for number in range(25):
        fails = number in (4, 14, 15)
        run = make_run(session, **({"output_data": None} if fails else {}))
        make_message(session, content=f"Question {number}\n\n" + "word\n\n" * 8, run_id=run.id)
        if fails:
            make_model_call(session, run, response_code=429, response_data=Json("rate limit"))
            runs.append(run)
        else:
            make_message(session, "assistant", f"Answer {number}", run_id=run.id)
    return runs


def summary(page, run):
    return page.locator(f"#run-{run.id} .work > summary")


@pytest.mark.parametrize("width", [1500, 390])
def test_a_row_opens_the_conversation_at_its_newest_problem(page, troubled, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.goto("/conversations/?problem=failed")
    page.locator("a.row").click()
    expect(summary(page, troubled[2])).to_be_in_viewport()
    expect(summary(page, troubled[2])).to_be_focused()
    assert page.url.endswith("?problem=failed#problem")


def test_it_does_so_without_javascript(new_context, session_cookie, troubled):
    context, _ = new_context(session_cookie, java_script_enabled=False)
    page = context.new_page()
    page.goto("/conversations/?problem=failed")
    page.locator("a.row").click()
    expect(summary(page, troubled[2])).to_be_in_viewport()
    expect(page.locator(".for-keyboard")).to_be_hidden()


def test_it_does_so_from_the_list_beside(page, troubled):
    page.set_viewport_size({"width": 1500, "height": 800})
    other = make_session(external_id="other")
    make_message(other, run_id=make_run(other, output_data=None).id)
    page.goto("/conversations/?problem=failed")
    page.locator("a.row", has_text="other").click()
    page.get_by_label("List of conversations").locator("a.row", has_text="troubled").click()
    expect(page.locator("h1")).to_have_text("troubled")
    expect(summary(page, troubled[2])).to_be_in_viewport()


def test_n_and_p_go_from_problem_to_problem(page, troubled):
    page.goto(f"/conversations/{troubled[0].session_id}/")
    first, second, third = (summary(page, run) for run in troubled)
    for key, shown in [("n", first), ("n", second), ("n", third), ("n", third), ("p", second)]:
        page.keyboard.press(key)
        expect(shown).to_be_focused()
        expect(shown).to_be_in_viewport()
    # Enter opens the failed run.
    page.keyboard.press("Enter")
    expect(page.locator(f"#run-{troubled[1].id} .step-list")).to_contain_text("429: rate limit")
    page.keyboard.press("Control+p")
    page.keyboard.press("Alt+n")
    page.keyboard.press("Shift+N")
    expect(second).to_be_focused()
    hint = "Press n for the next problem and p for the previous one."
    expect(page.locator(".for-keyboard")).to_have_text(hint)


def test_n_and_p_start_from_what_is_in_view(page, troubled):
    page.goto(f"/conversations/{troubled[0].session_id}/")
    page.evaluate("document.activeElement.blur()")
    page.locator(".message", has_text="Question 10").scroll_into_view_if_needed()
    page.keyboard.press("p")
    expect(summary(page, troubled[0])).to_be_focused()
    page.evaluate("document.activeElement.blur()")
    page.locator(".message", has_text="Question 10").scroll_into_view_if_needed()
    page.keyboard.press("n")
    expect(summary(page, troubled[1])).to_be_focused()


def test_n_and_p_can_be_typed_in_fields(page, troubled):
    page.goto("/conversations/")
    page.locator("#id_search").press_sequentially("np")
    expect(page.locator("#id_search")).to_have_value("np")
