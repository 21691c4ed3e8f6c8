"""
What support staff do in their first hour, on the demo conversations. Each task has a limit for the
number of clicks, key presses and pasted texts.
"""

import re
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone
from playwright.sync_api import expect

from conversations.models import Session
from demo import write_demo

from .steps import LIST

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


class Hand:
    """A user whose clicks, key presses and pasted texts are counted, up to a limit."""

    def __init__(self, page, may: int):
        self.page = page
        self.left = may

    def act(self):
        self.left -= 1
        assert self.left >= 0, "The task takes too many clicks and keys."

    def click(self, place):
        self.act()
        place.click()

    def press(self, key):
        self.act()
        self.page.keyboard.press(key)

    def write(self, text):
        self.act()
        self.page.keyboard.insert_text(text)


@pytest.fixture
def demo():
    connections["agents_write"].ensure_connection()
    write_demo(connections["agents_write"].connection)


@pytest.fixture(params=[1440, 390])
def at_list(request, demo, page):
    page.set_viewport_size({"width": request.param, "height": 860})
    page.goto(LIST)
    return page


def conversations(**having):
    """Conversations at least a day old, of people with only one conversation."""
    since = timezone.now() - timedelta(days=1)
    found = Session.objects.filter(external_id__contains="@", updated_at__lt=since, **having)
    for session in found.order_by("-updated_at"):
        if Session.objects.filter(external_id=session.external_id).count() == 1:
            yield session


def test_what_did_the_agent_tell_this_person_and_why(at_list):
    hand = Hand(at_list, may=5)
    session = next(
        each for each in conversations() if each.chatmessage_set.filter(role="assistant").exists()
    )
    hand.press("/")
    hand.write(session.external_id)
    hand.press("Enter")
    expect(at_list.locator("h1")).to_have_text(session.external_id)
    answer = session.chatmessage_set.filter(role="assistant").order_by("created_at").first()
    expect(at_list.locator(f"#message-{answer.pk}")).to_be_visible()
    hand.click(at_list.locator(".work > summary").first)
    expect(at_list.locator(".step-list li").first).to_be_visible()


def test_why_did_this_customer_get_no_answer_and_what_was_done_before(at_list):
    hand = Hand(at_list, may=4)
    hand.click(at_list.get_by_role("link", name=re.compile("Run failed")))
    expect(at_list).to_have_url(re.compile("problem=failed"))
    hand.click(at_list.locator("a.row", has=at_list.locator(".got.none")).first)
    expect(at_list.get_by_text("The customer got no answer")).to_be_visible()
    problem = at_list.locator("#problem ~ .work > summary")
    expect(problem).to_be_focused()
    hand.press("Enter")
    failed = at_list.locator(".step-list li", has_text="the customer got no answer")
    expect(failed).to_be_visible()
    done = at_list.locator("section.got-what .done-before")
    if not done.locator("ol, p").first.is_visible():
        hand.click(done.locator("summary"))
    expect(done.locator("ol, p").first).to_be_visible()


def test_what_got_worse_in_seven_days(at_list):
    hand = Hand(at_list, may=4)
    hand.click(at_list.get_by_role("link", name="Errors", exact=True))
    hand.click(at_list.get_by_role("link", name="7 days", exact=True))
    expect(at_list).to_have_url(re.compile("period=7d"))
    hand.click(at_list.get_by_role("link", name="Rising", exact=True))
    expect(at_list).to_have_url(re.compile("sort=rising"))
    group = at_list.locator(".rows > li").first
    expect(group.locator(".times")).to_be_visible()
    number = re.search(r"in ([\d,]+) conversation", group.inner_text())
    hand.click(group.get_by_role("link").first)
    shown = at_list.get_by_role("status").filter(has_text="conversation")
    expect(shown).to_have_text(re.compile(rf"\b{number[1]}\b"))


def test_print_a_conversation(at_list):
    hand = Hand(at_list, may=4)
    hand.click(at_list.locator("a.row").first)
    facts = at_list.locator("header.facts details.fold > summary")
    expect(at_list.locator("header.facts h1")).to_be_visible()
    if facts.is_visible():
        hand.click(facts)
    hand.click(at_list.get_by_role("link", name="Print", exact=True))
    at_list.evaluate("window.print = () => (window.printed = true)")
    hand.click(at_list.get_by_role("button", name="Print", exact=True))
    assert at_list.evaluate("window.printed")
