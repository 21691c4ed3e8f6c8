"""What people type is shown exactly as typed, with addresses as links."""

import pytest

from conversations.display.links import as_typed

from ..support.factories import make_message, make_session
from ..support.pages import get, url
from ..support.payloads import PAYLOADS
from .test_message_text import Elements

RELATION = 'target="_blank" rel="noopener noreferrer nofollow"'


@pytest.mark.django_db
@pytest.mark.parametrize(
    "content",
    [
        "100*100/400*56",
        "1. 5. 8.",
        "1. one\n5. five\n8. eight",
        "[ORDER]: 4711-A",
        r"\\server\share",
        "  two  spaces\n\n\n\nand   lines\n",
        "# no heading\n- no list\n> no quotation\n\n    no code",
        "_a_ **b** ~~c~~ `d` <b>e</b> &amp; &#65;",
        '{"typed": "t\\u00fchistatud"}',
        "['text', {'type': 'text'}]",
    ],
)
@pytest.mark.parametrize("role", ["user", "customer"])
def test_what_a_person_typed_is_shown_as_typed(support_client, role, content):
    session = make_session()
    message = make_message(session, role, content)
    for path in (url("detail", session.id), url("message", session.id, message.id)):
        page = get(support_client, path).content.decode()
        assert f'<div class="text source" dir="auto">{as_typed(content)}</div>' in page
    assert Elements(as_typed(content)).text == content
    assert Elements(as_typed(content)).names() == []


@pytest.mark.parametrize("content", PAYLOADS)
def test_a_hostile_text_stays_what_it_is_and_links_lead_to_the_web(content):
    parsed = Elements(as_typed(content, "a"))
    assert parsed.text == content
    assert set(parsed.names()) <= {"a", "mark"}
    for link in parsed.all("a"):
        assert link["href"].lower().startswith(("http://", "https://", "mailto:"))
        assert set(link) == {"href", "target", "rel"}


def test_addresses_are_links_and_the_words_of_a_search_are_marked_in_them():
    html = as_typed('Is "https://a.example/?x=1&y=<b>" <b>it</b>?', "example")
    address = "https://a.example/?x=1&amp;y="
    shown = address.replace("example", "<mark>example</mark>")
    assert html == (
        f'Is &quot;<a href="{address}" {RELATION}>{shown}</a>&lt;b&gt;&quot; &lt;b&gt;it&lt;/b&gt;?'
    )


def test_an_address_that_the_end_of_the_text_cuts_short_is_no_link():
    assert Elements(as_typed("see https://a.example/or", is_cut=True)).names() == []
    assert Elements(as_typed("see https://a.example/ or", is_cut=True)).names() == ["a"]


def test_many_brackets_after_an_address_are_handled_quickly():
    assert Elements(as_typed("https://a.example/" + ")" * 200_000)).names() == ["a"]
