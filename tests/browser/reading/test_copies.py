"""Copies, downloads and printing."""

import json
import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from ...support.factories import NULL, make_message, make_run, make_session
from .transcript import MARKDOWN, address, said

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


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
