"""The page for printing: the whole conversation, or a note on where to find the rest."""

import json
import re

import pytest

from audit.models import Entry
from conversations.detail import print_views

from ..support.factories import make_conversation, make_message, make_run, make_session
from ..support.pages import get, text, url

pytestmark = pytest.mark.django_db


def test_a_conversation_of_several_pages_is_printed_on_one(support_client):
    session = make_session()
    for number in range(200):
        make_message(session, content=f"number {number}.")
    page = text(get(support_client, url("print", session.id)))
    assert [int(n) for n in re.findall(r"number (\d+)\.", page)] == [*range(200)]
    assert "Full conversation" not in page


def test_long_messages_are_complete(support_client):
    session = make_session()
    make_message(session, content="word " * 3_000 + "end.")
    page = get(support_client, url("print", session.id)).content.decode()
    assert "word end." in page
    assert "Show all" not in page


def test_json_is_complete_and_open(support_client):
    session = make_session()
    content = json.dumps({"a": {"b": {"c": {"d": [*range(600)]}}}, "long": "x" * 5_000})
    make_message(session, "assistant", content)
    page = get(support_client, url("print", session.id)).content.decode()
    assert page.count('class="number"') == 600
    assert "x" * 5_000 in page
    tree = page[page.index('<div class="json"') :]
    assert tree.count("<details open>") == tree.count("<details") == 5
    assert "Not all of it is shown" not in page


def test_a_printout_says_what_it_shows_who_printed_it_and_when(support_client):
    session = make_conversation(external_id="ticket-9")
    support_client.cookies["timezone"] = "Europe/Tallinn"
    page = text(get(support_client, url("print", session.id)))
    assert "ticket-9" in page
    assert f"http://testserver/conversations/{session.id}/" in page
    assert re.search(r"Printed by support, \d+ [A-Z][a-z][a-z] \d{4}, \d\d:\d\d:\d\d EES?T", page)


def test_a_part_says_what_is_left_out_and_where_to_find_it(support_client, monkeypatch):
    monkeypatch.setattr(print_views, "ITEMS", 4)
    monkeypatch.setattr(print_views, "FOLD", 50)
    session = make_session()
    for number in range(6):
        make_message(session, content=f"number {number}. " + "x" * 100 * (number == 2))
    whole = f"http://testserver/conversations/{session.id}/transcript.txt"
    first = text(get(support_client, url("print", session.id)))
    assert "items 1 to 4 of 6. 1 long message is cut short." in first
    assert f"Full conversation: {whole}" in first
    assert "number 4." not in first
    second = text(get(support_client, url("print", session.id), **{"from": 4}))
    assert "items 5 to 6 of 6." in second
    assert "cut short" not in second
    assert "number 4." in second
    assert "number 5." in second


def test_messages_cut_for_lack_of_room_are_counted(support_client, monkeypatch):
    monkeypatch.setattr(print_views, "ROOM", 1_000)
    session = make_session()
    for _ in range(5):
        make_message(session, content="word " * 300)
    page = text(get(support_client, url("print", session.id)))
    assert "4 long messages are cut short." in page


@pytest.mark.parametrize("start", ["6", "-1", "x", "1e3", "99999999999"])
def test_an_invalid_part_is_a_404(support_client, start):
    session = make_conversation(messages=2, runs=0)
    assert support_client.get(url("print", session.id), {"from": start}).status_code == 404


def test_an_empty_conversation_says_so(support_client):
    assert "Nothing was recorded" in text(get(support_client, url("print", make_session().id)))


def test_a_printout_of_the_ordinary_page_says_what_is_missing(support_client):
    session = make_session()
    for number in range(90):
        make_message(session, content=f"number {number}.")
    page = get(support_client, url("detail", session.id), **{"from": 0}).content.decode()
    whole = f"Full conversation: http://testserver/conversations/{session.id}/print/"
    assert "Later messages (10 left) are not printed here" in page
    assert page.count(whole) == 1
    later = get(support_client, url("detail", session.id), **{"from": 80}).content.decode()
    assert "Earlier messages are not printed here" in later
    assert f'<a href="/conversations/{session.id}/print/"' in page


def test_printing_is_in_the_audit_log_as_a_view(support_client):
    session = make_conversation()
    get(support_client, url("print", session.id))
    entry = Entry.objects.latest("pk")
    assert (entry.session_id, entry.details["page"]) == (session.id, "print")


def test_the_number_of_queries_does_not_depend_on_the_length(
    support_client, django_assert_max_num_queries
):
    sessions = [make_session(), make_session()]
    for session, runs in zip(sessions, (2, 60), strict=True):
        for _ in range(runs):
            run = make_run(session)
            make_message(session, run_id=run.id)
    for session in sessions:
        with django_assert_max_num_queries(9, using="agents"):
            get(support_client, url("print", session.id))
