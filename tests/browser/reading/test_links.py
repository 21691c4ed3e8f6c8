"""Links to messages, tasks and runs, and back."""

import re

import pytest
from playwright.sync_api import expect

from ...support.factories import make_message, make_run, make_session
from .transcript import address, ids

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def needles(found_in):
    """A conversation of 60 messages, one of which has the word to search for."""
    session = make_session()
    for number in range(60):
        text = "Here is the Needle." if number == found_in else f"Straw {number}. " * 20
        make_message(session, content=text)
    return session


def test_the_search_term_is_marked_and_its_message_is_in_view(page):
    needles(40)
    page.goto("/conversations/?search=needle")
    page.locator("a.row").click()
    found = page.locator(".message.focus")
    expect(found.locator("mark")).to_have_text("Needle")
    expect(found).to_be_in_viewport()
    expect(page.locator(".message mark")).to_have_count(1)


def test_the_search_term_is_in_view_in_the_next_conversation(page):
    needles(45)
    newest = needles(30)
    page.goto(address(newest, "?search=needle"))
    expect(page.locator(".message.focus")).to_be_in_viewport()
    page.keyboard.press("j")
    page.wait_for_url(lambda url: str(newest.id) not in url)
    expect(page.locator(".message.focus mark")).to_have_text("Needle")
    expect(page.locator(".message.focus")).to_be_in_viewport()


@pytest.mark.parametrize("query", ["m={message}", "from=0", "search=refund&m={message}"])
def test_a_link_to_a_message_keeps_the_links_to_neighbours(page, filtered, query):
    middle = filtered["two"]
    message = make_message(middle, content="refund again")
    page.goto(address(middle, "?" + query.format(message=message.id)))
    expect(page.locator(".walk a")).to_have_text(["Newer", "Older"])


def test_the_search_term_is_found_on_a_later_page(any_page, long_conversation):
    any_page.goto(address(long_conversation, "?search=message+170"))
    found = any_page.locator(f"#message-{long_conversation.messages[170].id}")
    expect(found).to_have_class(re.compile(r"\bfocus\b"))
    expect(found.locator("mark")).to_have_text("Message 170")


@pytest.mark.parametrize("number", [3, 70, 100, 199])
def test_a_link_to_a_message_shows_it(page, long_conversation, number):
    message = long_conversation.messages[number]
    page.goto(address(long_conversation, f"?m={message.id}"))
    found = page.locator(".message.focus")
    expect(found).to_have_attribute("id", f"message-{message.id}")
    expect(found).to_be_in_viewport()
    assert ids(page)[0] == f"message-{long_conversation.messages[number // 80 * 80].id}"


def test_every_message_has_a_link_to_itself(any_page, long_conversation):
    page = any_page
    page.goto(address(long_conversation, "?from=80"))
    message = long_conversation.messages[120]
    found = page.locator(f"#message-{message.id}")
    found.locator("a.permalink").click()
    page.wait_for_url(f"**{address(long_conversation)}?m={message.id}#message-{message.id}")
    expect(found).to_have_class(re.compile(r"\bfocus\b"))
    expect(found).to_be_in_viewport()


def test_a_task_and_a_run_link_back_to_their_place(any_page, conversation):
    page = any_page
    page.goto(address(conversation, f"tasks/{conversation.task.id}/"))
    page.get_by_role("link", name="The conversation").click()
    run_id = conversation.run.id
    page.wait_for_url(f"**{address(conversation)}?run={run_id}#run-{run_id}")
    expect(page.locator(f"#run-{conversation.run.id}")).to_be_in_viewport()


def test_a_run_links_back_to_its_place_on_a_later_page(page, long_conversation):
    run = make_run(long_conversation)
    page.goto(address(long_conversation, f"runs/{run.id}/"))
    page.get_by_role("link", name="The conversation").click()
    expect(page.locator(f"#run-{run.id}")).to_be_in_viewport()
