"""Long messages, and conversations of many messages or runs."""

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from ...support.factories import NULL, make_message, make_run, make_session
from ..steps import asked, follow
from .transcript import address, ids, ids_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def test_a_long_message_opens_in_full_on_demand(page, watch):
    session = make_session()
    text = "".join(f"Sentence {number}. " for number in range(600)).strip()
    message = make_message(session, "assistant", text)
    page.goto(address(session))
    article = page.locator(f"#message-{message.id}")
    expect(article.locator("> .text")).not_to_contain_text("Sentence 599.")
    assert asked(watch, "/messages/") == []
    summary = article.locator(".rest > summary")
    expect(summary).to_have_text(f"Show all {len(text):,} characters")
    for _ in range(3):
        summary.click()
    expect(article.locator(".rest .text")).to_have_text(text)
    assert len(asked(watch, "/messages/")) == 1


def test_a_long_message_opens_without_javascript(page_without_javascript):
    page = page_without_javascript
    session = make_session()
    text = "A **bold** word. " * 400
    make_message(session, "assistant", text)
    page.goto(address(session))
    page.locator(".rest > summary").click()
    page.get_by_role("link", name="Open the whole message").click()
    expect(page.locator(".whole strong")).to_have_count(400)
    follow(page, "Plain source")
    assert page.locator(".whole .text").text_content() == text
    page.get_by_role("link", name="The conversation").click()
    expect(page.locator(".message.focus")).to_have_count(1)


def test_later_messages_load_while_scrolling(page, watch, long_conversation):
    page.goto(address(long_conversation, "?from=0"))
    assert ids(page) == ids_of(long_conversation.messages[:80])
    expect(page.get_by_role("link", name="Later messages (120 left)")).to_have_count(1)
    for shown in (160, 200):
        page.locator(".message").last.scroll_into_view_if_needed()
        page.mouse.wheel(0, 1_000)
        expect(page.locator(".message")).to_have_count(shown)
    assert ids(page) == ids_of(long_conversation.messages)
    expect(page.get_by_role("link", name="Later messages")).to_have_count(0)
    expect(page.get_by_role("link", name="Earlier messages").filter(visible=True)).to_have_count(0)
    assert len(asked(watch, "?from=")) == 3


def test_later_and_earlier_messages_without_javascript(page_without_javascript, long_conversation):
    page = page_without_javascript
    page.goto(address(long_conversation, "?from=0"))
    parts = [long_conversation.messages[start : start + 80] for start in (0, 80, 160)]
    follow(page, "Later messages (120 left)")
    assert ids(page) == ids_of(parts[1])
    follow(page, "Later messages (40 left)")
    assert ids(page) == ids_of(parts[2])
    expect(page.get_by_role("link", name="Later messages")).to_have_count(0)
    for part in (parts[1], parts[0]):
        follow(page, "Earlier messages")
        assert ids(page) == ids_of(part)
    expect(page.get_by_role("link", name="Earlier messages")).to_have_count(0)


def test_a_long_conversation_opens_at_its_newest_message(page, long_conversation):
    page.goto("/conversations/")
    page.locator("a.row").click()
    expect(page.locator(".message").last).to_be_in_viewport()
    assert ids(page) == ids_of(long_conversation.messages[120:])
    assert page.url.endswith(address(long_conversation))
    expect(page.get_by_role("link", name="Later messages")).to_have_count(0)


@pytest.mark.parametrize("items", [1, 79, 80])
def test_a_conversation_of_one_page_opens_at_its_beginning(page, items):
    session = make_session()
    for number in range(items):
        make_message(session, content=f"Message {number}.")
    page.goto(address(session))
    expect(page.locator(".message")).to_have_count(items)
    expect(page.locator("h1")).to_be_in_viewport()
    expect(page.locator(".places")).to_have_count(0)


def test_earlier_messages_load_above_without_moving_the_page(page, long_conversation):
    messages = long_conversation.messages
    page.goto(address(long_conversation))
    for shown in (160, 200):
        first = page.locator(f"#message-{messages[200 - page.locator('.message').count()].id}")
        page.get_by_role("link", name="Earlier messages").filter(visible=True).click()
        expect(page.locator(".message")).to_have_count(shown)
        expect(first).to_be_in_viewport()
    assert ids(page) == ids_of(messages)
    expect(page.get_by_role("link", name="Earlier messages").filter(visible=True)).to_have_count(0)


def test_links_show_the_beginning_and_the_end(any_page, long_conversation):
    page, messages = any_page, long_conversation.messages
    page.goto(address(long_conversation))
    above, below = page.locator(".places").all()
    below.get_by_role("link", name="Beginning").click()
    page.wait_for_url("**?from=0")
    expect(page.locator(f"#message-{messages[0].id}")).to_be_in_viewport()
    above.get_by_role("link", name="End").click()
    page.wait_for_url("**?from=120#end")
    expect(page.locator(f"#message-{messages[199].id}")).to_be_in_viewport()
    page.go_back()
    page.wait_for_url("**?from=0")
    expect(page.locator(f"#message-{messages[0].id}")).to_be_in_viewport()


@pytest.fixture
def many_runs():
    """A conversation of 250 runs, one of which failed."""
    session = make_session()
    start = timezone.now() - timedelta(days=2)
    session.runs = []
    for number in range(250):
        at = start + timedelta(minutes=number)
        output = {"output_data": NULL} if number == 30 else {}
        run = make_run(session, created_at=at, **output)
        make_message(session, content=f"Question {number}", run_id=run.id, created_at=at)
        session.runs.append(run)
    return session


def test_the_list_of_runs_links_to_each_run(page, watch, many_runs):
    page.goto(address(many_runs))
    assert asked(watch, "/runs/") == []
    outline = page.locator(".places").last.locator("details")
    outline.locator("> summary").click()
    rows = outline.locator("li")
    expect(rows).to_have_count(100)
    expect(rows.first).to_contain_text("Question 249")
    for left in (150, 50):
        outline.get_by_role("link", name=f"Earlier runs ({left} left)").click()
    expect(rows).to_have_count(250)
    failed = rows.filter(has=page.locator(".pill.failed"))
    expect(failed).to_contain_text("Question 30")
    failed.get_by_role("link").click()
    run = many_runs.runs[30]
    page.wait_for_url(f"**{address(many_runs)}?run={run.id}#run-{run.id}")
    expect(page.locator(f"#run-{run.id} .outcome.failed")).to_be_in_viewport()
    page.go_back()
    page.wait_for_url(f"**{address(many_runs)}")
    expect(page.locator(".message", has_text="Question 249")).to_be_in_viewport()


def test_the_list_of_runs_works_without_javascript(page_without_javascript, many_runs):
    page = page_without_javascript
    page.goto(address(many_runs, "?source"))
    page.locator(".places summary").first.click()
    page.get_by_role("link", name="Open the list of runs").first.click()
    follow(page, "Earlier runs (150 left)")
    page.get_by_role("link", name="Question 100").click()
    run = many_runs.runs[100]
    page.wait_for_url(f"**{address(many_runs)}?source=&run={run.id}#run-{run.id}")
    expect(page.locator(f"#run-{run.id}")).to_be_in_viewport()


def test_a_run_across_two_pages_shows_each_message_and_its_end_once(page):
    session = make_session()
    run = make_run(session)
    messages = [make_message(session, content=f"{n}", run_id=run.id) for n in range(100)]
    page.goto(address(session, "?from=0"))
    page.locator(".message").last.scroll_into_view_if_needed()
    page.mouse.wheel(0, 1_000)
    expect(page.locator(".message")).to_have_count(100)
    assert ids(page) == ids_of(messages)
    expect(page.locator("details.work")).to_have_count(1)
