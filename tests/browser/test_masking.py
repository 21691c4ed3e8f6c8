"""Revealing personal data in a browser."""

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from privacy.stand_ins import stand_in

from ..support.factories import (
    NULL,
    Json,
    make_agent,
    make_message,
    make_run,
    make_session,
    make_task,
)
from ..support.masking import short
from .flaws import AXE, barriers, overflow

pytestmark = pytest.mark.django_db(transaction=True)

EMAIL = "jane@example.com"
REASON = "She asked us to write to her."


def masked() -> str:
    return short(stand_in("e-mail", EMAIL))


@pytest.fixture
def new_context(new_context):
    """Screens too narrow for the list beside a conversation, which might load after the test."""
    viewport = {"width": 1000, "height": 900}
    return lambda cookie=None, **options: new_context(cookie, **{"viewport": viewport, **options})


@pytest.fixture
def conversation(settings):
    settings.MASK_PERSONAL_DATA = True
    session = make_session()
    make_message(session, content=f"Write to {EMAIL}.")
    return session


def test_a_reason_reveals_the_data_and_one_click_hides_it(any_page, conversation):
    any_page.goto(f"/conversations/{conversation.id}/")
    message = any_page.locator(".message")
    expect(message).to_contain_text(f"Write to {masked()}.")
    any_page.get_by_label("Why do you need to see it?").fill(REASON)
    any_page.get_by_role("button", name="Show it").click()
    expect(message).to_contain_text(f"Write to {EMAIL}.")
    any_page.get_by_role("button", name="Hide it now").click()
    expect(message).to_contain_text(f"Write to {masked()}.")


def test_updates_of_the_page_keep_the_typed_reason(page, conversation):
    now = timezone.now()
    run = make_run(conversation, output_data=NULL, duration_seconds=None, updated_at=now)
    page.goto(f"/conversations/{conversation.id}/")
    reason = page.get_by_label("Why do you need to see it?")
    reason.fill(REASON)
    make_task(run, conversation, "look-up")
    page.evaluate("document.dispatchEvent(new Event('refresh'))")
    expect(page.locator(".facts")).to_contain_text("1 task")
    expect(reason).to_have_value(REASON)


def test_no_barrier_and_no_overflow(page, conversation):
    page.goto(f"/conversations/{conversation.id}/")
    page.evaluate(AXE)
    for width in (1000, 390):
        page.set_viewport_size({"width": width, "height": 844})
        assert (barriers(page), overflow(page)) == ([], [])
    page.get_by_label("Why do you need to see it?").fill(REASON)
    page.get_by_role("button", name="Show it").click()
    page.wait_for_selector("#revealed")
    page.evaluate(AXE)
    assert (barriers(page), overflow(page)) == ([], [])


def test_stand_ins_are_not_cut_in_narrow_lists(page, settings):
    settings.MASK_PERSONAL_DATA = True
    session = make_session(make_agent("A desk with a rather long name"), external_id=EMAIL)
    make_message(session, content=f"I am {EMAIL}")
    for width, path in ((390, ""), (1440, f"{session.id}/")):
        page.set_viewport_size({"width": width, "height": 844})
        page.goto(f"/conversations/{path}")
        shown = page.locator(".rows .key")
        expect(shown).to_have_text(masked())
        assert shown.evaluate("(each) => each.scrollWidth <= each.clientWidth")
        assert shown.evaluate("(each) => each.getBoundingClientRect().right") <= width


def test_parts_opened_later_show_the_same_stand_ins(page, conversation):
    run = make_run(conversation)
    make_task(run, conversation, "look-up", "tool_call", output=Json({"result": f"for {EMAIL}"}))
    page.goto(f"/conversations/{conversation.id}/")
    page.locator(".work summary").first.click()
    expect(page.locator(".step-list")).to_contain_text(masked())
    expect(page.locator(".message")).to_contain_text(masked())
