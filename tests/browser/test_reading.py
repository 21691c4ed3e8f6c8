"""Reading a conversation: Markdown and its source, links to messages, pages, updates, copies."""

import json
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from django.db import connections
from django.utils import timezone
from playwright.sync_api import expect

from ..support.factories import (
    NULL,
    Json,
    make_agent,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from .flaws import flaws
from .steps import asked, follow

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

MARKDOWN = """# Your order

It is **on its way**, see [the map](https://example.com/map).

| Item | Price |
|------|-------|
| Tea  | 3     |

```
<b>code</b>
```"""
POLL = 4_100


@pytest.fixture
def new_context(new_context):
    """Screens too narrow for the list beside a conversation, which might load after the test."""
    viewport = {"width": 1200, "height": 900}
    return lambda cookie=None, **options: new_context(cookie, **{"viewport": viewport, **options})


@pytest.fixture
def conversation():
    session = make_session(make_agent("Shop"), external_id="ticket-7")
    run = make_run(session)
    make_message(session, "user", "Where is *my* order?", run_id=run.id)
    session.answer = make_message(session, "assistant", MARKDOWN, run_id=run.id)
    session.task = make_task(run, session, "look-up", seq=0)
    session.run = run
    return session


@pytest.fixture
def long_conversation():
    session = make_session()
    session.messages = [make_message(session, content=f"Message {n}.") for n in range(200)]
    return session


def address(session, query=""):
    return f"/conversations/{session.id}/{query}"


def said(page):
    return page.locator(".message > .text")


def ids(page):
    return page.locator(".message").evaluate_all("(all) => all.map((one) => one.id)")


def ids_of(messages):
    return [f"message-{message.id}" for message in messages]


# Markdown and its source


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


# Links to messages


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


# Long messages and long conversations


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


# What the transcript shows between messages


def test_a_long_silence_is_a_divider(page):
    session = make_session()
    start = timezone.now() - timedelta(days=1)
    for minutes in (0, 4, 16, 16 + 180):
        make_message(session, created_at=start + timedelta(minutes=minutes))
    page.goto(address(session))
    expect(page.locator(".gap")).to_have_text(["12 minutes later", "3 hours later"])
    after = page.locator(".gap + .message time").evaluate_all(
        "(all) => all.map((one) => Date.parse(one.dateTime))"
    )
    assert [round((at / 1000 - start.timestamp()) / 60) for at in after] == [16, 196]


def test_the_times_of_messages_are_in_the_zone_of_the_viewer(new_context, session_cookie):
    at = timezone.now().replace(year=2025, month=1, day=2, hour=20, minute=30, second=0)
    session = make_session()
    make_message(session, created_at=at)
    context, _ = new_context(session_cookie, timezone_id="Asia/Tokyo")
    page = context.new_page()
    page.goto("/conversations/")
    page.goto(address(session))
    time = page.locator(".message time")
    expect(time).to_have_text("05:30:00")
    expect(time).to_have_attribute("title", "3 Jan 2025, 05:30:00 JST")


def test_the_reason_of_a_failed_run_is_where_the_answer_should_be(any_page):
    page = any_page
    session = make_session()
    run = make_run(session, output_data=NULL)
    make_message(session, "user", "Where is it?", run_id=run.id)
    make_model_call(
        session, run, model="big-model", response_code=429, response_data=Json("Quota is used up.")
    )
    make_task(run, session, "answer", errors=Json("No model answered."))
    make_message(session, "user", "Hello?", created_at=timezone.now())
    page.goto(address(session))
    outcome = page.locator(".run > .outcome.failed")
    expect(outcome).to_contain_text("there was no answer")
    expect(outcome.locator(".reason")).to_have_text(
        ["big-model: 429: Quota is used up.", "answer: No model answered."]
    )
    expect(page.locator(".run > .message + .outcome")).to_have_count(1)
    expect(page.locator(".message, .outcome")).to_have_text(
        [re.compile("Where is it"), re.compile("Quota"), re.compile("Hello")]
    )


def test_model_calls_open_with_request_and_response_on_demand(page, watch):
    session = make_session()
    run = make_run(session)
    make_message(session, run_id=run.id)
    make_model_call(
        session,
        run,
        model="big-model",
        prompt_tokens=1_200,
        completion_tokens=4,
        total_tokens=1_204,
        request_data=Json(json.dumps({"messages": ["Hello there"]})),
        response_data=Json({"answer": "Hi"}),
    )
    page.goto(address(session))
    page.locator("details.work > summary").click()
    page.locator(".model-calls > summary").click()
    call = page.locator(".model-calls > ol > li")
    expect(call).to_contain_text("big-model")
    expect(call).to_contain_text("1,200 prompt")
    assert asked(watch, "/model-calls/") == []
    for field, value in (("Request", "Hello there"), ("Response", "Hi")):
        details = call.locator("details", has=page.locator("summary", has_text=field)).first
        details.locator("> summary").click()
        expect(details.locator(".json .string")).to_have_text(value)
    assert len(asked(watch, "/model-calls/")) == 2


def test_model_calls_open_without_javascript(page_without_javascript):
    page = page_without_javascript
    session = make_session()
    run = make_run(session)
    make_model_call(session, run, request_data=Json({"ask": "Hello there"}))
    page.goto(address(session))
    page.locator("details.work > summary").click()
    page.get_by_role("link", name="Open this run").click()
    page.locator(".model-calls > summary").click()
    page.locator(".model-calls li summary", has_text="Request").click()
    page.get_by_role("link", name="Open request").click()
    expect(page.locator(".json .string")).to_have_text("Hello there")


# The next conversation


@pytest.fixture
def filtered():
    """Three conversations that match the search and, between them, two that do not."""
    made = {}
    for name in ("one", "other", "two", "another", "three"):
        made[name] = make_session(external_id=name)
        make_message(made[name], content="refund" if name in ("one", "two", "three") else "hello")
    return made


def test_keys_go_to_neighbours_in_the_filtered_list(page, filtered):
    page.goto("/conversations/?search=refund")
    page.locator("a.row", has_text="three").click()
    title = page.locator("h1")
    expect(title).to_have_text("three")
    for key, name in (("j", "two"), ("j", "one"), ("j", "one"), ("k", "two"), ("k", "three")):
        page.keyboard.press(key)
        expect(title).to_have_text(name)
        page.wait_for_url(f"**{address(filtered[name])}?search=refund")
    page.keyboard.press("k")
    page.wait_for_timeout(200)
    expect(title).to_have_text("three")
    page.go_back()
    expect(title).to_have_text("two")


def test_links_go_to_neighbours_in_the_filtered_list(any_page, filtered):
    page = any_page
    page.goto(address(filtered["two"], "?search=refund"))
    walk = page.locator(".walk a")
    expect(walk).to_have_text(["Newer", "Older"])
    page.get_by_role("link", name="Older").click()
    expect(page.locator("h1")).to_have_text("one")
    expect(walk).to_have_text(["Newer"])
    page.get_by_role("link", name="Newer").click()
    expect(page.locator("h1")).to_have_text("two")
    page.get_by_role("link", name="Newer").click()
    expect(page.locator("h1")).to_have_text("three")
    expect(walk).to_have_text(["Older"])
    page.get_by_role("link", name="Back to the results").click()
    page.wait_for_url("**/conversations/?search=refund")


def test_a_link_shows_the_other_conversations_of_the_same_person(any_page):
    page = any_page
    first = make_session(make_agent("Shop"), external_id="person-1")
    second = make_session(make_agent("Bank"), external_id="person-1")
    make_session(make_agent("Cafe"), external_id="person-10")
    page.goto(address(first))
    others = page.locator(".same-person")
    expect(others.locator("h2")).to_have_text("Also from person-1")
    expect(others.get_by_role("link")).to_have_text(["All with this id", "Bank"])
    others.get_by_role("link", name="Bank").click()
    page.wait_for_url(f"**{address(second)}")
    expect(others.get_by_role("link")).to_have_text(["All with this id", "Shop"])


# Copies, downloads and printing


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "Copy as text",
            r"ticket-7 \({id}\)\n\nUser, .* UTC\n{asked}\n\nAgent, .* UTC\n{answer}\n",
        ),
        (
            "Copy as Markdown",
            r"# ticket-7 \({id}\)\n\n\*\*User\*\*, .* UTC\n\n{asked}\n\n"
            r"\*\*Agent\*\*, .* UTC\n\n{answer}\n",
        ),
    ],
    ids=["text", "Markdown"],
)
def test_the_transcript_is_copied(new_context, session_cookie, conversation, name, expected):
    context, _ = new_context(session_cookie, timezone_id="UTC")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(address(conversation))
    page.get_by_role("link", name=name).click()
    expect(page.get_by_role("link", name="Copied")).to_be_visible()
    expect(page.locator(".tools [role=status]")).to_have_text("Copied")
    pattern = expected.format(
        id=conversation.id, asked=re.escape("Where is *my* order?"), answer=re.escape(MARKDOWN)
    )
    assert re.fullmatch(pattern, page.evaluate("navigator.clipboard.readText()"))
    assert urlsplit(page.url).path == address(conversation)
    expect(page.get_by_role("link", name=name)).to_be_visible()


@pytest.mark.parametrize("reason", ["network", "error", "signed out", "clipboard"])
def test_a_failed_copy_says_so(new_context, session_cookie, conversation, reason):
    context, watch = new_context(session_cookie)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(address(conversation))
    page.evaluate("navigator.clipboard.writeText('before')")
    if reason == "clipboard":
        refuse = "() => { navigator.clipboard.writeText = () => Promise.reject(new Error()); }"
        page.evaluate(refuse)
    elif reason == "network":
        page.route("**/transcript.txt", lambda route: route.abort())
    elif reason == "error":
        page.route("**/transcript.txt", lambda route: route.fulfill(status=503))
    elif reason == "signed out":
        context.clear_cookies(name="desk_session")
    page.get_by_role("link", name="Copy as text").click()
    expect(page.get_by_role("link", name="Could not copy")).to_be_visible()
    expect(page.locator(".tools [role=status]")).to_have_text("Could not copy")
    assert page.evaluate("navigator.clipboard.readText()") == "before"
    expect(page.get_by_role("link", name="Copy as text")).to_be_visible()
    watch.complaints = [one for one in watch.complaints if "Failed to load resource" not in one]


def test_the_link_keeps_its_text_after_two_clicks(new_context, session_cookie, conversation):
    context, _ = new_context(session_cookie)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.clock.install()
    page.goto(address(conversation))
    page.get_by_role("link", name="Copy as text").click()
    with page.expect_response("**/transcript.txt"):
        page.get_by_role("link", name="Copied").click()
    page.wait_for_timeout(200)
    page.clock.run_for(5_000)
    expect(page.get_by_role("link", name="Copy as text")).to_be_visible()


def test_the_transcript_opens_without_javascript(page_without_javascript, conversation):
    page = page_without_javascript
    page.goto(address(conversation))
    page.get_by_role("link", name="Copy as text").click()
    page.wait_for_url("**/transcript.txt")
    expect(page.locator("body")).to_contain_text("Where is *my* order?")


def test_the_conversation_is_downloaded_as_json(page, conversation):
    page.goto(address(conversation))
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download JSON").click()
    assert waiting.value.suggested_filename == f"conversation-{conversation.id}.json"
    found = json.loads(waiting.value.path().read_text())
    assert found["session_id"] == str(conversation.id)
    assert [one["content"] for one in found["messages"]] == ["Where is *my* order?", MARKDOWN]
    assert [one["output_data"] for one in found["runs"]] == [{"agent_response": "Hi"}]
    assert [one["name"] for one in found["tasks"]] == ["look-up"]


def test_print_shows_messages_without_buttons_and_menus(page, conversation):
    failed = make_run(conversation, output_data=NULL)
    make_message(conversation, "user", "Again?", run_id=failed.id)
    make_session(external_id="ticket-7")
    page.goto(address(conversation))
    machinery = page.locator(
        "header.bar, .skip, .back, .walk, .beside, .tools, .same-person, .work, button, summary, "
        "input"
    )
    assert machinery.filter(visible=True).count() >= 8
    page.emulate_media(media="print")
    expect(machinery.filter(visible=True)).to_have_count(0)
    expect(page.locator("h1")).to_be_visible()
    expect(said(page).filter(visible=True)).to_have_count(3)
    expect(page.locator(".outcome.failed")).to_be_visible()


# Updates


@pytest.fixture
def running():
    """A conversation whose last run is unfinished."""
    session = make_session(make_agent("Shop"))
    for number in range(30):
        make_message(session, content=f"Before {number}. " * 20)
    session.run = make_run(
        session, output_data=NULL, duration_seconds=None, updated_at=timezone.now()
    )
    make_message(session, "user", "Where is it?", run_id=session.run.id)
    make_task(session.run, session, "look-up", seq=0)
    return session


def end(session):
    make_message(session, "assistant", "On its *way*.", run_id=session.run.id)
    with connections["agents_write"].cursor() as cursor:
        cursor.execute(
            "UPDATE runs SET output_data = %s, duration_seconds = 2, updated_at = now()"
            " WHERE id = %s",
            ['{"agent_response": "On its way."}', session.run.id],
        )


def requests_for_changes(watch):
    """How many times the page asked for changes."""
    return len(asked(watch, "/conversations/new/"))


def loads(watch, session):
    """How many times the conversation was fetched again after the page was loaded."""
    return len([path for path in watch.paths() if path.startswith(address(session))]) - 1


def test_a_conversation_is_only_fetched_again_when_it_has_changed(page, watch, running):
    page.clock.install()
    page.goto(address(running), wait_until="networkidle")
    expect(page.locator(".outcome.running")).to_be_visible()
    assert requests_for_changes(watch) == 0
    for count in (1, 2):
        with page.expect_response("**/conversations/new/**") as response:
            page.clock.run_for(POLL)
        assert response.value.request.headers["x-refresh"] == "1"
        assert (requests_for_changes(watch), loads(watch, running)) == (count, 0)
    expect(page.locator(".outcome.running")).to_be_visible()
    end(running)
    with page.expect_response(f"**{address(running)}**") as response:
        page.clock.run_for(POLL)
    assert response.value.request.headers["x-refresh"] == "1"
    expect(said(page).last).to_have_text("On its way.")
    expect(page.locator(".outcome.running")).to_have_count(0)
    expect(page.locator(".run .pill.completed")).to_have_count(1)
    expect(page.locator(".facts .pill.completed")).to_have_count(1)
    expect(page.locator(".message")).to_have_count(32)
    # From now on, the page asks less often.
    page.clock.run_for(10_000)
    page.wait_for_timeout(200)
    assert requests_for_changes(watch) == 3
    with page.expect_response("**/conversations/new/**"):
        page.clock.run_for(POLL + 1_000)
    assert (requests_for_changes(watch), loads(watch, running)) == (4, 1)


def test_a_refresh_closes_nothing_and_moves_nothing(page, watch, running):
    long = make_message(running, content="A long story. " * 300, run_id=running.run.id)
    page.clock.install()
    page.goto(address(running))
    page.locator("details.work > summary").click()
    task = page.locator(".step-list li > details")
    task.locator("> summary").click()
    expect(task.locator(".task")).to_be_visible()
    rest = page.locator(f"#message-{long.id} .rest")
    rest.locator("> summary").click()
    expect(rest.locator(".text")).to_be_visible()
    page.mouse.move(700, 400)
    start = page.evaluate("scrollY")
    page.mouse.wheel(0, -300)
    for _ in range(500):
        if page.evaluate("scrollY") <= start - 300:
            break
        page.wait_for_timeout(20)
    task.evaluate("(element) => (window.opened = element)")
    anchor = page.locator(".message").nth(28)
    before = page.evaluate("scrollY"), anchor.bounding_box()
    assert before[0] > 0
    loaded = len(asked(watch, "/runs/")), len(asked(watch, "/tasks/"))
    for finish in (False, True):
        if finish:
            end(running)
        with page.expect_response("**/conversations/new/**"):
            page.clock.run_for(POLL)
        page.wait_for_timeout(300)
        assert (page.evaluate("scrollY"), anchor.bounding_box()) == before
    expect(page.locator(".message").last).to_contain_text("On its way.")
    expect(task.locator(".task")).to_be_visible()
    expect(rest.locator(".text")).to_be_visible()
    assert task.evaluate("(element) => element === window.opened && element.open")
    # The steps of the ended run were loaded again, the task was not.
    assert (len(asked(watch, "/runs/")), len(asked(watch, "/tasks/"))) == (loaded[0] + 1, loaded[1])


def test_a_hidden_tab_does_not_ask_for_changes(page, watch, running):
    page.add_init_script(
        """window.shown = false;
        Object.defineProperty(document, "visibilityState", {
          get: () => (window.shown ? "visible" : "hidden"),
        });"""
    )
    page.clock.install()
    page.goto(address(running), wait_until="networkidle")
    end(running)
    for _ in range(3):
        page.clock.run_for(POLL)
    page.wait_for_timeout(200)
    assert (requests_for_changes(watch), loads(watch, running)) == (0, 0)
    # It asks as soon as it is visible again.
    page.evaluate("window.shown = true; document.dispatchEvent(new Event('visibilitychange'))")
    expect(said(page).last).to_have_text("On its way.")


def test_the_last_page_of_a_long_conversation_refreshes(page, watch, long_conversation):
    session = long_conversation
    session.run = make_run(
        session, output_data=NULL, duration_seconds=None, updated_at=timezone.now()
    )
    question = make_message(session, "user", "Where is it?", run_id=session.run.id)
    page.clock.install()
    page.goto(address(session, "?from=0"))
    for shown in (160, 201):
        page.locator(".message").last.scroll_into_view_if_needed()
        page.mouse.wheel(0, 1_000)
        expect(page.locator(".message")).to_have_count(shown)
    expect(page.locator(".outcome.running")).to_be_visible()
    end(session)
    page.clock.run_for(POLL)
    expect(page.locator(".message")).to_have_count(202)
    expect(said(page).last).to_have_text("On its way.")
    assert ids(page)[:-1] == ids_of([*session.messages, question])
    expect(page.locator(".outcome.running")).to_have_count(0)
    expect(page.locator(".facts .pill")).to_have_text("Completed")


# Accessibility


@pytest.fixture
def of_every_kind():
    """{kind: address} of a conversation with everything that a transcript can show."""
    session = make_session(make_agent("Shop"), external_id="ticket-7")
    make_session(make_agent("Bank"), external_id="ticket-7")
    run = make_run(session)
    found = make_message(session, "user", "Where is *my* order?", run_id=run.id)
    answer = make_message(session, "assistant", f"{MARKDOWN}\n\n1. one\n\n> said", run_id=run.id)
    make_message(session, "system", json.dumps({"order": 17, "open": None}), run_id=run.id)
    make_task(run, session, "look-up", seq=0)
    make_model_call(
        session, run, prompt_tokens=10, completion_tokens=1, request_data=Json({"a": 1})
    )
    make_model_call(session, run, response_code=500, response_data=Json("No."))
    failed = make_run(session, output_data=NULL)
    make_model_call(session, failed, response_code=429, response_data=Json("Quota is used up."))
    make_message(session, "user", "A long story. " * 300, run_id=failed.id)
    make_message(session, "", "  ", created_at=timezone.now() - timedelta(minutes=20))
    make_run(
        session,
        output_data=NULL,
        duration_seconds=None,
        created_at=timezone.now(),
        updated_at=timezone.now(),
    )
    many = make_session()
    for number in range(170):
        make_message(many, content=f"Message {number}")
    return {
        "formatted": address(session),
        "searched": address(session, "?search=order"),
        "source": address(session, "?source"),
        "linked": address(session, f"?m={found.id}"),
        "message": address(session, f"messages/{answer.id}/"),
        "message source": address(session, f"messages/{answer.id}/?source"),
        "later page": address(many, "?from=80"),
    }


@pytest.mark.parametrize(
    "kind",
    ["formatted", "searched", "source", "linked", "message", "message source", "later page"],
)
def test_no_barrier_in_light_and_dark(page, of_every_kind, kind):
    page.goto(of_every_kind[kind])
    for folded, loaded in ((".work", ".run-steps"), (".model-calls", ""), (".rest", ".whole")):
        details = page.locator(folded)
        details.evaluate_all("(all) => all.forEach((one) => (one.open = true))")
        if loaded:
            expect(page.locator(f"{folded} {loaded}")).to_have_count(details.count())
    # Headings inside a message are the author's, so their order is not checked.
    assert [flaw for flaw in flaws(page) if ": heading-order ['h" not in flaw] == []
