"""The order of messages: the same on the page, in copies and in files."""

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from conversations.detail.transcript import ITEMS_PER_PAGE, transcript
from conversations.sessions import get_session_details, get_sessions_summary

from ..support.factories import make_message, make_run, make_session
from ..support.pages import url

pytestmark = pytest.mark.django_db

START = datetime(2026, 3, 5, 9, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def text(client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    content = response.streaming_content if response.streaming else [response.content]
    return b"".join(content).decode()


def everywhere(client, session) -> list[str]:
    """The messages' texts in order; checks that the page, copies and files agree on it."""
    on_page = [
        message.text for entry in transcript(session.id).entries for message in entry.messages
    ]
    page = text(client, url("detail", session.id))
    assert re.findall(r'<div class="text [^>]*>(?:<p dir="auto">)?(\w+)<', page) == on_page
    copied = text(client, f"/conversations/{session.id}/transcript.txt")
    assert [line for line in copied.splitlines() if line in on_page] == on_page
    found = json.loads(text(client, f"/conversations/{session.id}/conversation.json"))
    assert [message["content"] for message in found["messages"]] == on_page
    file = text(client, "/conversations/export/messages.csv").removeprefix("\ufeff")
    lines = csv.DictReader(io.StringIO(file))
    assert [line["content"] for line in lines if line["session_id"] == str(session.id)] == on_page
    details = get_session_details(session.id)
    assert [message.content for message in details.messages] == on_page
    return on_page


def test_at_the_same_time_the_users_message_comes_before_the_agents(support_client):
    session = make_session(external_id="tie")
    for turn in range(6):
        run = make_run(session, created_at=at(turn))
        # Created in another order than they should be read in.
        for role, number in (("assistant", turn), ("tool", turn), ("user", turn), ("system", turn)):
            make_message(session, role, f"{role}{number}", run_id=run.id, created_at=at(turn))
    roles = ("system", "user", "tool", "assistant")
    assert everywhere(support_client, session) == [f"{r}{n}" for n in range(6) for r in roles]
    [row] = get_sessions_summary()["sessions"]
    assert (row.first_message, row.last_message) == ("system0", "assistant5")


def test_at_the_same_time_and_with_the_same_role_the_earlier_run_comes_first(support_client):
    session = make_session()
    begun = [3, 1, 2, 0]
    for minutes in begun:
        run = make_run(session, created_at=at(minutes))
        make_message(session, "assistant", f"a{minutes}", run_id=run.id, created_at=at(9))
        make_message(session, "user", f"u{minutes}", run_id=run.id, created_at=at(9))
    expected = [f"{role}{minutes}" for role in "ua" for minutes in sorted(begun)]
    assert everywhere(support_client, session) == expected


def test_a_row_shows_the_first_and_last_message_even_if_all_have_the_same_time(support_client):
    session = make_session()
    # As after an import: ids of runs and of messages are in different orders.
    runs = [make_run(session, created_at=at(0), id=UUID(int=number)) for number in (3, 1, 2)]
    for number, run in enumerate(runs):
        for role in ("assistant", "user"):
            words, pk = f"{role}{number}", UUID(int=number * 2 + (role == "user") + 1)
            make_message(session, role, words, run_id=run.id, created_at=at(0), id=pk)
    make_message(session, "assistant", "without", created_at=at(0), id=UUID(int=99))
    read = everywhere(support_client, session)
    [row] = get_sessions_summary()["sessions"]
    assert [row.first_message, row.last_message] == [read[0], read[-1]] == ["user1", "without"]


def test_overlapping_runs_and_late_messages_are_in_order_of_time(support_client):
    session = make_session()
    first, second = make_run(session, created_at=at(0)), make_run(session, created_at=at(1))
    make_message(session, "user", "one", run_id=first.id, created_at=at(0))
    make_message(session, "user", "two", run_id=second.id, created_at=at(1))
    make_message(session, "assistant", "three", run_id=second.id, created_at=at(2))
    make_message(session, "system", "loose", created_at=at(3))
    make_message(session, "assistant", "four", run_id=first.id, created_at=at(4))
    # Imported later, from a run that began long before.
    early = make_run(session, created_at=at(-60))
    make_message(session, "user", "late", run_id=early.id, created_at=at(5))
    silent = make_run(session, created_at=at(1.5))
    words = ["one", "two", "three", "loose", "four", "late"]
    assert everywhere(support_client, session) == words
    entries = transcript(session.id).entries
    told = [
        (
            entry.run and entry.run.pk,
            [m.text for m in entry.messages],
            entry.ends,
            entry.is_continuation,
        )
        for entry in entries
    ]
    assert told == [
        (first.id, ["one"], False, False),
        (second.id, ["two"], False, False),
        (silent.id, [], True, False),
        (second.id, ["three"], True, True),
        (None, ["loose"], False, False),
        (first.id, ["four"], True, True),
        (early.id, ["late"], True, False),
    ]
    page = text(support_client, url("detail", session.id))
    assert page.count("This is part of a run that began further up.") == 2
    assert page.count("A run without messages.") == 1
    assert page.count(f'id="run-{first.id}"') == 1


def test_a_run_whose_end_is_alone_on_a_page_is_not_called_a_run_without_messages(support_client):
    session = make_session()
    run = make_run(session, created_at=at(0))
    for number in range(ITEMS_PER_PAGE):
        make_message(session, content=f"m{number}", run_id=run.id, created_at=at(number / 60))
    page = text(support_client, url("detail", session.id) + f"?from={ITEMS_PER_PAGE}")
    assert f'id="run-{run.id}"' in page
    assert "A run without messages." not in page
    assert "began further up" not in page


def test_messages_without_a_run_are_separate_entries(support_client):
    session = make_session()
    for number in range(2):
        make_message(session, content=f"loose{number}", created_at=at(number))
    assert everywhere(support_client, session) == ["loose0", "loose1"]
    assert [entry.run for entry in transcript(session.id).entries] == [None, None]


# Days


def days(page: str) -> list[str]:
    return re.findall(r'<p class="day"><time datetime="([\d-]+)">([^<]+)</time></p>', page)


def test_each_day_begins_with_its_weekday_and_date_in_the_viewers_zone(support_client):
    support_client.cookies["timezone"] = "Asia/Tokyo"
    session = make_session()
    for hours in (0, 5, 7, 30):
        # 18:00, 23:00, 01:00 and 24:00 in Tokyo.
        make_message(session, content=f"m{hours}", created_at=at(60 * hours))
    make_run(session, created_at=at(60 * 100))
    page = text(support_client, url("detail", session.id))
    assert days(page) == [
        ("2026-03-05", "Thursday, 5 March 2026"),
        ("2026-03-06", "Friday, 6 March 2026"),
        ("2026-03-07", "Saturday, 7 March 2026"),
        ("2026-03-09", "Monday, 9 March 2026"),
    ]
    assert page.index("Friday, 6") < page.index(">m7<") < page.index("Saturday, 7")


def test_each_page_of_a_conversation_begins_with_its_date(support_client):
    session = make_session()
    for number in range(ITEMS_PER_PAGE + 2):
        make_message(session, content=f"m{number}", created_at=at(number))
    for start in (0, ITEMS_PER_PAGE):
        page = text(support_client, url("detail", session.id) + f"?from={start}")
        assert [date for date, _ in days(page)] == ["2026-03-05"]
