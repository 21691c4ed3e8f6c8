"""The search box: which pages it opens, and what it finds in messages."""

import json
import uuid
from urllib.parse import parse_qs, urlencode

import pytest
from django.http import QueryDict
from django.urls import reverse

from conversations.models import Session
from conversations.selection.filters import ConversationFilter
from conversations.selection.named import NOTHING, named
from conversations.selection.pagination import Cursor

from ..support.factories import make_agent, make_message, make_run, make_session, make_task
from ..support.listing import COUNTS, NEW, TYPING, listed, match, slowed
from ..support.pages import get, text

pytestmark = pytest.mark.django_db


def detail(session) -> str:
    return reverse("conversations:detail", args=[session.id])


@pytest.fixture(name="named")
def named_rows():
    """{what: (uuid, address that it opens)} for a conversation, with words to find it by."""
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
LABELS = {"external id": "External id", **{what: f"{what} id" for what in WHAT[:4]}}


def reasons(response) -> list[list[tuple[str, str]]]:
    """[(label, address)] for each row's reasons for being there."""
    return [[(each.label, each.url) for each in row.snippets] for row in response.context["rows"]]


def with_list(address, name) -> str:
    """The address with the list's query, for the way back."""
    path, _, place = address.partition("?")
    if "/tasks/" in address:
        return address
    return f"{path}?{urlencode({'search': name})}{place and '&'}{place}"


# Ids


@pytest.mark.parametrize("what", WHAT)
def test_a_conversation_named_by_an_id_is_a_row_that_says_why(support_client, named, what):
    name, address = named[what]
    make_session(external_id="other")
    for headers in ({}, TYPING):
        response = get(support_client, headers=headers, search=name)
        assert listed(response) == [named["session"][0]]
        assert reasons(response) == [[(LABELS[what], with_list(address, name))]]
        assert "1 conversation" in text(response)
        assert f'<span class="label">{LABELS[what]}</span>' in response.content.decode()
    assert support_client.get(address).status_code == 200


@pytest.mark.parametrize("what", WHAT)
def test_a_conversation_named_by_an_id_is_counted_exported_and_announced(
    support_client, admin_client, named, what
):
    name, _ = named[what]
    make_session(external_id="other")
    assert "1 conversation" in text(get(support_client, COUNTS, search=name))
    file = get(admin_client, "/conversations/export/conversations.jsonl", search=name)
    exported = [json.loads(line) for line in b"".join(file.streaming_content).splitlines()]
    assert [row["session_id"] for row in exported] == [str(named["session"][0])]
    new = get(support_client, NEW, search=name, since="0." + "0" * 32).json()
    assert list(new["moved"]) == [str(named["session"][0])]


@pytest.mark.parametrize("what", WHAT)
def test_submitting_an_id_opens_it_despite_blanks(support_client, named, what):
    name, address = named[what]
    for written in (f"{name}", f"  {name}\t", f"\N{NO-BREAK SPACE}{name}\n"):
        response = get(support_client, status=302, search=written, go=1)
        assert response["Location"] == with_list(address, written)
    assert support_client.get(response["Location"]).status_code == 200


@pytest.mark.parametrize("write", [str.upper, lambda name: name.replace("-", ""), "{{{}}}".format])
def test_a_uuid_opens_however_it_is_written(support_client, named, write):
    name, address = named["run"]
    search = write(str(name))
    response = get(support_client, status=302, search=search, go=1)
    assert response["Location"] == with_list(address, search)


@pytest.mark.parametrize("what", WHAT)
def test_submitting_an_id_through_htmx_opens_it_too(support_client, named, what):
    name, address = named[what]
    response = get(support_client, headers=TYPING, search=name, go=1)
    assert response["HX-Redirect"] == with_list(address, name)


@pytest.mark.parametrize("headers", [{}, TYPING])
def test_nothing_opens_without_submitting(support_client, named, headers):
    name, _ = named["session"]
    for go in ("", "0"):
        response = get(support_client, headers=headers, search=name, go=go)
        assert listed(response) == [name]


@pytest.mark.parametrize(
    "search", [uuid.UUID(int=0), str(uuid.UUID(int=0))[:35], "icket-7", "ticket-77", "ti"]
)
def test_searches_that_name_nothing_search_text(support_client, named, search):
    response = get(support_client, search=search)
    assert listed(response) == []
    assert "Nothing matches" in text(response)


def test_an_external_id_is_found_by_its_beginning_in_any_case(support_client, named):
    second = make_session(external_id="Ticket-77")
    make_session(external_id="my ticket-7")
    for search in ("tic", "TICKET-", " ticket-7", "external_id=ticket"):
        response = get(support_client, search=search)
        assert listed(response) == [second.id, named["session"][0]], search
        labels = [[label for label, _ in each] for each in reasons(response)]
        assert labels == [["External id"], ["External id"]]
    assert match(support_client, search="ti") == []


def test_two_letters_may_be_a_whole_external_id(support_client):
    session = make_session(external_id="TV")
    make_session(external_id="TV-1")
    assert match(support_client, search="tv") == [session.id]


def test_an_external_id_is_taken_literally(support_client):
    session = make_session(external_id="a%_\\'\"<b>ü")
    make_session(external_id="axy\\'\"<b>ü")
    response = get(support_client, search="a%_\\'\"<b>ü")
    assert listed(response) == [session.id]
    [[snippet]] = [row.snippets for row in response.context["rows"]]
    assert snippet.html == "<mark>a%_\\&#x27;&quot;&lt;b&gt;ü</mark>"


def test_an_external_id_lists_its_conversations_and_mentions_of_it(support_client):
    shop, bank = make_agent("Shop <1>"), make_agent("Bank")
    first = make_session(shop, external_id="user-1")
    saying = make_session(shop)
    make_message(saying, content="I am user-1")
    both = make_session(bank, external_id="user-1")
    make_message(both, content="user-1 here")
    response = get(support_client, search="user-1", go=1)
    assert listed(response) == [both.id, saying.id, first.id]
    labels = [[label for label, _ in each] for each in reasons(response)]
    assert labels == [["External id", "user"], ["user"], ["External id"]]


def test_other_filters_apply_to_conversations_named_by_an_id(support_client, named):
    name, _ = named["session"]
    agent = Session.objects.get(pk=name).agent_id
    assert match(support_client, search=name, agent=agent) == [name]
    for others in ({"agent": make_agent().id}, {"problem": "failed"}, {"start_date": "2099-01-01"}):
        response = get(support_client, search=name, go=1, **others)
        assert listed(response) == []
        assert "Search without the other filters" in text(response) or "date" in text(response)


def test_a_conversation_named_by_an_id_has_newer_and_older_neighbours(support_client):
    older, here, newer = (make_session(external_id=f"key-{number}") for number in range(3))
    page = support_client.get(detail(here), {"search": "key-"})
    assert (page.context["newer"], page.context["older"]) == (newer.id, older.id)


def test_conversations_named_by_an_id_fill_several_pages(support_client):
    agent = make_agent()
    made = [make_session(agent, external_id=f"key-{number}").id for number in range(120)]
    seen, after = [], ""
    for _ in range(3):
        response = get(support_client, search="key-", after=after)
        seen += listed(response)
        after = response.context["next_cursor"]
    assert seen == made[::-1]
    assert after == ""


def test_more_matches_than_the_limit_are_mentioned_and_linked(support_client, monkeypatch):
    monkeypatch.setattr("conversations.selection.named.MOST", 3)
    agent = make_agent()
    whole = make_session(agent, external_id="key")
    made = [make_session(agent, external_id=f"key-{number}").id for number in range(5)]
    response = get(support_client, search="key", agent=agent.id)
    # The newest ones, and the one with exactly this external id.
    assert set(listed(response)) >= {whole.id, *made[2:]}
    assert "Of the conversations whose external id begins with" in text(response)
    more = response.context["more_named"]["query"]
    assert parse_qs(more) == {"agent": [str(agent.id)], "external_id": ["key"]}
    rest = support_client.get(f"/conversations/?{more}")
    assert listed(rest) == [*made[::-1], whole.id]
    assert rest.context["more_named"] is None
    assert get(support_client, search="key-4").context["more_named"] is None


def test_an_old_conversation_named_by_an_id_is_found_even_if_time_runs_out(
    support_client, monkeypatch
):
    far, near = make_session(external_id="key-1"), make_session()
    make_message(near, content="nothing")
    reached = Cursor(near.updated_at, near.id)
    monkeypatch.setattr("conversations.selection.find.look_back", lambda *_: ([], reached))
    response = get(support_client, search="key-1")
    assert listed(response) == [far.id]
    assert Cursor.parse(response.context["next_cursor"]) == reached


def test_a_uuid_that_is_somebodys_external_id_too_names_both(support_client, named):
    run_id, _ = named["run"]
    other = make_session(external_id=str(run_id))
    response = get(support_client, search=run_id, go=1)
    assert listed(response) == [other.id, named["session"][0]]


def test_a_conversation_whose_external_id_is_its_own_uuid_is_one_row(support_client):
    name = uuid.uuid4()
    session = make_session(id=name, external_id=str(name))
    assert match(support_client, search=name) == [session.id]
    assert get(support_client, status=302, search=name, go=1)["Location"] == (
        f"{detail(session)}?search={name}"
    )


@pytest.mark.parametrize("what", WHAT)
def test_a_wider_scope_finds_ids_and_mentions_of_them(support_client, named, what):
    name, _ = named[what]
    saying = make_session()
    make_message(saying, content=f"see {name}")
    for scope in ("", "all"):
        assert match(support_client, search=name, scope=scope) == [saying.id, named["session"][0]]


# Text


def found(client, term, *contents) -> list[bool]:
    """For each of the messages, whether a search finds a conversation with just that message."""
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
        # Signs with a meaning in full-text search.
        ('"a b', 'say "a b" now', "say a b now"),
        ("a & b", "a & b", "a b"),
        ("a | !b", "a | !b", "a"),
        ("a:*", "a:*", "ab"),
        ("<->", "a <-> b", "a b"),
        ("-word", "a -word", "a word"),
        ("word OR", "sword orb", "swerd orb"),
        ("(a", "(a", "a"),
        # Letters
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
def test_letters_that_fold_oddly_break_nothing(support_client, term):
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
    session = make_session(make_agent("needle agent"), external_id="my needle")
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
def test_an_invalid_search_is_explained_and_shows_nothing(support_client, term, says):
    make_message(make_session(external_id="x" * 250), content=term.replace("\0", " "))
    for headers, more in [({}, {}), ({}, {"scope": "all"}), (TYPING, {}), (TYPING, {"go": 1})]:
        response = get(support_client, headers=headers, search=term, **more)
        assert listed(response) == []
        assert says in text(response)
        assert "Fix the highlighted filter" in text(response)
        assert "Nothing matches" not in text(response)


def test_an_empty_search_shows_everything(support_client):
    session = make_session()
    assert match(support_client, search="") == [session.id]


def test_the_longest_allowed_search_works(support_client):
    assert found(support_client, "x" * 200, "x" * 200, "x" * 199) == [True, False]


@pytest.mark.parametrize("broken", ["%ED%A0%80ab", "%FF%FEab", "ab%C3"])
def test_invalid_unicode_finds_nothing(support_client, broken):
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
    assert named("\ud800") == named("a\0b") == NOTHING


def test_a_slow_search_for_external_ids_keeps_the_list_and_says_so(support_client, monkeypatch):
    whole = make_session(external_id="ticket-1")
    monkeypatch.setattr("conversations.selection.named.SECONDS", 0.05)
    with slowed(r'"sessions"."external_id".* LIKE ') as slow:
        response = get(support_client, search="ticket-1")
    assert slow
    assert listed(response) == [whole.id]
    assert "Of the conversations whose external id" in text(response)
