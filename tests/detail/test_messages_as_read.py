"""JSON messages and messages with parts: readable on pages, unchanged for programs."""

import json
import re
from html import unescape

import pytest

from conversations.detail.transcript import FOLD
from conversations.sessions import get_session_details

from ..support.factories import make_message, make_session
from ..support.masking import kinds, masking_on
from ..support.pages import url

pytestmark = pytest.mark.django_db

STORED = json.dumps({"vastus": "Teie tellimus on tühistatud", "n": float("nan"), "last": 1})
PARTS = json.dumps(
    [
        {"type": "text", "text": "Kas see on *õige*?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "file", "file": {"filename": "arve.pdf", "file_data": "x"}},
    ]
)


def page(client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    content = response.streaming_content if response.streaming else [response.content]
    return b"".join(content).decode()


def words(html: str) -> str:
    return unescape(re.sub("<[^>]*>", "", html))


@pytest.fixture
def session():
    made = make_session(external_id="read")
    make_message(made, "user", PARTS)
    make_message(made, "assistant", STORED)
    return made


def test_pages_rows_and_copies_show_escaped_letters_decoded(support_client, session):
    shown = page(support_client, url("detail", session.id))
    assert '<span class="string" dir="auto">Teie tellimus on tühistatud</span>' in shown
    assert '<span class="literal" dir="auto">NaN</span>' in shown
    assert '<span class="number" dir="auto">1</span>' in shown
    assert "Not all of it is shown" not in shown
    row = words(page(support_client, "/conversations/"))
    assert '{"vastus": "Teie tellimus on tühistatud", "n": NaN, "last": 1}' in row
    for form in ("txt", "md"):
        copied = page(support_client, f"/conversations/{session.id}/transcript.{form}")
        assert "Teie tellimus on tühistatud" in copied
        assert "\\u00fc" not in copied


def test_parts_are_shown_as_text_with_a_note_about_the_rest(support_client, session):
    shown = page(support_client, url("detail", session.id))
    assert '<div class="text source" dir="auto">Kas see on *õige*?</div>' in shown
    assert '<p class="parts" dir="auto">1 image, file arve.pdf</p>' in shown
    assert "base64" not in shown
    row = words(page(support_client, "/conversations/"))
    assert "Kas see on õige?\n[1 image, file arve.pdf]" in row
    copied = page(support_client, f"/conversations/{session.id}/transcript.txt")
    assert "Kas see on *õige*?\n[1 image, file arve.pdf]\n" in copied
    assert "base64" in page(support_client, url("detail", session.id) + "?source")


def test_the_parts_of_an_agents_message_are_rendered_as_markdown(support_client):
    session = make_session()
    make_message(session, "assistant", '[{"type": "text", "text": "*jah*"}]')
    assert "<em>jah</em>" in page(support_client, url("detail", session.id))


def test_programs_get_messages_exactly_as_stored(support_client, session):
    stored = [PARTS, STORED]
    found = json.loads(page(support_client, f"/conversations/{session.id}/conversation.json"))
    assert [message["content"] for message in found["messages"]] == stored
    assert [each.content for each in get_session_details(session.id).messages] == stored
    lines = page(support_client, "/conversations/export/messages.jsonl").splitlines()
    assert [json.loads(line)["content"] for line in lines] == stored


def test_search_hits_are_marked_in_a_tree(support_client, session):
    shown = page(support_client, url("detail", session.id) + "?search=TELLIMUS")
    assert ">Teie <mark>tellimus</mark> on tühistatud<" in shown


def test_a_tree_is_open_at_its_search_hits(support_client):
    session = make_session()
    make_message(session, "assistant", '{"a": {"b": {"c": {"d": "tellimus"}}}}')
    page_of = url("detail", session.id)
    assert page(support_client, page_of).count("<details open>") == 2
    assert page(support_client, f"{page_of}?search=tellimus").count("<details open>") == 4


def test_a_snippet_of_json_shows_escaped_letters_decoded(support_client, session):
    row = page(support_client, "/conversations/?search=tellimus")
    assert row.count("tellimus</mark> on tühistatud") == 1


@pytest.mark.parametrize(
    ("role", "content", "snippet"),
    [
        ("tool", STORED, "Teie <mark>tellimus</mark> on tühistatud"),
        ("assistant", json.dumps(["x " * 6_000 + "õde: tellimus on tühistatud"]),
         "õde: <mark>tellimus</mark> on tühistatud"),
        ("user", json.dumps([{"type": "text", "text": "õde: tellimus"}, {"type": "image_url"}]),
         "õde: <mark>tellimus</mark> [1 image url]"),
        ("user", '{"a": "tellimus t\\u00fc"}', "<mark>tellimus</mark> t\\u00fc"),
    ],
    ids=["a tool's", "deep in one", "parts", "typed"],
)  # fmt: skip
def test_a_snippet_reads_like_the_page(support_client, role, content, snippet):
    make_message(make_session(), role, content)
    response = support_client.get("/conversations/?search=tellimus&go=0")
    [row] = response.context["rows"]
    assert snippet in row.snippets[0].html


def test_json_that_a_person_typed_is_copied_as_typed(support_client):
    typed = '{"name": "t\\u00fchi"}'
    session = make_session()
    make_message(session, "user", typed)
    for path in (url("detail", session.id), f"/conversations/{session.id}/transcript.txt"):
        assert typed in unescape(page(support_client, path))


def test_a_row_does_not_cut_within_an_escaped_letter(support_client):
    for lead in range(6):
        make_message(make_session(), "assistant", '{"a": "' + "x" * lead + "\\u00fc" * 300 + '"}')
    row = words(page(support_client, "/conversations/"))
    assert row.count('{"a": "') == 6
    assert "\\" not in row
    assert not re.search("ü[0-9a-fu]", row)


# Limits


def test_a_tree_that_was_cut_links_to_the_whole_message(support_client):
    session = make_session()
    content = json.dumps(list(range(100, 621)))
    assert len(content) <= FOLD
    message = make_message(session, "assistant", content)
    shown = page(support_client, url("detail", session.id))
    assert shown.count('class="number"') < 521
    path = url("message", session.id, message.id)
    assert f'<b>Not all of it is shown.</b> <a href="{path}">Open the whole message</a>' in shown
    whole = page(support_client, path)
    assert whole.count('class="number"') == 521
    assert "Not all of it is shown" not in whole


def test_a_long_text_in_a_tree_is_complete_on_the_messages_own_page(support_client):
    session = make_session()
    content = json.dumps({"long": "ü" * 5_000, "after": "the end"})
    message = make_message(session, "assistant", content)
    shown = page(support_client, url("detail", session.id))
    assert "ü" * 400 in shown
    assert "\\u00fc" not in shown
    assert f"Show all {len(content):,} characters" in shown
    whole = page(support_client, url("message", session.id, message.id))
    assert "ü" * 5_000 in whole
    assert "the end" in whole
    assert "Not all of it is shown" not in whole


def test_a_message_too_large_for_a_tree_links_to_its_source(support_client):
    session = make_session()
    content = json.dumps([0] * 10_001)
    path = url("message", session.id, make_message(session, "assistant", content).id)
    assert f'<a href="{path}?source">Plain source</a>' in page(support_client, path)
    assert content in page(support_client, path + "?source")


def test_json_nested_too_deep_for_a_parser_is_a_tree(support_client):
    session = make_session()
    message = make_message(session, "assistant", "[" * 2_000 + "]" * 2_000)
    shown = page(support_client, url("message", session.id, message.id))
    assert "nested deeper than is shown" in shown
    assert "Plain source" in shown


def test_an_address_that_was_cut_is_not_a_link(support_client):
    session = make_session()
    make_message(session, "user", "x" * (FOLD - 25) + " https://example.com/order/4711")
    assert 'href="https://example.com' not in page(support_client, url("detail", session.id))


# Masking


@pytest.mark.parametrize("role", ["user", "assistant", "tool"])
@pytest.mark.parametrize(
    "content",
    [
        '{"to": "jane\\u0040example.com", "phone": "3725\\u0031234567"}',
        '[{"type": "text", "text": "write to jane\\u0040example.com or +372 5\\u0031234567"}]',
        '[{"type": "file", "file": {"filename": "jane@example.com"}}, {"text": "x"}]',
        "see https://x.example/?to=jane@example.com and mailto:jane@example.com",
        "[x]: jane@example.com",
        "| a |\n|---|\n| b | jane@example.com |",
        r"\(jane@example.com\)",
    ],
)
def test_personal_data_is_masked_in_decoded_messages(viewer_client, settings, role, content):
    session = make_session()
    for text in (content, content.replace("write to", "x" * FOLD), f"{content}{' ' * FOLD}x"):
        make_message(session, role, text)
    paths = [url("detail", session.id), "/conversations/"]
    with masking_on(settings):
        for path in (*paths, f"/conversations/{session.id}/transcript.txt"):
            shown = unescape(page(viewer_client, path))
            assert "jane@example" not in shown
            assert "jane%40example" not in shown
            assert "51234567" not in shown


def test_personal_data_is_masked_in_rendered_markdown(viewer_client, settings):
    session = make_session()
    for content in ("~~jane~~@example.com", "- [ ] jane@**example**.com", "```jane@example.com\nx"):
        make_message(session, "assistant", content)
    with masking_on(settings):
        shown = words(page(viewer_client, url("detail", session.id)))
    assert "jane" not in shown
    assert kinds(shown).count("[e-mail]") == 3
