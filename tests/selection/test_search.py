"""The search box: what it opens, and what it finds in messages."""

import uuid

import pytest
from django.db import connections
from django.http import QueryDict
from django.urls import reverse

from backoffice.databases.time_limits import time_limit
from conversations.listing import direct_hits
from conversations.models import Session
from conversations.selection.filters import ConversationFilter
from conversations.selection.pagination import Cursor

from ..support.factories import make_agent, make_message, make_run, make_session, make_task
from ..support.listing import TYPING, listed, match
from ..support.pages import get, text

pytestmark = pytest.mark.django_db


def detail(session) -> str:
    return reverse("conversations:detail", args=[session.id])


@pytest.fixture
def named():
    """{what: (uuid, address that it opens)} of a conversation, and words to find it by."""
    session = make_session(external_id="ticket-7")
    run = make_run(session)
    task = make_task(run, session)
    message = make_message(session)
    return {
        "session": (session.id, detail(session)),
        "run": (run.id, f"{detail(session)}?run={run.id}"),
        "task": (task.id, reverse("conversations:task", args=[session.id, task.id])),
        "message": (message.id, f"{detail(session)}?m={message.id}"),
        "external id": ("ticket-7", detail(session)),
    }


WHAT = ["session", "run", "task", "message", "external id"]


# What is named


@pytest.mark.parametrize("what", WHAT)
def test_what_is_named_opens_with_the_blanks_that_came_along(support_client, named, what):
    name, address = named[what]
    for written in (f"{name}", f"  {name}\t", f"\N{NO-BREAK SPACE}{name}\n"):
        response = get(support_client, status=302, search=written)
        assert response["Location"] == address
    assert support_client.get(address).status_code == 200


@pytest.mark.parametrize("write", [str.upper, lambda name: name.replace("-", ""), "{{{}}}".format])
def test_a_uuid_opens_however_it_is_written(support_client, named, write):
    name, address = named["run"]
    assert get(support_client, status=302, search=write(str(name)))["Location"] == address


@pytest.mark.parametrize("what", WHAT)
def test_sent_by_hand_through_htmx_it_opens_too(support_client, named, what):
    name, address = named[what]
    response = get(support_client, headers=TYPING, search=name, go=1)
    assert response["HX-Redirect"] == address


@pytest.mark.parametrize("what", WHAT)
def test_while_somebody_types_it_is_only_offered(support_client, named, what):
    name, address = named[what]
    response = get(support_client, headers=TYPING, search=name)
    assert "HX-Redirect" not in response
    assert [hit.url for hit in response.context["direct_hits"]] == [address]
    assert f'<a href="{address}">' in response.content.decode()


@pytest.mark.parametrize(
    "search", [uuid.UUID(int=0), str(uuid.UUID(int=0))[:35], "ticket", "ticket-77"]
)
def test_what_names_nothing_is_looked_for_as_text(support_client, named, search):
    response = get(support_client, search=search)
    assert response.context["direct_hits"] == []
    assert listed(response) == []
    assert "Nothing matches" in text(response)


def test_one_letter_is_too_short_to_search_but_may_be_an_external_id(support_client):
    session = make_session(external_id="7")
    assert get(support_client, status=302, search="7")["Location"] == detail(session)


def test_an_external_id_is_taken_by_the_letter(support_client):
    session = make_session(external_id="a%_\\'\"<b>ü")
    make_session(external_id="axy\\'\"<b>ü")
    response = get(support_client, status=302, search="a%_\\'\"<b>ü")
    assert response["Location"] == detail(session)


def test_several_conversations_of_one_external_id_are_offered_above_the_search(support_client):
    shop, bank = make_agent("Shop <1>"), make_agent("Bank")
    first, second = (make_session(agent, external_id="user-1") for agent in (shop, bank))
    saying = make_session(shop)
    make_message(saying, content="I am user-1")
    response = get(support_client, search="user-1")
    assert [hit.url for hit in response.context["direct_hits"]] == [detail(second), detail(first)]
    assert listed(response) == [saying.id]
    html = response.content.decode()
    assert f'<a href="{detail(first)}">' in html
    assert "user-1, a conversation with Shop &lt;1&gt;" in html


def test_many_conversations_of_one_external_id_are_a_list_not_a_choice(support_client):
    agent = make_agent()
    made = [make_session(agent, external_id="user-1") for _ in range(direct_hits.MOST + 2)]
    response = get(support_client, search="user-1")
    newest = [detail(session) for session in reversed(made)][: direct_hits.MOST]
    assert [hit.url for hit in response.context["direct_hits"]] == newest


def test_a_uuid_that_is_somebodys_external_id_too_opens_neither(support_client, named):
    run_id, address = named["run"]
    other = make_session(external_id=str(run_id))
    response = get(support_client, search=run_id)
    assert [hit.url for hit in response.context["direct_hits"]] == [address, detail(other)]


def test_a_conversation_whose_external_id_is_its_own_uuid_opens(support_client):
    name = uuid.uuid4()
    session = make_session(id=name, external_id=str(name))
    assert get(support_client, status=302, search=name)["Location"] == detail(session)


def test_an_id_opens_whatever_the_other_filters_say(support_client, named):
    name, address = named["session"]
    others = {"agent": make_agent().id, "problem": "failed", "start_date": "2099-01-01"}
    assert get(support_client, status=302, search=name, **others)["Location"] == address


@pytest.mark.parametrize("what", WHAT)
def test_older_pages_and_a_wider_scope_search_for_the_text(support_client, named, what):
    name, _ = named[what]
    saying = make_session()
    make_message(saying, content=f"see {name}")
    response = get(support_client, search=name, scope="all")
    assert response.context["direct_hits"] == []
    assert listed(response) == [saying.id]
    after = Cursor(saying.updated_at, uuid.UUID(int=0))
    response = get(support_client, search=name, after=after)
    assert response.context["direct_hits"] == []
    assert listed(response) == []


def test_back_to_what_was_typed_opens_nothing(support_client, named):
    name, address = named["session"]
    typed = get(support_client, headers=TYPING, search=name)
    response = support_client.get(typed["HX-Push-Url"])
    assert response.status_code == 200
    assert [hit.url for hit in response.context["direct_hits"]] == [address]


# Text


def found(client, term, *contents) -> list[bool]:
    """Whether a search finds a conversation of one message, for each of the messages."""
    agent = make_agent()
    made = [make_session(agent) for _ in contents]
    for session, content in zip(made, contents, strict=True):
        make_message(session, content=content)
    ids = match(client, search=term)
    return [session.id in ids for session in made]


@pytest.mark.parametrize(
    ("term", "matching", "other"),
    [
        ("WHERE", "somewhere", "wher e"),
        ("100%", "it is 100% so", "it is 1000 so"),
        ("_x_", "a_x_b", "ayxyb"),
        ("b\\s", "b\\s", "bs"),
        ("\\\\", "a \\\\ b", "a \\ b"),
        ("%%", "a%%b", "a%b"),
        ('" ab"', "b ab", "bab"),
        ("'; --", "'; --", "'' --"),
        ("%s %(a)s", "%s %(a)s", "x y"),
        ("{0}", "{0}", "0"),
        # What a full-text search would take as its own.
        ('"a b', 'say "a b" now', "say a b now"),
        ("a & b", "a & b", "a b"),
        ("a | !b", "a | !b", "a"),
        ("a:*", "a:*", "ab"),
        ("<->", "a <-> b", "a b"),
        ("-word", "a -word", "a word"),
        ("word OR", "sword orb", "swerd orb"),
        ("(a", "(a", "a"),
        # Letters.
        ("ＦＵＬＬ", "ｆｕｌｌ", "full"),
        ("full", "FULL", "ＦＵＬＬ"),
        ("ÕUN", "õun", "oun"),
        ("ПРИВЕТ", "привет", "привeт"),
        ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "CAFÉ", "cafe"),
        ("cafe\N{COMBINING ACUTE ACCENT}", "CAFE\N{COMBINING ACUTE ACCENT}", "cafe"),
        ("cafe\N{COMBINING ACUTE ACCENT}", "xcafe\N{COMBINING ACUTE ACCENT}", "cafe"),
        ("ıslak", "ıslak", "ıslık"),
        ("straße", "Straße", "strase"),
        ("👩‍👩‍👧", "we 👩‍👩‍👧 are", "we 👩 are"),
        ("👍🏽", "👍🏽", "👍🏿"),
        ("שלום", "אמר שלום לך", "שלם"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}abc", "\N{RIGHT-TO-LEFT OVERRIDE}abc", "cba"),
        ("東京", "私は東京です", "東 京"),
    ],
)  # fmt: skip
def test_a_search_takes_every_sign_as_a_letter(support_client, term, matching, other):
    assert found(support_client, term, matching, other) == [True, False]


@pytest.mark.parametrize("term", ["cafe", "islak", "strasse", "İstanbul", "ﬁn", "ǅǅ", "Σας"])
def test_letters_that_fold_in_odd_ways_break_nothing(support_client, term):
    contents = [*("café", "cafe\u0301", "ıslak ISLAK", "straße STRASSE", "istanbul"),
                *("i\u0307stanbul", "İSTANBUL", "ﬁn FIN", "ǆ Ǆ", "ΣΑΣ")]  # fmt: skip
    one = found(support_client, term, *contents, f"<{term}>")
    assert one[-1]


def test_a_term_in_every_message_finds_every_conversation_once(support_client):
    agent = make_agent()
    made = [make_session(agent) for _ in range(20)]
    for session in made:
        for number in range(5):
            make_message(session, content=f"hello {number}")
    response = get(support_client, search="hello")
    assert listed(response) == [session.id for session in reversed(made)]
    assert "20 conversations" in text(response)


def test_the_agents_name_and_the_external_id_are_not_messages(support_client):
    session = make_session(make_agent("needle agent"), external_id="needle-1")
    make_message(session, content="hay")
    assert match(support_client, search="needle") == []


@pytest.mark.parametrize(
    ("term", "says"),
    [
        ("x", "at least two characters"),
        (" x ", "at least two characters"),
        ("   ", "at least two characters"),
        ("\t\n", "at least two characters"),
        ("x" * 10_000, "at most 200 characters"),
        ("x" * 201, "at most 200 characters"),
        ("ab\0cd", "Null characters are not allowed"),
        ("\0", "Null characters are not allowed"),
    ],
)
def test_a_search_that_makes_no_sense_is_explained_and_shows_nothing(support_client, term, says):
    make_message(make_session(external_id="x" * 250), content=term.replace("\0", " "))
    for headers, more in [({}, {}), ({}, {"scope": "all"}), (TYPING, {}), (TYPING, {"go": 1})]:
        response = get(support_client, headers=headers, search=term, **more)
        assert listed(response) == []
        assert says in text(response)
        assert "Fix the highlighted filter" in text(response)
        assert "Nothing matches" not in text(response)


def test_an_empty_search_is_none(support_client):
    session = make_session()
    assert match(support_client, search="") == [session.id]


def test_as_many_letters_as_may_be_are_looked_for(support_client):
    assert found(support_client, "x" * 200, "x" * 200, "x" * 199) == [True, False]


@pytest.mark.parametrize("broken", ["%ED%A0%80ab", "%FF%FEab", "ab%C3"])
def test_what_is_no_unicode_finds_nothing(support_client, broken):
    make_message(make_session(), content="ab")
    response = support_client.get(f"/conversations/?search={broken}")
    assert response.status_code == 200
    assert listed(response) == []


def test_a_lone_surrogate_matches_nothing_and_names_nothing():
    make_message(make_session(external_id="x"), content="x")
    data = QueryDict(mutable=True)
    data["search"] = "x\ud800"
    for scope in ("", "all"):
        data["scope"] = scope
        filters = ConversationFilter(data, queryset=Session.objects.all())
        assert filters.is_valid()
        assert list(filters.matching.queryset()) == []
    assert direct_hits.direct_hits("\ud800") == direct_hits.direct_hits("a\0b") == []


def test_a_slow_look_for_what_the_search_names_keeps_the_list(support_client, monkeypatch):
    def too_slow(text):
        with time_limit("agents", 0.02), connections["agents"].cursor() as cursor:
            cursor.execute("SELECT pg_sleep(5)")

    monkeypatch.setattr("conversations.listing.views.direct_hits", too_slow)
    response = get(support_client, status=503, search="ticket-1")
    assert "That took too long" in text(response)
    assert 'value="ticket-1"' in response.content.decode()
