"""The audit log: what it records, and that nobody can change it."""

import re
import uuid
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import (
    DatabaseError,
    IntegrityError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import lockout
from audit import recording
from audit.models import Act, Entry
from audit.recording import SAME_VIEW, record, recorded_change
from conversations.listing import views
from conversations.selection.pagination import EPOCH, Cursor
from privacy.personal_data import mask

from ..support.factories import make_agent, make_message, make_run, make_session, make_task
from ..support.listing import TYPING, timed_out
from ..support.pages import HTMX
from ..support.signing_in import PASSWORD, let_in, make_user, sign_in
from ..support.trail import read

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice(db):
    return make_user(group=None)


def entries(*acts) -> list:
    return list(Entry.objects.filter(act__in=acts).order_by("id"))


def only(act):
    [entry] = entries(act)
    return entry


# Signing in and out


def test_signing_in_is_recorded(client, alice):
    response = sign_in(client, REMOTE_ADDR="192.0.2.7")
    entry = Entry.objects.get()
    assert entry.act == Act.SIGNED_IN
    assert (entry.user_id, entry.username) == (alice.pk, "alice")
    assert entry.address == "192.0.2.7"
    assert entry.request_id == response["X-Request-ID"]
    assert abs(entry.at - timezone.now()) < timedelta(minutes=1)
    assert entry.details == {"how": "password"}


def test_a_failed_sign_in_names_the_account_but_no_user(client, alice):
    sign_in(client, "alice", "wrong", REMOTE_ADDR="192.0.2.7")
    entry = Entry.objects.get()
    assert entry.act == Act.SIGN_IN_FAILED
    assert (entry.user_id, entry.username) == (None, "")
    assert entry.address == "192.0.2.7"
    guessed = lockout.guessed("alice")
    assert entry.details == {"account": "alice", "guessed": guessed, "how": "password"}


@pytest.mark.parametrize("typed", ["a-password-typed-into-the-wrong-field", "ALICE", "x" * 140])
def test_an_unknown_user_name_is_not_stored(client, alice, typed):
    sign_in(client, typed, "wrong")
    guessed = lockout.guessed(typed)
    details = {"account": None, "guessed": guessed, "how": "password"}
    assert Entry.objects.get().details == details
    assert len(guessed) == 32
    assert typed not in str(Entry.objects.values())


@pytest.mark.parametrize("typed", ["a\0b", "", "x" * 5000, "\u202e"])
def test_whatever_is_typed_as_a_name_breaks_nothing(client, typed):
    assert sign_in(client, typed, "wrong").status_code == 200


def test_no_password_is_stored(client, alice):
    sign_in(client, "alice", "wrong-password-77")
    sign_in(client)
    for entry in Entry.objects.values():
        assert PASSWORD not in str(entry)
        assert "wrong-password" not in str(entry)


def test_signing_out_is_recorded(client, alice):
    let_in(client, alice)
    client.post("/accounts/logout/")
    assert only(Act.SIGNED_OUT).username == "alice"
    client.post("/accounts/logout/")
    assert len(entries(Act.SIGNED_OUT)) == 1


def test_without_an_entry_nobody_is_signed_in(client, alice, monkeypatch):
    def broken(**values):
        raise OperationalError("disk full")

    monkeypatch.setattr(Entry.objects, "create", broken)
    client.raise_request_exception = False
    assert sign_in(client).status_code == 503
    monkeypatch.undo()
    assert client.get("/conversations/")["Location"].startswith("/accounts/login/")


# Where from


@pytest.mark.parametrize(
    ("behind_proxy", "forwarded", "told"),
    [
        (False, None, "192.0.2.7"),
        (False, "198.51.100.1", "192.0.2.7"),
        (True, None, "192.0.2.7"),
        (True, "198.51.100.1", "198.51.100.1"),
        # The proxy adds the real address after whatever the client sent.
        (True, "203.0.113.9, 198.51.100.1", "198.51.100.1"),
        (True, "203.0.113.9,198.51.100.1 ", "198.51.100.1"),
        (True, "198.51.100.1, not an address", None),
        (True, "198.51.100.1, ", None),
        (True, "2001:db8::1", "2001:db8::1"),
        (True, "2001:DB8:0::1", "2001:db8::1"),
        (True, "fe80::1%eth0", "fe80::1"),
        (True, "fe80::1%'; DROP TABLE x", "fe80::1"),
        (True, "::ffff:198.51.100.1", "198.51.100.1"),
        (True, "x" * 5000, None),
        (True, "999.1.1.1", None),
    ],
)
def test_the_address_is_the_one_that_our_own_proxy_saw(
    client, alice, settings, behind_proxy, forwarded, told
):
    settings.BEHIND_PROXY = behind_proxy
    headers = {"X-Forwarded-For": forwarded} if forwarded is not None else {}
    response = sign_in(client, headers=headers, REMOTE_ADDR="192.0.2.7")
    assert response.status_code == 302
    assert Entry.objects.get().address == told


def test_a_unix_socket_has_no_address(client, alice):
    sign_in(client, REMOTE_ADDR="")
    assert Entry.objects.get().address is None


# Viewing


@pytest.fixture
def session():
    return make_session(make_agent("Shop"), external_id="ticket-7")


def pages_of(session) -> dict[str, str]:
    run = make_run(session)
    task = make_task(run, session)
    message = make_message(session, content="x" * 10_000)
    here = f"/conversations/{session.id}/"
    return {
        "detail": here,
        "transcript": f"{here}transcript.txt",
        "json": f"{here}conversation.json",
        "message": f"{here}messages/{message.id}/",
        "run": f"{here}runs/{run.id}/",
        "task": f"{here}tasks/{task.id}/",
        "payload": f"{here}runs/{run.id}/input_data/",
        "payload_file": f"{here}runs/{run.id}/input_data/raw/",
    }


def inserts(queries) -> list[str]:
    return [query["sql"] for query in queries if "; INSERT INTO" in query["sql"]]


def test_each_page_of_a_conversation_is_one_insert(support_client, session):
    for name, page in pages_of(session).items():
        with CaptureQueriesContext(connection) as queries:
            assert support_client.get(page).status_code == 200
        assert len(inserts(queries)) == 1, name
        entry = Entry.objects.latest("id")
        assert (entry.act, entry.session_id) == (Act.VIEWED, session.id)
        assert entry.username == "support"
        assert entry.details == {"page": name}


def test_a_page_is_recorded_each_time(support_client, session):
    for _ in range(3):
        support_client.get(f"/conversations/{session.id}/")
    assert len(entries(Act.VIEWED)) == 3


def test_requests_from_an_open_page_belong_to_its_view(support_client, session):
    for name, page in pages_of(session).items():
        if name in ("detail", "run", "task", "message", "payload"):
            support_client.get(page, headers=HTMX)
    assert only(Act.VIEWED).session_id == session.id


def test_a_page_left_open_counts_as_a_new_view_after_a_while(support_client, session, monkeypatch):
    page = f"/conversations/{session.id}/"
    support_client.get(page)
    support_client.get(page, headers=HTMX)
    assert len(entries(Act.VIEWED)) == 1
    monkeypatch.setattr("audit.recording.SAME_VIEW", timedelta(0))
    assert timedelta(0) < SAME_VIEW
    support_client.get(page, headers=HTMX)
    assert len(entries(Act.VIEWED)) == 2


def test_the_entry_says_that_a_page_refreshed_itself(support_client, session):
    support_client.get(f"/conversations/{session.id}/", headers={**HTMX, "X-Refresh": "1"})
    assert only(Act.VIEWED).details == {"page": "detail", "by": "an open page"}


def test_a_fragment_is_recorded_for_each_conversation_and_user(
    client, session, django_user_model, request
):
    other = make_session()
    request.getfixturevalue("support_client").get(f"/conversations/{session.id}/")
    client.get(f"/conversations/{other.id}/", headers=HTMX)
    request.getfixturevalue("viewer_client").get(f"/conversations/{session.id}/", headers=HTMX)
    told = [(entry.username, entry.session_id) for entry in entries(Act.VIEWED)]
    assert told == [("support", session.id), ("support", other.id), ("viewer", session.id)]


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_refused_conversation_was_not_viewed(outsider_client, session, headers):
    for page in pages_of(session).values():
        assert outsider_client.get(page, headers=headers).status_code == 403
    assert entries(Act.VIEWED) == []


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_missing_conversation_was_not_viewed(support_client, session, headers):
    here = f"/conversations/{session.id}/"
    missing = uuid.uuid4()
    for page in (f"/conversations/{missing}/", f"{here}runs/{missing}/", f"{here}tasks/{missing}/"):
        assert support_client.get(page, headers=headers).status_code == 404
    assert entries(Act.VIEWED) == []


def test_without_an_entry_nothing_is_shown(support_client, session, monkeypatch):
    make_message(session, content="content-word")

    def broken(**values):
        raise DatabaseError("disk full")

    monkeypatch.setattr(Entry.objects, "create", broken)
    support_client.raise_request_exception = False
    response = support_client.get(f"/conversations/{session.id}/")
    assert response.status_code == 500
    assert b"content-word" not in response.content


def without_fingerprint(entry) -> dict:
    """The details of a search, except for its fingerprint, which every search has."""
    assert re.fullmatch("[0-9a-f]{32}", entry.details["fingerprint"])
    details = {name: value for name, value in entry.details.items() if name != "fingerprint"}
    assert re.search("=~[a-p]{32}", details["query"])
    return read(details)


def test_a_search_is_recorded_and_a_plain_list_is_not(support_client, session):
    make_message(session, content="refund")
    support_client.get("/conversations/")
    support_client.get("/conversations/?problem=failed")
    assert entries(Act.SEARCHED) == []
    with CaptureQueriesContext(connection) as queries:
        support_client.get("/conversations/?search=refund")
    assert len(inserts(queries)) == 1
    # One more statement stores the text.
    assert len([each for each in queries if "audit_text" in each["sql"]]) == 1
    entry = only(Act.SEARCHED)
    assert without_fingerprint(entry) == {"query": "search=refund", "shown": 1}
    assert entry.session_id is None


@pytest.mark.parametrize(
    "path",
    [
        "counts/?search=refund",
        "counts/?external_id=jane",
        f"new/?search=refund&since={Cursor(EPOCH, uuid.UUID(int=0))}",
        "?search=jane@example.com",
        "?external_id=jane",
        "?error=offline",
        "?tool=search",
        "{session}/?search=refund",
    ],
)
def test_whatever_answers_a_guess_is_recorded_once(support_client, path):
    session = make_session(external_id="jane@example.com")
    make_message(session, content="refund")
    for _ in range(2):
        support_client.get("/conversations/" + path.format(session=session.id))
    told = [read(entry.details)["query"] for entry in entries(Act.SEARCHED)]
    # A list is recorded each time, with what it showed.
    assert len(told) == (2 if path.startswith("?") else 1)
    assert told[0] in path
    support_client.get("/conversations/counts/?search=something+else")
    assert len(entries(Act.SEARCHED)) == len(told) + 1


def test_a_search_that_took_too_long_is_recorded(support_client, monkeypatch):
    monkeypatch.setattr(views, "find", timed_out)
    assert support_client.get("/conversations/?search=refund").status_code == 503
    assert without_fingerprint(only(Act.SEARCHED)) == {"query": "search=refund"}


def typed_searches(client, *queries: str) -> list[str]:
    """The searches in the log after typing these one after the other."""
    for query in queries:
        client.get(f"/conversations/?{query}", headers=TYPING)
        client.get(f"/conversations/counts/?{query}", headers=TYPING)
    return [read(entry.details)["query"] for entry in reversed(entries(Act.SEARCHED))]


def test_a_search_typed_letter_by_letter_is_one_entry(support_client):
    typed = [f"search={'refund'[:end]}" for end in range(2, 7)]
    assert typed_searches(support_client, *typed) == ["search=refund"]
    entry = only(Act.SEARCHED)
    assert (entry.username, entry.details["shown"]) == ("support", 0)


def test_the_whole_search_is_recorded_not_its_first_letter(support_client):
    assert typed_searches(support_client, "search=ja", "search=jane.doe@example.com") == [
        "search=jane.doe@example.com"
    ]


@pytest.mark.parametrize(
    "change",
    [
        "username = 'nobody'",
        "at = at - interval '1 day'",
        "act = 'viewed'",
        "details = '{}' WHERE act = 'viewed'",
        "details = '{}' WHERE at < now() - interval '3 seconds'",
    ],
)
def test_only_the_details_of_an_entry_change_while_typing(support_client, session, change):
    support_client.get("/conversations/?search=refund")
    support_client.get(f"/conversations/{session.id}/")
    at = timezone.now() - timedelta(seconds=4)
    Entry.objects.create(act=Act.SEARCHED, at=at, details={"query": "search=old"})
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():  # noqa: SIM117
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE audit_entry SET {change}")


@pytest.mark.parametrize(
    ("queries", "number"),
    [
        # Different guesses: none begins with the previous one.
        (["search=ab", "search=ac", "search=ad"], 3),
        (["external_id=a", "external_id=b", "external_id=ba"], 2),
        # A search with another filter is a different one.
        (["search=ab", "search=abc&problem=failed"], 2),
        (["search=ab", "external_id=ab"], 2),
        # Fewer letters find more, so this is a different search.
        (["search=abc", "search=ab"], 2),
    ],
)
def test_any_other_search_gets_its_own_entry(support_client, queries, number):
    assert len(typed_searches(support_client, *queries)) == number


def test_typing_after_a_pause_is_a_new_search(support_client, monkeypatch):
    monkeypatch.setattr(recording, "STILL_TYPING", timedelta(0))
    assert len(typed_searches(support_client, "search=ab", "search=abc")) == 2


@pytest.mark.parametrize("page", ["", "counts/"])
def test_guesses_that_look_the_same_once_masked_are_told_apart(viewer_client, settings, page):
    settings.MASK_PERSONAL_DATA = True
    guesses = [f"{name}@example.com" for name in ("jane", "JANE", "Jane")]
    for guess in guesses:
        viewer_client.get(f"/conversations/{page}?search={guess}")
    found = entries(Act.SEARCHED)
    assert len(found) == 3
    assert {read(entry.details)["query"] for entry in found} == {f"search={mask(guesses[0])}"}
    assert len({entry.details["query"] for entry in found}) == 3
    assert len({entry.details["fingerprint"] for entry in found}) == 3


# Append-only


@pytest.fixture
def entry():
    return record(None, Act.VIEWED, session_id=uuid.uuid4(), page="detail")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entry SET username = 'nobody'",
        "UPDATE audit_entry SET details = '{}'",
        "DELETE FROM audit_entry",
        "SET LOCAL desk.audit_prune = 'off'; DELETE FROM audit_entry",
        "SET LOCAL desk.audit_prune = 'on'; UPDATE audit_entry SET at = now()",
    ],
)
def test_the_database_refuses_to_change_or_delete_entries(entry, statement):
    before = list(Entry.objects.values())
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():  # noqa: SIM117
        with connection.cursor() as cursor:
            cursor.execute(statement)
    assert list(Entry.objects.values()) == before


@pytest.mark.parametrize("statement", ["TRUNCATE audit_entry", "TRUNCATE audit_entry CASCADE"])
def test_the_database_refuses_to_truncate_the_log(entry, statement):
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():  # noqa: SIM117
        with connection.cursor() as cursor:
            cursor.execute(statement)
    assert Entry.objects.filter(pk=entry.pk).exists()


def test_our_own_code_cannot_change_or_delete_entries_either(entry):
    for change in (entry.save, entry.delete, Entry.objects.all().delete):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            change()
    assert Entry.objects.filter(pk=entry.pk).exists()


# Who it was


def test_an_entry_keeps_the_name_and_role_of_a_deleted_user(
    support_client, session, django_user_model
):
    support_client.get(f"/conversations/{session.id}/")
    user = django_user_model.objects.get(username="support")
    user.groups.set([Group.objects.get(name="Viewer"), Group.objects.create(name="Away")])
    support_client.get(f"/conversations/{session.id}/")
    user.is_superuser, user.username = True, "renamed"
    user.save()
    support_client.get(f"/conversations/{session.id}/")
    Group.objects.get(name="Away").delete()
    user.delete()
    told = [(each.user_id, each.username, each.role) for each in entries(Act.VIEWED)]
    assert {pk for pk, _, _ in told} == {entries(Act.VIEWED)[0].user_id} != {None}
    assert [each[1:] for each in told] == [
        ("support", "Support"),
        ("support", "Away, Viewer"),
        ("renamed", "superuser, Away, Viewer"),
    ]


def test_a_user_who_just_signed_in_has_a_role_and_a_stranger_has_none(client, alice):
    alice.groups.add(Group.objects.get(name="Support"))
    sign_in(client, "alice", "wrong")
    sign_in(client)
    assert only(Act.SIGN_IN_FAILED).role == ""
    assert only(Act.SIGNED_IN).role == "Support"


def test_recording_the_role_takes_no_query(support_client, session):
    with CaptureQueriesContext(connection) as queries:
        support_client.get(f"/conversations/{session.id}/")
    assert len([each for each in queries if "auth_group" in each["sql"]]) == 1


@pytest.mark.parametrize(
    ("given", "reason"), [({}, "manage.py purge"), ({"reason": "Ticket 7"}, "Ticket 7")]
)
def test_commands_act_as_the_system_for_a_reason(given, reason):
    make_session(make_agent())
    call_command("purge", "--before", str(timezone.now()), stdout=StringIO(), **given)
    entry = only(Act.PURGED)
    assert (entry.user_id, entry.username, entry.role) == (None, "system", "command")
    assert entry.reason == reason
    assert record(None, Act.PURGED).reason == ""


# Changes in the agent database


@pytest.fixture
def row():
    return make_agent("Before")


def rename(row, name="After"):
    with connections["agents_write"].cursor() as cursor:
        cursor.execute("UPDATE agents SET name = %s WHERE id = %s", [name, row.id])


def name_of(row):
    with connections["agents_write"].cursor() as cursor:
        cursor.execute("SELECT name FROM agents WHERE id = %s", [row.id])
        return cursor.fetchone()[0]


def test_a_change_is_recorded_with_the_details_its_block_adds(row):
    session_id = uuid.uuid4()
    with recorded_change(None, Act.ERASED, session_id=session_id, table="agents") as details:
        rename(row)
        details["rows"] = 1
    entry = only(Act.ERASED)
    assert entry.session_id == session_id
    assert entry.details == {"table": "agents", "rows": 1}
    assert name_of(row) == "After"


def test_a_change_that_fails_is_neither_made_nor_recorded(row):
    def change():
        with recorded_change(None, Act.EDITED):
            rename(row)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change()
    assert name_of(row) == "Before"
    assert not Entry.objects.exists()


def test_a_change_that_cannot_be_recorded_is_not_made(row, monkeypatch):
    def broken(**values):
        raise DatabaseError("disk full")

    monkeypatch.setattr(Entry.objects, "create", broken)
    with pytest.raises(DatabaseError), recorded_change(None, Act.EDITED):
        rename(row)
    assert name_of(row) == "Before"


def test_details_that_are_not_json_serialisable_stop_the_change(row):
    with pytest.raises(TypeError), recorded_change(None, Act.EDITED, row=row.id):
        rename(row)
    assert name_of(row) == "Before"


def test_a_commit_that_fails_is_recorded_as_rolled_back(row, monkeypatch):
    session_id = uuid.uuid4()
    writer = connections["agents_write"]
    commit = writer.savepoint_commit

    def broken(savepoint):
        # Fail only once, because rolling back commits savepoints too.
        monkeypatch.setattr(writer, "savepoint_commit", commit)
        raise IntegrityError("deferred")

    def change():
        with recorded_change(None, Act.EDITED, session_id=session_id):
            rename(row)
            monkeypatch.setattr(writer, "savepoint_commit", broken)

    with pytest.raises(IntegrityError):
        change()
    assert name_of(row) == "Before"
    edited, undone = Entry.objects.order_by("id")
    assert (edited.act, undone.act) == (Act.EDITED, Act.UNDONE)
    assert undone.details == {"entry": edited.pk}
    assert undone.session_id == session_id


def test_a_change_inside_another_transaction_is_refused(row):
    with transaction.atomic(using="agents_write"), pytest.raises(RuntimeError, match="durable"):  # noqa: SIM117
        with recorded_change(None, Act.EDITED):
            rename(row)
    assert name_of(row) == "Before"
    assert not Entry.objects.exists()
