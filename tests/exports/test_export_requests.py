"""Who gets which file, how many at once, and what is recorded about it."""

import random
import re
import socket
import time
import uuid
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import OperationalError
from django.test import override_settings

from audit.models import Act, Entry
from backoffice import client
from backoffice.client import Client
from backoffice.databases import work_slots
from backoffice.databases.errors import is_timeout
from backoffice.databases.postgresql.connection import Watch
from conversations.exports import stream
from conversations.exports.files import File
from conversations.exports.stream import Export
from conversations.listing.views import ConversationListView

from ..support.exports import BOM, LINE, SLEEP, URL, export, ids, read_xlsx, rows, slots_taken
from ..support.factories import make_agent, make_conversation, make_message, make_session
from ..support.histories import AGENTS, FIRST_DAY, SAME_ERROR, expected, make_history
from ..support.listing import be_patient, listed, match
from ..support.pages import get, text, words
from ..support.trail import read

pytestmark = pytest.mark.django_db
FILES = [f"{name}.{form}" for name in ("conversations", "messages", "tasks")
         for form in ("csv", "jsonl")]  # fmt: skip


# Which rows


def some_filters(chance: random.Random) -> dict[str, str]:
    """Meaningful filters, each with its probability."""
    start = FIRST_DAY + timedelta(hours=chance.randrange(240))
    end = start + timedelta(hours=chance.randrange(1, 120))
    whole_days = chance.random() < 0.5
    form = "%Y-%m-%d" if whole_days else "%Y-%m-%dT%H:%M"
    choices = {
        "agent": (0.3, str(chance.choice(AGENTS))),
        "external_id": (0.2, chance.choice(["user-1", "user-", "eval:", "U", "nobody"])),
        "evals": (0.2, "hidden"),
        "start_date": (0.3, start.strftime(form)),
        "end_date": (0.3, end.strftime(form)),
        "search": (0.4, chance.choice(["alpha", "BETA", "gamma", "missing", "be", "SN-2", "off"])),
        "problem": (0.3, chance.choice(["any", "failed", "running", "interrupted", "model_error",
                                        "tool_error", "task_error"])),
        "error": (0.1, SAME_ERROR),
    }  # fmt: skip
    filters = {name: value for name, (often, value) in choices.items() if chance.random() < often}
    if "search" in filters and chance.random() < 0.5:
        filters["scope"] = "all"
    return filters


@pytest.mark.slow
def test_exports_have_the_lists_rows_with_any_filters(support_client, monkeypatch):
    be_patient(monkeypatch)
    monkeypatch.setattr(ConversationListView, "page_size", 1000)
    history = make_history(seed=7, size=100)
    whole = {name: rows(support_client, f"{name}.csv") for name in ("messages", "tasks")}
    chance = random.Random(7)
    numbers = []
    for number in range(100):
        filters = some_filters(chance)
        there = [str(pk) for pk in match(support_client, **filters)]
        model = dict(filters)
        if "agent" in filters:
            model["agent"] = uuid.UUID(filters["agent"])
        assert there == [str(place.id) for place in expected(history, model)], filters
        assert ids(support_client, **filters) == there, filters
        for name, all_rows in whole.items() if number % 3 == 0 else ():
            wanted = [row for row in all_rows if row["session_id"] in there]
            found = rows(support_client, f"{name}.csv", **filters)
            assert found == wanted, filters
        numbers.append(len(there))
    # Most filters match some conversations, but not all.
    assert sum(0 < number < len(history) for number in numbers) > 50


def test_a_date_is_read_in_the_readers_zone(support_client):
    make_session(created_at=FIRST_DAY - timedelta(hours=3))
    for zone, number in (("Asia/Tokyo", 1), ("UTC", 0)):
        support_client.cookies["timezone"] = zone
        assert len(ids(support_client, start_date="2026-06-01")) == number


# Invalid requests


@pytest.mark.thorough
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("start_date=someday", "Created from: Enter a date like"),
        ("agent=nobody", "Agent: “nobody” is not a valid UUID."),
        ("search=aa&amp;agent=x", "There is no filter called “amp;agent”"),
        ("start_date=2026-02-02&end_date=2026-02-01", "The end is before the start."),
        ("problem=none", "Problem: "),
        ("serach=x", "There is no filter called “serach”."),
        ("search=aa&search=bb", "“search” is given twice."),
        ("search=a", "Search for at least two characters."),
        ("after=1.00000000000000000000000000000000", "A file cannot start at “after”."),
        ("after=nonsense", "A file cannot start at “after”."),
        ("before=nonsense", "A file cannot start at “before”."),
        ("since=1", "A file cannot start at “since”."),
        ("payloads=2", "Only tasks have payloads: use payloads=1 with tasks."),
        ("payloads=1&payloads=1", "Only tasks have payloads"),
        ("search=%3Cb%3E&x=%3Cb%3E", "There is no filter called"),
    ],
)  # fmt: skip
def test_an_invalid_request_is_a_400_without_a_file(support_client, file, query, words):
    make_conversation()
    response = support_client.get(f"{URL}{file}?{query}")
    assert response.status_code == 400
    assert not response.streaming
    assert "Content-Disposition" not in response
    assert words in text(response)
    assert "<b>" not in response.content.decode()
    assert not Entry.objects.filter(act=Act.EXPORTED).exists()


def test_only_tasks_have_payloads(support_client):
    for file in FILES:
        status = 200 if file.startswith("tasks") else 400
        response = support_client.get(f"{URL}{file}?payloads=1")
        assert response.status_code == status
        list(response)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("separator=pipe", "The separator must be comma, semicolon or tab."),
        ("separator=", "The separator must be comma, semicolon or tab."),
        ("separator=tab&separator=tab", "The separator must be comma, semicolon or tab."),
    ],
)
def test_a_separator_is_one_of_three(support_client, query, words):
    response = support_client.get(f"{URL}conversations.csv?{query}")
    assert response.status_code == 400
    assert words in text(response)


def test_only_csv_has_a_separator(support_client):
    for file in FILES:
        status = 200 if file.endswith("csv") else 400
        response = support_client.get(f"{URL}{file}?separator=semicolon")
        assert response.status_code == status
        list(response)


def test_other_parameters_of_the_list_are_ignored(support_client):
    session = make_session()
    assert ids(support_client, go="0", search="", agent="") == [str(session.id)]


@pytest.mark.parametrize("file", ["runs.csv", "conversations.xls", "conversations", "a.b.csv"])
def test_there_is_no_other_file(support_client, file):
    assert support_client.get(URL + file).status_code == 404


@pytest.mark.parametrize("method", ["head", "post", "put", "options"])
def test_nothing_but_get_runs_an_export(support_client, method):
    assert getattr(support_client, method)(f"{URL}conversations.csv").status_code == 405
    assert not Entry.objects.filter(act=Act.EXPORTED).exists()


# Answers


def test_a_file_says_what_it_is(support_client):
    for file in FILES:
        response = support_client.get(URL + file)
        name, form = file.split(".")
        kind = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl; charset=utf-8"}
        assert response["Content-Type"] == kind[form]
        assert re.fullmatch(
            rf'attachment; filename="{name}-\d{{4}}-\d\d-\d\d\.{form}"',
            response["Content-Disposition"],
        )
        assert "no-store" in response["Cache-Control"]
        assert response["X-Accel-Buffering"] == "no"
        list(response)


def test_no_more_run_at_once_than_allowed(support_client):
    make_conversation()
    with slots_taken(1, 2):
        response = support_client.get(f"{URL}conversations.csv")
        with override_settings(EXPORTS_AT_ONCE=3):
            assert len(ids(support_client)) == 1
    assert response.status_code == 429
    assert response["Retry-After"] == "60"
    assert "2 exports are already running" in text(response)
    assert "Content-Disposition" not in response
    # Only for the export that was let in.
    assert Entry.objects.filter(act=Act.EXPORTED).count() == 2


def test_one_free_slot_is_enough(support_client):
    make_conversation()
    with slots_taken(1):
        assert len(ids(support_client)) == 1


def test_a_database_error_is_a_page(support_client, monkeypatch):
    support_client.raise_request_exception = False
    monkeypatch.setattr(work_slots, "TRY_SLOT", "SELECT 1/0 WHERE %(slots)s < %(work)s")
    response = support_client.get(f"{URL}conversations.csv")
    assert response.status_code == 500
    assert "Content-Disposition" not in response


# The audit trail


def entries() -> list[dict]:
    found = Entry.objects.filter(act=Act.EXPORTED).order_by("pk")
    return [{"username": entry.username, **read(entry.details)} for entry in found]


def test_an_export_is_recorded_before_its_first_byte_and_at_its_end(support_client):
    make_conversation(messages=3)
    response = support_client.get(f"{URL}messages.csv", {"problem": "", "external_id": ""})
    first = {"username": "support", "file": "messages.csv", "query": "", "payloads": False}
    assert entries() == [first]
    list(response)
    pk = Entry.objects.filter(act=Act.EXPORTED).first().pk
    last = {"username": "support", "export": pk, "rows": 3, "complete": True}
    assert entries() == [first, last]


def test_the_filters_are_recorded(support_client):
    export(support_client, "tasks.jsonl", search="refund", payloads="1")
    assert entries()[0]["query"] == "search=refund"
    assert entries()[0]["payloads"] is True


def test_a_stopped_download_is_recorded_as_such(support_client):
    make_message(make_session(), content="x" * 100_000)
    make_message(make_session(), content="y" * 100_000)
    response = support_client.get(f"{URL}messages.csv")
    next(iter(response.streaming_content))
    # Calls response.close() like the test client, which keeps the test's own transactions.
    response._iterator.close()
    assert entries()[1]["complete"] is False
    assert len(ids(support_client)) == 2


def test_an_export_that_cannot_be_recorded_does_not_start(support_client, monkeypatch):
    make_conversation()
    support_client.raise_request_exception = False

    def fail(*args, **kwargs):
        raise OperationalError("The disk is full.")

    monkeypatch.setattr(stream, "record", fail)
    response = support_client.get(f"{URL}conversations.csv")
    assert response.status_code == 503
    assert "Content-Disposition" not in response
    monkeypatch.undo()
    assert len(ids(support_client)) == 1


# While streaming


def test_the_first_line_is_there_within_a_second(db):
    began = time.monotonic()
    slow = Export(SLEEP, None)
    assert slow.first == b"a\r\n"
    assert time.monotonic() - began < 1.5
    assert b"".join(slow) == b"a\r\ndone\r\n"
    assert (slow.rows, slow.complete) == (1, True)


@pytest.mark.thorough
def test_an_export_that_takes_too_long_is_aborted(db):
    with override_settings(EXPORT_TIMEOUT_SECONDS=1.5):
        slow = Export(SLEEP, None)
        with pytest.raises(OperationalError) as raised:
            list(slow)
    assert is_timeout(raised.value)
    assert slow.complete is False
    # The connection can be used again.
    assert list(Export(SLEEP, None))


def test_a_client_that_left_is_noticed_while_nothing_is_sent(db):
    long = File(SLEEP.statement, (60,), b"", LINE)
    began = time.monotonic()
    slow = Export(long, None, is_wanted=lambda: time.monotonic() - began < 1.5)
    with pytest.raises(ConnectionResetError):
        list(slow)
    assert time.monotonic() - began < 5
    assert slow.complete is False


@pytest.mark.slow
def test_a_silent_database_is_given_up(db, monkeypatch):
    long = File(SLEEP.statement, (60,), b"", LINE)
    monkeypatch.setattr(Watch, "is_on", True)
    monkeypatch.setattr(stream, "SILENT_SECONDS", 1)
    began = time.monotonic()
    slow = Export(long, None, is_wanted=lambda: time.monotonic() - began < 4.5)
    with pytest.raises(ConnectionResetError):
        # It sends nothing, but answers new clients.
        list(slow)
    monkeypatch.setattr(stream, "greets", lambda connected: False)
    slow = Export(long, None)
    with pytest.raises(OperationalError, match="does not answer"):
        list(slow)
    assert slow.complete is False


def test_a_client_counts_as_connected_until_its_socket_closes(rf):
    ours, theirs = socket.socketpair()
    client = Client(rf.get("/", **{"gunicorn.socket": ours}))
    assert client.is_there()
    theirs.send(b"GET /next")
    assert client.is_there()
    theirs.close()
    assert ours.recv(100) == b"GET /next"
    assert not client.is_there()
    assert Client(rf.get("/")).is_there()


def test_a_stalled_client_does_not_hold_a_slot_forever(rf, monkeypatch):
    monkeypatch.setattr(client, "STALLED_SECONDS", 0.5)
    ours, _theirs = socket.socketpair()
    client.watch_client(lambda request: None)(rf.get("/", **{"gunicorn.socket": ours}))
    with pytest.raises(TimeoutError):
        ours.sendall(b"x" * 10_000_000)


def test_part_of_a_row_is_never_taken_for_a_row():
    with pytest.raises(ValueError, match="only part of a row"):
        LINE(memoryview(b"half"))


# The list


def offered(response) -> dict[str, str]:
    """{label: address} for the files, and under "Export" the button's text."""
    page = response.content.decode()
    links = re.findall(rf'<a href="({URL}[^"]*)" aria-label="([^"]*)"', page)
    found = {label: address.replace("&amp;", "&") for address, label in links}
    button = re.search(r"<details class=\"export\">.*?<summary.*?</summary>", page, re.DOTALL)
    if button:
        found["Export"] = words(button[0])
    return found


def test_the_list_offers_its_rows_as_files(support_client):
    for _ in range(3):
        make_session(make_agent("Shop"), external_id="a b&c")
    make_session()
    found = offered(get(support_client, external_id="a b&c", after=""))
    assert found.pop("Export") == "Export 3 conversations"
    assert len(found) == 20
    for label, address in found.items():
        response = support_client.get(address)
        assert response.status_code == 200, label
        body = b"".join(response.streaming_content)
        if label.startswith("Conversations as JSON"):
            assert body.count(b"\n") == 3
        if label == "Conversations as XLSX":
            assert len(read_xlsx(body)) == 3
        if label.endswith("with semicolons"):
            assert body.startswith((BOM + b"id;session_id;", BOM + b"session_id;"))
        if label.endswith("with tabs"):
            assert body.startswith((BOM + b"id\tsession_id\t", BOM + b"session_id\t"))
    assert found["Tasks with payloads as CSV"].endswith("?external_id=a+b%26c&payloads=1")


def test_a_single_conversation_is_offered_in_the_singular(support_client):
    make_session()
    assert offered(get(support_client))["Export"] == "Export 1 conversation"


def test_pages_further_back_offer_everything(support_client, monkeypatch):
    monkeypatch.setattr(ConversationListView, "page_size", 2)
    for _ in range(5):
        make_session()
    first = get(support_client)
    later = get(support_client, after=first.context["next_cursor"])
    assert len(listed(later)) == 2
    assert offered(later) == offered(first)
    assert offered(later)["Conversations as CSV"] == f"{URL}conversations.csv"


def test_the_button_shows_the_same_number_as_the_total(support_client, monkeypatch):
    monkeypatch.setattr("conversations.listing.counts.UP_TO", 3)
    monkeypatch.setattr(ConversationListView, "page_size", 2)
    for _ in range(5):
        make_session()
    assert offered(get(support_client))["Export"] == "Export 3+ conversations"
    counted = get(support_client, "/conversations/counts/").content.decode()
    assert '<span id="export-number" hx-swap-oob="true">5 conversations</span>' in counted
    monkeypatch.setattr("conversations.listing.counts.full_total", lambda matching: {})
    counted = get(support_client, "/conversations/counts/").content.decode()
    assert '<span id="export-number" hx-swap-oob="true">all matches</span>' in counted


def test_nothing_is_offered_where_there_is_nothing_to_export(support_client):
    make_session()
    assert offered(get(support_client, search="nowhere")) == {}
    assert offered(get(support_client, start_date="someday")) == {}
    for query in ({"search": "nowhere"}, {"start_date": "someday"}):
        counted = get(support_client, "/conversations/counts/", **query)
        assert "export-number" not in counted.content.decode()


def test_nothing_is_offered_to_those_who_may_not(viewer_client):
    make_session()
    assert offered(get(viewer_client)) == {}
    counted = get(viewer_client, "/conversations/counts/")
    assert "export-number" not in counted.content.decode()


def test_the_settings_are_documented():
    page = (settings.BASE_DIR / "docs/operating.md").read_text()
    assert f"| `EXPORTS_AT_ONCE` | `{settings.EXPORTS_AT_ONCE}` |" in page
    assert f"| `EXPORT_TIMEOUT_SECONDS` | `{settings.EXPORT_TIMEOUT_SECONDS}` |" in page
