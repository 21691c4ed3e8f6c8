"""manage.py purge."""

import io
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from audit.models import Act, Entry
from conversations.management.commands import purge
from conversations.models import ModelCall, Session

from ..support.factories import Json, make_agent, make_model_call, make_session

pytestmark = pytest.mark.django_db

BOUND = datetime(2026, 3, 1, tzinfo=UTC)


def run(*arguments):
    out = io.StringIO()
    call_command("purge", *arguments, stdout=out)
    return out.getvalue().splitlines()


def left():
    return {session.external_id for session in Session.objects.all()}


@pytest.fixture
def sessions():
    agents = [make_agent("One"), make_agent("Two")]
    for number, agent in enumerate(agents):
        for name, moment in [
            ("old", BOUND - timedelta(days=9)),
            ("just before", BOUND - timedelta(microseconds=1)),
            ("at", BOUND),
            ("after", BOUND + timedelta(days=1)),
        ]:
            make_session(agent, external_id=f"{name} {number}", updated_at=moment)
    return agents


def test_conversations_that_ended_before_the_date_are_erased(sessions):
    assert run("--before", "2026-03-01")[-1] == "4 conversations erased."
    assert left() == {"at 0", "at 1", "after 0", "after 1"}
    entry = Entry.objects.get(act=Act.PURGED)
    assert entry.user_id is None
    assert entry.details["conversations"] == 4
    assert entry.details["before"] == "2026-03-01T00:00:00+00:00"


def test_a_time_with_its_offset(sessions):
    run("--before", "2026-03-01T02:00:00.000001+02:00")
    assert left() == {"after 0", "after 1"}


def test_only_one_agents_conversations_are_erased(sessions):
    run("--before", "2026-03-01", "--agent", str(sessions[0].id))
    assert left() == {"at 0", "after 0", "old 1", "just before 1", "at 1", "after 1"}


def test_only_one_external_ids_conversations_are_erased(sessions):
    run("--before", "2026-03-01", "--external-id", "old 1")
    assert "old 1" not in left()
    assert len(left()) == 7
    assert "old 1" not in str(Entry.objects.get(act=Act.PURGED).details)


def test_a_dry_run_only_counts(sessions):
    assert run("--before", "2026-03-01", "--dry-run") == ["4 conversations would be erased."]
    assert len(left()) == 8
    assert not Entry.objects.exists()


def test_each_batch_has_an_audit_entry(sessions, monkeypatch):
    monkeypatch.setattr(purge, "BATCH", 3)
    assert run("--before", "2026-03-01") == [
        "3 conversations erased.",
        "4 conversations erased.",
    ]
    entries = Entry.objects.filter(act=Act.PURGED).order_by("id")
    assert [entry.details["conversations"] for entry in entries] == [3, 1]


def test_finished_batches_stay_erased_after_a_stop(sessions, monkeypatch):
    monkeypatch.setattr(purge, "BATCH", 1)
    erase, calls = purge.erasure.erase, []

    def stopping(*args):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(args)
        return erase(*args)

    with monkeypatch.context() as patch:
        patch.setattr(purge.erasure, "erase", stopping)
        with pytest.raises(KeyboardInterrupt):
            run("--before", "2026-03-01")
    assert len(left()) == 6
    assert run("--before", "2026-03-01")[-1] == "2 conversations erased."


def test_a_conversation_that_continues_meanwhile_is_kept(sessions, monkeypatch):
    erase = purge.erasure.erase

    def late(ids, before):
        Session.objects.using("agents_write").filter(pk=ids[0]).update(updated_at=BOUND)
        return erase(ids, before)

    monkeypatch.setattr(purge.erasure, "erase", late)
    assert run("--before", "2026-03-01")[-1] == "3 conversations erased."
    assert len(left()) == 5


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--before", "yesterday"],
        ["--before", "2026-02-30"],
        ["--before", "2999-01-01"],
        ["--before", "2026-03-01", "--agent", "x"],
        ["--before", "2026-03-01", "--agent", "00000000-0000-0000-0000-000000000000"],
        ["--before", "2026-03-01", "--external-id", "\0"],
    ],
)
def test_invalid_arguments_erase_nothing(sessions, arguments):
    with pytest.raises(CommandError):
        run(*arguments)
    assert len(left()) == 8


# Model calls written for conversations that were erased

SAID = {"request_data": Json("asked"), "response_data": Json("answered"), "total_tokens": 15}
HOURS_AGO = timezone.now() - timedelta(hours=2)


def said() -> set:
    """Model calls that still have a payload."""
    calls = ModelCall.objects.exclude(request_data=None, response_data=None)
    return set(calls.values_list("pk", flat=True))


def late(session_id, **fields):
    call = make_model_call(None, **SAID, **fields)
    ModelCall.objects.using("agents_write").filter(pk=call.id).update(session_id=session_id)
    return call.id


def test_model_calls_of_erased_conversations_are_blanked(admin_client):
    erased, kept = make_session(), make_session()
    path = f"/conversations/{erased.id}/erase/"
    admin_client.post(path, {"confirmation": f"erase {str(erased.id)[:8]}"})
    # One just now for a conversation in the audit trail, and a very old one for an unknown one.
    now = timezone.now()
    blanked = [late(erased.id, created_at=now), late(uuid.uuid4(), created_at=HOURS_AGO)]
    stay = {
        make_model_call(kept, created_at=HOURS_AGO, **SAID).id,
        make_model_call(None, created_at=HOURS_AGO, **SAID).id,
        # The session may not be committed yet.
        late(uuid.uuid4(), created_at=now),
    }
    told = "2 model calls of erased conversations"
    assert run("--before", "2020-01-01", "--dry-run")[-1] == f"{told} would be blanked."
    assert said() == stay | set(blanked)
    assert run("--before", "2020-01-01")[-1] == f"{told} blanked."
    assert said() == stay
    tokens = ModelCall.objects.filter(pk__in=blanked).values_list("total_tokens", flat=True)
    assert set(tokens) == {15}
    entries = Entry.objects.filter(act=Act.PURGED)
    assert sum(entry.details["model_calls_blanked"] for entry in entries) == 2
    assert run("--before", "2020-01-01") == ["0 conversations erased."]


def test_model_calls_of_purged_conversations_are_blanked(sessions):
    [first, *_] = Session.objects.filter(external_id="old 0")
    run("--before", "2026-03-01")
    call = late(first.id)
    assert run("--before", "2026-03-01")[-1] == "1 model call of erased conversations blanked."
    assert call not in said()


def test_all_of_them_are_reached_in_small_steps(monkeypatch):
    monkeypatch.setattr("conversations.changes.erasure.STEP_ROWS", 3)
    same = HOURS_AGO - timedelta(days=1)
    for _ in range(8):
        late(uuid.uuid4(), created_at=same)
    assert run("--before", "2020-01-01")[-1] == "8 model calls of erased conversations blanked."
    assert said() == set()


@pytest.mark.parametrize("number", ["0002", "0004"])
def test_before_model_calls_name_their_conversation_none_is_touched(at_revision, number):
    make_model_call(None, created_at=HOURS_AGO, **SAID)
    at_revision(number)
    assert run("--before", "2020-01-01") == ["0 conversations erased."]
    assert ModelCall.objects.exclude(request_data=None).count() == 1


def test_a_call_of_an_erased_conversation_has_no_page(admin_client):
    session = make_session()
    call = make_model_call(session, **SAID)
    page = f"/conversations/{session.id}/model-calls/{call.id}/request_data/"
    assert admin_client.get(page).status_code == 200
    assert admin_client.get(f"{page}raw/").status_code == 200
    Session.objects.using("agents_write").filter(pk=session.id).delete()
    assert ModelCall.objects.get().session_id == session.id
    assert admin_client.get(page).status_code == 404
    assert admin_client.get(f"{page}raw/").status_code == 404
