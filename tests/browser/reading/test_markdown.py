"""Markdown and its source, the direction of lines, and days."""

from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from ...support.factories import make_message, make_session
from .transcript import MARKDOWN, address, said

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def test_markdown_is_rendered_and_its_source_is_a_link_away(any_page, conversation):
    page = any_page
    page.goto(address(conversation, "?search=order"))
    answer = page.locator(f"#message-{conversation.answer.id} > .text")
    expect(answer.locator("h4")).to_have_text("Your order")
    expect(answer.locator("strong")).to_have_text("on its way")
    expect(answer.locator("td")).to_have_text(["Tea", "3"])
    expect(answer.locator("pre code")).to_have_text("<b>code</b>\n")
    link = answer.get_by_role("link", name="the map")
    expect(link).to_have_attribute("href", "https://example.com/map")
    expect(link).to_have_attribute("target", "_blank")

    page.get_by_role("link", name="Plain source").click()
    expect(answer).to_have_class("text source")
    assert answer.text_content() == MARKDOWN
    expect(said(page).first).to_have_text("Where is *my* order?")
    expect(page.locator(".message mark").first).to_have_text("order")
    expect(page.get_by_role("link", name="Plain source")).to_have_count(0)

    page.get_by_role("link", name="Formatted").click()
    expect(answer.locator("h4")).to_have_text("Your order")
    assert urlsplit(page.url).query == "search=order"


def test_the_source_stays_chosen_in_the_next_conversation(page):
    first, second = make_session(), make_session()
    make_message(first, content="*One*")
    make_message(second, content="*Two*")
    page.goto(address(second, "?source"))
    expect(said(page)).to_have_text("*Two*")
    page.get_by_role("link", name="Older").click()
    expect(said(page)).to_have_text("*One*")
    expect(page.get_by_role("link", name="Formatted")).to_be_visible()


HEBREW = "שלום עולם"
# For each line of an element's text, whether it begins on the right.
ON_THE_RIGHT = """(element) => {
  const found = [];
  const around = element.getBoundingClientRect();
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    for (const line of walker.currentNode.data.matchAll(/[^\\n]*[^\\s][^\\n]*/g)) {
      const range = document.createRange();
      range.setStart(walker.currentNode, line.index);
      range.setEnd(walker.currentNode, line.index + line[0].length);
      const shown = range.getBoundingClientRect();
      found.push(around.right - shown.right < shown.left - around.left);
    }
  }
  return found;
}"""


def test_each_typed_line_and_each_paragraph_has_its_own_direction(page):
    session = make_session()
    wide = "a rather long line of English words that makes the bubble as wide as it may become now"
    make_message(session, "user", f"{wide}\n{HEBREW}\nEnglish\n\n{HEBREW}")
    make_message(
        session,
        "assistant",
        f"{wide}\n\n{HEBREW}\n\n- {HEBREW}\n- item\n\n1. {HEBREW}\n\n2. loose\n\n> {HEBREW}"
        f"\n\n| {HEBREW} | b {'long ' * 9} |\n|-|-|\n| {'long ' * 9} | {HEBREW} |"
        f"\n\n    {HEBREW} code",
    )
    page.goto(address(session))
    typed, rendered = said(page).nth(0), said(page).nth(1)
    assert typed.evaluate(ON_THE_RIGHT)[1:] == [True, False, True]
    for place, on_the_right in (
        *(("p >> nth=1", True), ("ul li >> nth=0", True), ("ul li >> nth=1", False)),
        *(("ol li >> nth=0", True), ("ol li >> nth=1", False), ("blockquote", True)),
        *(("th >> nth=0", True), ("td >> nth=1", True), ("pre", False)),
    ):
        assert rendered.locator(place).evaluate(ON_THE_RIGHT) == [on_the_right], place
    # The item's number is on the same side.
    assert rendered.locator("ol > li").evaluate_all(
        "(all) => all.map((one) => getComputedStyle(one).direction)"
    ) == ["rtl", "ltr"]


def test_typed_messages_keep_every_character_and_line_break(any_page):
    page = any_page
    session = make_session()
    typed = "100*100/400*56\n1. 5. 8.\n\n\n[ORDER]: 4711-A\n  \\\\server\\share\tx"
    make_message(session, "user", f"{typed} https://example.com/a_b_c.")
    page.goto(address(session))
    shown = said(page)
    assert shown.inner_text() == f"{typed} https://example.com/a_b_c."
    link = shown.get_by_role("link")
    expect(link).to_have_attribute("href", "https://example.com/a_b_c")
    expect(link).to_have_attribute("target", "_blank")
    assert shown.locator("*").count() == 1


def test_a_message_that_is_longer_than_its_tree_links_to_all_of_it(any_page):
    page = any_page
    session = make_session()
    make_message(session, "assistant", str(list(range(100, 621))))
    page.goto(address(session))
    expect(page.locator(".json .number")).to_have_count(499)
    page.get_by_role("link", name="Open the whole message").click()
    expect(page.locator(".json .number")).to_have_count(521)
    expect(page.locator(".json .number").last).to_have_text("620")


@pytest.mark.parametrize("media", ["screen", "print"])
def test_each_day_begins_with_its_weekday_and_date(page, media):
    session = make_session()
    for day in (27, 28):
        make_message(session, created_at=datetime(2026, 2, day, 12, tzinfo=UTC))
    page.emulate_media(media=media)
    page.goto(address(session))
    expect(page.locator(".day")).to_have_text(
        ["Friday, 27 February 2026", "Saturday, 28 February 2026"]
    )
    expect(page.locator(".day").last).to_be_visible()
