"""One conversation: runs, tasks and payloads open in place, and each loads once."""

import re

import pytest
from playwright.sync_api import expect

from ..support.factories import Json, make_agent, make_message, make_run, make_session, make_task
from .steps import asked

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def conversation():
    """Two messages in a run whose agent called two tools. One of the calls failed."""
    session = make_session(make_agent("Shop"), external_id="ticket-7")
    run = make_run(
        session,
        input_data=Json({"user_message": "Where is it?"}),
        output_data=Json({"agent_response": "On its way."}),
        context=Json({"locale": "et"}),
    )
    make_message(session, "user", "Where is it?", run_id=run.id)
    make_message(session, "assistant", "On its way.", run_id=run.id)
    make_task(run, session, "answer", "agent", seq=0, inputs=Json({"question": {"order": 17}}))
    make_task(run, session, "check", "llm", seq=1, prompt="Check it twice.", errors=Json(["boom"]))
    for seq, name, result in [(2, "track", "Tallinn"), (3, "refund", "Error: no such order")]:
        make_task(
            run,
            session,
            name,
            "tool_call",
            seq=seq,
            parent_task_name="answer",
            tool_uri=f"python://shop/{name}",
            output=Json({"result": result}),
        )
    session.run = run
    return session


def address(session):
    return f"/conversations/{session.id}/"


def open_run(page):
    page.locator("details.work > summary").click()
    expect(page.locator(".step-list").first).to_be_visible()


def test_a_conversation_shows_its_messages_in_order(page, conversation):
    page.goto(address(conversation))
    expect(page.get_by_role("heading", name="ticket-7")).to_be_visible()
    expect(page.locator(".message .text")).to_have_text(["Where is it?", "On its way."])
    expect(page.locator(".message header b")).to_have_text(["User", "Agent"])


def test_the_steps_of_a_run_load_once_when_it_opens(page, watch, conversation):
    page.goto(address(conversation))
    runs = f"/runs/{conversation.run.id}/"
    assert asked(watch, runs) == []
    summary = page.locator("details.work > summary")
    for _ in range(3):
        summary.click()
    expect(page.locator(".step-list li")).to_have_count(4)
    page.wait_for_timeout(200)
    assert len(asked(watch, runs)) == 1


def test_tool_calls_are_below_the_agent_that_made_them(page, conversation):
    page.goto(address(conversation))
    open_run(page)
    name = "> details > summary .name"
    expect(page.locator(f".step-list li {name}")).to_have_text(
        ["answer", "track", "refund", "check"]
    )
    expect(page.locator(f".step-list li.nested {name}")).to_have_text(["track", "refund"])
    expect(page.locator(f".step-list li.bad {name}")).to_have_text(["refund", "check"])


def test_a_task_opens_in_place_with_its_payloads(page, watch, conversation):
    page.goto(address(conversation))
    open_run(page)
    assert asked(watch, "/tasks/") == []
    answer = page.locator(".step-list li", has_text="answer").first
    answer.locator("summary").first.click()
    tree = answer.locator(".json")
    expect(tree).to_have_count(1)
    expect(tree.locator(".name")).to_have_text(["question", "order"])
    expect(tree.locator(".number")).to_have_text("17")
    expect(tree.locator(".number")).to_be_visible()
    tree.locator("summary").nth(1).click()
    expect(tree.locator(".number")).to_be_hidden()
    check = page.locator(".step-list li", has_text="check").first
    check.locator("summary").first.click()
    expect(check.locator(".prompt")).to_have_text("Check it twice.")
    expect(check.locator(".errors .string")).to_have_text("boom")
    refund = page.locator(".step-list li.nested", has_text="refund")
    refund.locator("summary").first.click()
    expect(refund.locator(".outcome.failed")).to_be_visible()
    assert len(asked(watch, "/tasks/")) == 3
    page.wait_for_url(f"**{address(conversation)}")


def test_raw_data_replaces_the_tree_and_the_tree_comes_back(page, conversation):
    page.goto(address(conversation))
    open_run(page)
    step = page.locator(".step-list li", has_text="answer").first
    step.locator("summary").first.click()
    inputs = step.locator("section", has=page.get_by_role("heading", name="Inputs"))
    for _ in range(2):
        inputs.get_by_role("link", name="Show raw").press("Enter")
        expect(inputs.locator(".text")).to_have_text('{"question": {"order": 17}}')
        expect(inputs.locator(".json")).to_have_count(0)
        back = inputs.get_by_role("link", name="Show as a tree")
        expect(back).to_be_focused()
        back.press("Enter")
        expect(inputs.locator(".json .number")).to_have_text("17")
    page.wait_for_url(f"**{address(conversation)}")


def test_input_output_and_context_of_a_run_open_on_demand(page, watch, conversation):
    page.goto(address(conversation))
    open_run(page)
    fields = ["input_data", "output_data", "context"]
    values = ["Where is it?", "On its way.", "et"]
    assert [path for name in fields for path in asked(watch, f"/{name}/")] == []
    payloads = page.locator(".payloads > details")
    for place, (name, value) in enumerate(zip(fields, values, strict=True)):
        payloads.nth(place).locator("> summary").click()
        expect(payloads.nth(place).locator(".string")).to_have_text(value)
        assert len(asked(watch, f"/{name}/")) == 1


@pytest.mark.slow
def test_a_long_run_opens_in_pages(page):
    session = make_session()
    run = make_run(session)
    for number in range(450):
        make_task(run, session, f"step-{number}", seq=number)
    page.goto(address(session))
    open_run(page)
    tasks = page.locator(".step-list li")
    expect(tasks).to_have_count(200)
    page.get_by_role("link", name="More steps (250 left)").click()
    expect(tasks).to_have_count(400)
    page.get_by_role("link", name="More steps (50 left)").click()
    expect(tasks).to_have_count(450)
    expect(page.get_by_role("link", name="More steps")).to_have_count(0)
    expect(tasks.locator("summary .name")).to_have_text([f"step-{number}" for number in range(450)])
    expect(page.locator(".payloads")).to_have_count(1)
    page.wait_for_url(f"**{address(session)}")


def test_the_copy_button_copies_the_session_id(page, context, conversation):
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(address(conversation))
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == str(conversation.id)


def test_a_linked_long_message_is_in_view_and_unfolds_on_a_click(page, conversation):
    text = "A long story. " * 400
    message = make_message(conversation, content=text)
    page.goto(f"{address(conversation)}#message-{message.id}")
    article = page.locator(f"#message-{message.id}")
    expect(article).to_be_in_viewport()
    article.locator("summary").click()
    expect(article.locator("details .text")).to_have_text(text.strip())


def test_opening_a_run_after_the_sign_in_expired_leads_to_the_form(page, context, conversation):
    page.goto(address(conversation), wait_until="networkidle")
    context.clear_cookies(name="desk_session")
    page.locator("details.work > summary").click()
    page.wait_for_url(re.compile(r"/accounts/login/\?next="))
    assert str(conversation.id) in page.url
    assert "/runs/" not in page.url
    expect(page.locator("form.sign-in")).to_have_count(1)
    expect(page.locator(".transcript")).to_have_count(0)


def test_opening_an_erased_run_says_so_in_place(page, watch, conversation):
    other = make_session()
    page.goto(address(conversation))
    page.evaluate(
        """(id) => {
          const run = document.querySelector("details.work");
          run.setAttribute("hx-get", run.getAttribute("hx-get").replace(/[^/]+(?=.runs)/, id));
        }""",
        str(other.id),
    )
    page.locator("details.work > summary").click()
    expect(page.locator("details.work .notice")).to_contain_text("Nothing at this address")
    watch.expect_status(404)
    expect(page.locator(".message .text")).to_have_count(2)


def tab_to(page, locator):
    for _ in range(60):
        page.keyboard.press("Tab")
        if locator.evaluate("(element) => element === document.activeElement"):
            break
    expect(locator).to_be_focused()


def test_tab_and_enter_reach_a_payload(page, conversation):
    page.goto(address(conversation))
    tab_to(page, page.locator("details.work > summary"))
    page.keyboard.press("Enter")
    expect(page.locator(".payloads")).to_be_visible()
    tab_to(page, page.locator(".payloads summary").first)
    page.keyboard.press("Enter")
    expect(page.locator(".payloads .string").first).to_have_text("Where is it?")
