"""A search finds a text however the two are spelled, and marks the hit."""

import re
from uuid import UUID

import pytest
from django.http import QueryDict
from django.urls import reverse

from conversations.listing.offers import offers
from conversations.models import Session
from conversations.selection.filters import ConversationFilter
from conversations.selection.pasted import ids, spellings
from privacy import masking

from ..support.factories import Json, make_agent, make_message, make_run, make_session, make_task
from ..support.listing import TYPING, listed, match
from ..support.pages import get, text

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

SPELLINGS = [
    # (search, message, the part of it that is marked)
    ("café", "the Cafe\u0301 is open", "Cafe\u0301"),
    ("cafe\u0301", "the CAFÉ is open", "CAFÉ"),
    ("STRASSE", "Lange Straße 5", "Straße"),
    ("straße", "LANGE STRASSE 5", "STRASSE"),
    ("σοφος", "Ο ΣΟΦΟΣ", "ΣΟΦΟΣ"),
    ("istanbul", "to İstanbul", "İstanbul"),
    ("İSTANBUL", "to ıstanbul", "ıstanbul"),
    ("don't", "I don’t know", "don’t"),
    ("don’t", "I don't know", "don't"),
    ('"where is"', "so where\n  is it", "where\n  is"),
    ("where\u00a0is", "so where is it", "where is"),
    ("wonderful", "so won\u00adder\u200bful", "won\u00adder\u200bful"),
    ("won\u200bderful", "so wonderful", "wonderful"),
    ("4711", "order ４７１１", "４７１１"),
    ("٤٧١١", "order 4711", "4711"),
    ("confirm", "please conﬁrm", "conﬁrm"),
    ("ПРИВЕТ", "ну привет", "привет"),
]


@pytest.mark.parametrize(("search", "content", "marked"), SPELLINGS)
def test_hits_are_marked_on_the_list_and_in_the_conversation(
    support_client, search, content, marked
):
    session = make_session()
    make_message(session, content=content)
    make_message(make_session(), content="something else")
    response = get(support_client, search=search, go=0)
    assert listed(response) == [session.id]
    [snippet] = response.context["rows"][0].snippets
    shown = re.findall("<mark>(.*?)</mark>", snippet.html.replace("&#x27;", "'"))
    assert shown == [" ".join(marked.split())]
    page = support_client.get(
        reverse("conversations:detail", args=[session.id]), {"search": search}
    )
    assert page.context["focus"]
    html = page.content.decode().replace("&#x27;", "'")
    found = re.findall("<mark>(.*?)</mark>", html, re.DOTALL)
    # A line break is a tag.
    assert "".join(found).split() == marked.split()


def test_letters_that_json_escapes_are_found_and_shown(support_client):
    session = make_session()
    stored = r'{"vastus": "Teie tellimus on t\u00fchistatud \ud83d\ude00"}'
    make_message(session, "assistant", content=stored)
    for search in ("tühistatud", "TÜHISTATUD", "tu\u0308histatud", r"t\u00fchistatud", "😀"):
        if len(search) < 2:
            search = f'{search}"'
        response = get(support_client, search=search, go=0)
        assert listed(response) == [session.id], search
        [snippet] = response.context["rows"][0].snippets
        if "h" in search:
            assert "on <mark>tühistatud</mark> 😀" in snippet.html


@pytest.mark.parametrize("place", [0, 30, 7_990, 8_000, 200_000])
def test_a_place_deep_in_a_long_message_is_shown(support_client, place):
    content = "ä \u200b" * (place // 3) + " the Straße is closed " + "ß  " * 60_000
    make_message(make_session(), content=content)
    response = get(support_client, search="strasse")
    [snippet] = response.context["rows"][0].snippets
    assert "the <mark>Straße</mark> is closed" in snippet.html
    assert len(snippet.html) < 300


def test_words_are_found_in_any_order_of_one_message(support_client):
    both, one, other, apart = (make_session() for _ in range(4))
    make_message(both, content="The parcel: where is my refund?")
    make_message(one, content="the refund")
    make_message(other, content="the parcel")
    make_message(apart, content="the parcel")
    make_message(apart, content="the refund")
    assert match(support_client, search="refund PARCEL") == [both.id]
    assert match(support_client, search="is where") == [both.id]
    assert match(support_client, search='"is where"') == []
    assert match(support_client, search='parcel "where is my"') == [both.id]
    # More words than are searched for one by one.
    assert match(support_client, search="refund parcel the where is my") == [both.id]
    assert match(support_client, search="refund parcel the where is me") == []


def test_everywhere_errors_and_tools_have_the_same_form(support_client):
    session = make_session()
    run = make_run(session)
    make_task(run, session, errors=Json("Gerät 'Straße' ist aus"))
    make_task(run, session, node_type="tool_call", tool_uri="python://Straße/Öffnen")
    for search in ("gera\u0308t STRASSE", "‘strasse’", "öffnen python", "OFFNEN"):
        found = [] if search == "OFFNEN" else [session.id]
        assert match(support_client, search=search, scope="all") == found, search
    assert match(support_client, search="gerät") == []


@pytest.mark.parametrize("search", ["\u200b\u00ad", '"a"', '" "', "\u00a0\u2003", "x\u200b"])
def test_less_than_two_letters_is_not_a_search(support_client, search):
    make_message(make_session(), content="a x")
    response = get(support_client, search=search)
    assert listed(response) == []
    if search != '" "':
        assert "at least two characters" in text(response)


def test_the_pages_address_can_hold_any_search(support_client):
    session = make_session()
    make_message(session, content="a")
    page = reverse("conversations:detail", args=[session.id])
    for search in ("\u200b", '"', "  ", "x" * 3_000, "a b " * 300, "\ud7ff", "%"):
        assert support_client.get(page, {"search": search}).status_code == 200


# Suggestions that would find more


def offered(response) -> dict[str, str]:
    return {offer.label: offer.query for offer in response.context["offers"]}


def test_a_search_without_hits_suggests_wider_ones(support_client):
    session = make_session(make_agent("Shop"), external_id="order-7")
    make_message(session, content="where is my refund")
    make_task(make_run(session), session, errors=Json("no parcel and no refund"))
    filters = {"search": "refund parcel", "start_date": "2001-01-01", "end_date": "2001-12-31"}
    response = get(support_client, agent=session.agent_id, **filters)
    assert "Nothing matches" in text(response)
    found = offered(response)
    assert list(found) == [
        "Search errors and tools too",
        "Leave out “refund”",
        "Leave out “parcel”",
        "Search at any date",
        "Search without the other filters",
    ]
    # Longer beginnings are searched for anyway.
    short = "External id that begins with “zz”"
    found[short] = offered(get(support_client, search="zz"))[short]
    html = response.content.decode() + get(support_client, search="zz").content.decode()
    for query in found.values():
        assert f'<a href="/conversations/?{query.replace("&", "&amp;")}"' in html
        assert support_client.get(f"/conversations/?{query}").status_code == 200
    without = get(support_client, search="refund parcel")
    assert match(support_client, search="refund parcel") == []
    everywhere = support_client.get(
        f"/conversations/?{offered(without)['Search errors and tools too']}"
    )
    assert listed(everywhere) == [session.id]
    fewer = support_client.get(f"/conversations/?{offered(without)['Leave out “parcel”']}")
    assert listed(fewer) == [session.id]


def test_suggestions_keep_the_dates_with_their_zone(support_client):
    created = {"start_date": "2001-01-01", "tz": "Europe/Tallinn"}
    found = offered(get(support_client, search="missing", problem="failed", **created))
    kept = "search=missing&start_date=2001-01-01&tz=Europe%2FTallinn"
    assert found["Search without the other filters"] == kept
    assert found["Search at any date"] == "search=missing&problem=failed"
    found = offered(get(support_client, search="missing", active_until="2001-01-01", tz="UTC"))
    assert found["Search at any date"] == "search=missing"
    assert "Search without the other filters" not in found


def test_suggestions_keep_phrases_and_are_text(support_client):
    response = get(support_client, search='"<b>x</b> y" <script>')
    found = offered(response)
    assert "Leave out “<script>”" in found
    assert "search=%22%3Cb%3Ex%3C%2Fb%3E+y%22" in found["Leave out “<script>”"]
    assert "Search without the quotes" in found
    assert "<script>" not in response.content.decode().split('<main id="browse">')[1]


def test_there_are_no_suggestions_with_hits_or_without_a_search(support_client):
    make_message(make_session(), content="needle")
    assert offered(get(support_client, search="needle")) == {}
    assert offered(get(support_client, external_id="missing")) == {}
    assert offered(get(support_client, search="x")) == {}
    assert offers(ConversationFilter(QueryDict("search=x"), queryset=Session.objects.all())) == []


# External ids


@pytest.mark.parametrize(
    ("pasted", "found"),
    [
        *[("ticket-7", "ticket-7"), (" ticket-7\n", "ticket-7"), ('"ticket-7"', "ticket-7")],
        *[("“ticket-7”,", "ticket-7"), ("(ticket-7).", "ticket-7"), ("[ticket-7]", "ticket-7")],
        *[("<jane@example.com>", "jane@example.com"), ("ticket-7.", "ticket-7")],
        *[("session_id=ticket-7", "ticket-7"), ('"external_id": "ticket-7",', "ticket-7")],
        *[("ID: ticket-7", "ticket-7"), ("`ticket-7`", "ticket-7"), ("#7", "7")],
        *[("?external_id=ticket-7&x=1", "ticket-7"), ("id=ticket-7&x=1", "ticket-7")],
        *[("https://desk.example/conversations/?agent=a&external_id=a%40b+c&tz=UTC", "a@b c")],
        *[("https://desk.example/?external_id=%00ticket-7", "ticket-7")],
        *[("mailto:jane@example.com", "jane@example.com"), ("tel:0049170", "0049170")],
        *[("ticket\u20117", "ticket-7"), ("ticket–7", "ticket-7")],
    ],
)
def test_extra_characters_around_an_id_are_ignored(pasted, found):
    assert spellings(pasted)[0] == pasted.strip()
    assert found in spellings(pasted)


def test_a_clean_id_has_no_other_spelling():
    for name in ("ticket-7", "eval:tag:case", "user 1", "a(b)c", "jane@example.com", "Ä-1"):
        assert spellings(name) == [name]


ID = "1e2feb89-414c-343c-1027-c4d1c386bbc4"


@pytest.mark.parametrize(
    "write",
    [
        *["{}.", '"{}"', "({})", "session_id={}", "session_id: {},", '{{"session_id": "{}"}}'],
        *["https://desk.example/conversations/{}/", "/conversations/{}/?search=x&m=1#end"],
        *["<https://desk.example/conversations/{}/>", "conversation {}"[13:], "sessionId={}"],
        *["\ufeff{}", "\u200b{}\u200b", "conversation {}", "session_id={}&x=1", "?session_id={}"],
        *["session_id=UUID('{}')", "id: https://desk.example/conversations/{}/", "run {}/"],
        "https://desk.example/conversations/{}/?agent=x&external_id=ticket-7",
    ],
)
def test_a_pasted_id_opens_despite_extra_characters(support_client, write):
    session = make_session(id=ID)
    response = get(support_client, status=302, search=write.format(ID), go=1)
    page = reverse("conversations:detail", args=[session.id])
    assert response["Location"].partition("?")[0] == page
    typed = get(support_client, headers=TYPING, search=write.format(ID).upper())
    assert listed(typed) == [UUID(ID)]


def test_typographic_hyphens_in_an_id_are_accepted():
    for hyphen in "‐‑–—−":
        assert ids(ID.replace("-", hyphen)) == [UUID(ID)]


def test_two_ids_in_a_text_name_nothing():
    assert ids(f"{ID} and {UUID(int=7)}") == []


@pytest.mark.parametrize(
    "search", ["TICKET-ÄSS-7", "ticket-äß-7", '"Ticket-Äß-7".', "external_id=ticket-a\u0308ß-7"]
)
def test_an_external_id_opens_in_any_case(support_client, search, indexed_names):
    session = make_session(external_id="Ticket-Äß-7")
    make_session(external_id="Ticket-Äß-77")
    assert session.id in match(support_client, search=search)


@pytest.fixture
def indexed_names(monkeypatch):
    monkeypatch.setattr("conversations.selection.named.state.is_ready", lambda name: True)


def test_without_our_index_the_usual_letter_cases_open(support_client):
    session = make_session(external_id="TICKET-7")
    assert match(support_client, search="ticket-7.") == [session.id]


@pytest.mark.parametrize(
    "typed", ["ticket", "TICKET-", " Ticket-ä", '"ticket-äss', "id=ticket-ÄSS"]
)
def test_the_filter_finds_external_ids_by_their_beginning(support_client, typed):
    session = make_session(external_id="Ticket-Äß-7")
    make_session(external_id="my ticket")
    make_session()
    assert match(support_client, external_id=typed) == [session.id]


@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("typed", [" ", "\t\n", "\u00a0", "\u200b", "\u00ad "])
def test_a_blank_beginning_of_external_ids_finds_nothing(
    support_client, settings, typed, is_masked
):
    settings.MASK_PERSONAL_DATA = is_masked
    make_session(external_id="ticket-7")
    assert match(support_client, external_id=typed) == []


def test_a_full_stop_counts_if_an_id_has_one(support_client):
    dotted, other = make_session(external_id="order.1"), make_session(external_id="order-2")
    assert match(support_client, external_id="order.") == [dotted.id]
    assert match(support_client, external_id="order-2.") == [other.id]
    assert match(support_client, external_id="%") == match(support_client, external_id="_") == []


def test_users_without_personal_data_find_only_whole_external_ids(viewer_client, settings):
    settings.MASK_PERSONAL_DATA = True
    session = make_session(external_id="jane.doe@example.com")
    for typed in ("JANE.DOE@example.com", '"jane.doe@example.com".', "id=jane.doe@example.com"):
        assert match(viewer_client, external_id=typed) == [session.id], typed
    for typed in ("jane", "jane.doe@example.co", '"jane.doe@"'):
        assert match(viewer_client, external_id=typed) == [], typed
    response = get(viewer_client, search="jane.doe@example.co")
    assert listed(response) == []
    assert match(viewer_client, search="JANE.DOE@example.com.") == [session.id]
    assert not any("external ids" in label for label in offered(response))
    assert not masking.is_active()
