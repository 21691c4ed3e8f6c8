"""Texts that people typed and external ids can only be read in the log for as long as allowed."""

import json
from datetime import timedelta
from importlib import import_module
from io import StringIO

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from audit import sealing, texts
from audit.models import Act, Entry, Seal, Text
from audit.recording import record
from backoffice import jobs
from conversations.changes import forgetting
from conversations.models import Session
from privacy.personal_data import mask, mask_json
from privacy.stand_ins import stand_in

from ..support.admin_panel import make_rows, save
from ..support.factories import make_agent, make_session
from ..support.pages import text
from ..support.trail import read

pytestmark = pytest.mark.django_db


def everything() -> str:
    """All rows of the audit log in our database, as text."""
    rows = [*Entry.objects.values(), *Text.objects.values()]
    return json.dumps(rows, default=str, ensure_ascii=False)


def readable() -> set[str]:
    return set(Text.objects.values_list("value", flat=True))


def search(client, **parameters):
    assert client.get("/conversations/", {"go": "0", **parameters}).status_code == 200


def erase(client, session):
    words = {"confirmation": f"erase {str(session.id)[:8]}"}
    response = client.post(f"/conversations/{session.id}/erase/", words)
    assert response.status_code == 302


def older(days: int):
    Text.objects.update(at=timezone.now() - timedelta(days=days))


# Fingerprints


def test_a_fingerprint_needs_the_key_and_is_the_same_after_secret_key_has_changed(settings):
    before = texts.fingerprint("jane")
    assert texts.FINGERPRINT.fullmatch(before)
    settings.SECRET_KEY = "another" * 10
    assert texts.fingerprint("jane") == before
    settings.AUDIT_KEY = "another" * 10
    assert texts.fingerprint("jane") != before


@given(st.text(max_size=50))
def test_no_mask_touches_a_fingerprint(typed):
    found = texts.fingerprint(typed)
    assert mask(found) == found
    assert mask_json(json.dumps({"phone": found})) == json.dumps({"phone": found})


def test_the_panel_shows_the_texts_with_one_query(admin_client, django_assert_max_num_queries):
    make_session(external_id="jane-7")
    search(admin_client, search="refund & more", external_id="jane", problem="failed")
    [entry] = Entry.objects.filter(act=Act.SEARCHED)
    assert "refund" not in str(entry.details)
    for page in ("/admin/audit/entry/", f"/admin/audit/entry/{entry.pk}/change/"):
        said = text(admin_client.get(page))
        assert "search=“refund &amp; more”" in said
        assert "external_id=“jane”" in said
        assert "problem=failed" in said
    Text.objects.all().delete()
    said = text(admin_client.get("/admin/audit/entry/"))
    assert f"search=(no longer kept, {texts.fingerprint('refund & more')[:9]})" in said
    for word in ("one", "two", "three"):
        search(admin_client, search=word)
    with django_assert_max_num_queries(12) as queries:
        admin_client.get("/admin/audit/entry/")
    assert len([each for each in queries if '"audit_text"' in each["sql"]]) == 1


def test_hostile_texts_stay_texts(admin_client):
    search(admin_client, search="<b>~%s\u202e")
    said = text(admin_client.get("/admin/audit/entry/"))
    assert "&lt;b&gt;" in said
    assert "<b>~" not in said


def test_typing_a_fingerprint_hides_nothing(admin_client):
    typed = texts.fingerprint("jane")
    search(admin_client, search=typed)
    assert typed not in str(Entry.objects.get(act=Act.SEARCHED).details)
    assert typed in readable()


# After an erasure


def test_an_erased_external_id_is_nowhere_in_the_log(admin_client):
    session = make_session(make_agent(), external_id="jane.doe-7")
    save(admin_client, "session", session.id, external_id="Jane.Doe-8")
    for typed in ("J", "jane", "jane.doe-8", "“Jane.Doe-8”", "(JANE.DOE", "jane.doe-7"):
        search(admin_client, search=typed)
        search(admin_client, external_id=typed)
    search(admin_client, search="refund")
    assert {"jane.doe-7", "Jane.Doe-8", "refund", "(JANE.DOE"} <= readable()
    erase(admin_client, session)
    assert readable() == {"refund"}
    assert "jane" not in everything().lower()
    assert texts.fingerprint("jane.doe-7") in everything()


@pytest.mark.parametrize(
    ("external_id", "typed"),
    [
        ("jane-7", "*jane-7*"),
        ("jane-7", "#JANE"),
        ("jane-7", "jane-7!"),
        ("jane-7", "…jane-7?"),
        ("jane-7", "\ufeffjane-7\u200b"),
        ("jane-7", "ja\u00adne-7"),
        ("jane-7", "external_id=jane-7"),
        ("jane-7", "Session-ID: 'Jane'"),
        ("jane-7", "ｊａｎｅ-７"),
        ("jane-7", "jane-\u0667"),
        ("jane  of 7", "jane\u00a0of"),
        ("Jürgen", "Ju\u0308rg"),
        ("Weiß", "WEISS"),
        ("ΟΔΟΣ", "οδος"),
        ("Iris", "ır\u0131"),
        ("id:77", "id"),
        ("id:77", "id:7"),
        ("#42", "42"),
        ("***", "**"),
    ],
)
def test_an_erased_id_is_forgotten_however_it_was_typed(admin_client, external_id, typed):
    session = make_session(make_agent(), external_id=external_id)
    search(admin_client, search=typed + typed[-1:] * (len(typed) < 2))
    search(admin_client, external_id=typed)
    search(admin_client, search="something else")
    assert typed in readable()
    erase(admin_client, session)
    assert readable() == {"something else"}


def test_an_external_id_stays_readable_while_another_conversation_has_it(admin_client):
    one, other = (make_session(make_agent(), external_id="jane-7") for _ in range(2))
    search(admin_client, external_id="jane")
    erase(admin_client, one)
    assert readable() == {"jane", "jane-7"}
    erase(admin_client, other)
    assert readable() == set()


def test_purging_forgets_external_ids_too(admin_client):
    make_session(make_agent(), external_id="jane-7")
    search(admin_client, external_id="jane-7")
    call_command("purge", "--before", str(timezone.now()), stdout=StringIO())
    assert readable() == set()


def test_erasing_all_of_an_external_id_forgets_it(admin_client):
    for _ in range(2):
        make_session(make_agent(), external_id="jane-7")
    search(admin_client, external_id="jane-7")
    words = {"confirmation": "erase 2 conversations"}
    response = admin_client.post("/conversations/erase/?external_id=jane-7", words)
    assert response.status_code == 302
    assert readable() == set()
    assert "jane" not in everything()


def test_an_erasure_that_fails_forgets_nothing(admin_client, monkeypatch):
    session = make_session(make_agent(), external_id="jane-7")
    search(admin_client, external_id="jane")

    def failing(ids):
        raise RuntimeError

    monkeypatch.setattr("conversations.changes.views.erasure.erase", failing)
    with pytest.raises(RuntimeError):
        erase(admin_client, session)
    assert "jane" in readable()


def test_ids_of_conversations_deleted_elsewhere_are_forgotten_within_the_hour(admin_client):
    rows = make_rows()
    save(admin_client, "session", rows.session.id, external_id="jane-7")
    search(admin_client, search="jane")
    assert jobs._jobs[forgetting.forget_old] == 3600
    forgetting.forget_old()
    # No conversation has the old external id any more.
    assert readable() == {"jane-7", "jane"}
    Session.objects.using("agents_write").all().update(external_id=None)
    call_command("audit_forget", stdout=StringIO())
    assert readable() == set()


def test_other_searched_texts_are_kept_for_a_number_of_days(admin_client, settings):
    settings.AUDIT_TEXT_DAYS = 30
    make_session(external_id="jane-7")
    search(admin_client, search="refund")
    search(admin_client, external_id="jane-7")
    older(29)
    forgetting.forget_old()
    assert readable() == {"refund", "jane-7"}
    older(31)
    search(admin_client, search="new")
    forgetting.forget_old()
    assert readable() == {"jane-7", "new"}
    assert texts.fingerprint("refund") in everything()


def test_a_text_that_is_used_again_is_kept_longer(admin_client):
    search(admin_client, search="refund")
    older(89)
    search(admin_client, search="refund")
    older_than_a_day = timezone.now() - timedelta(days=1)
    assert not Text.objects.filter(at__lt=older_than_a_day).exists()


def test_masked_texts_are_stored_masked_and_deleted_with_their_id(viewer_client, settings):
    settings.MASK_PERSONAL_DATA = True
    session = make_session(make_agent(), external_id="jane@example.com")
    search(viewer_client, external_id="jane@example.com")
    search(viewer_client, error="e-mail")
    assert readable() == {stand_in("e-mail", "jane@example.com"), "e-mail"}
    forgetting.forget_old()
    assert readable() == {stand_in("e-mail", "jane@example.com"), "e-mail"}
    assert "jane" not in everything()
    session_ids = [session.id]
    with forgetting.forgetting(session_ids):
        Session.objects.using("agents_write").filter(pk__in=session_ids).delete()
    assert readable() == {"e-mail"}


def test_a_limited_user_cannot_forget_an_id_that_others_still_see(admin_client):
    """Whether an id is still used is checked for all agents."""
    from conversations.access import agent_limits

    make_session(make_agent(), external_id="jane-7")
    request = admin_client.get("/accounts/").wsgi_request
    request.user.__dict__["agent_limit"] = frozenset({make_agent().id})
    with agent_limits.reading_for(request):
        assert forgetting.existing({"jane-7"}) == {"jane-7"}


# Entries from before there were fingerprints


@pytest.fixture
def old():
    """Entries as the previous release wrote them."""
    at = timezone.now() - timedelta(days=40)
    made = [
        (Act.SEARCHED, {"query": "search=jane+doe&problem=failed", "fingerprint": "f" * 32}),
        (Act.SEARCHED, {"query": "external_id=jane-7", "shown": 1}),
        (Act.SEARCHED, {"query": "q=jane-7", "table": "sessions", "shown": 1}),
        (Act.EXPORTED, {"query": "external_id=jane-7", "file": "tasks.csv"}),
        (Act.EXPORTED, {"export": 1, "rows": 3, "complete": True}),
        (
            Act.EDITED,
            {
                "table": "sessions",
                "before": {"external_id": None, "agent": "a"},
                "after": {"external_id": "jane-7", "agent": "b"},
            },
        ),
        (Act.EDITED, {"table": "accounts_user", "before": None, "after": {"name": "jane"}}),
        (Act.VIEWED, {"page": "detail"}),
    ]
    return [Entry.objects.create(act=act, at=at, details=details) for act, details in made]


def migrate():
    migration = import_module("audit.migrations.0008_fingerprints")
    migration.convert(apps, connection.schema_editor())


@pytest.mark.parametrize("batch", [1, 500])
def test_a_migration_gives_old_entries_fingerprints(old, monkeypatch, batch):
    monkeypatch.setattr("audit.old_texts.BATCH", batch)
    before = list(Entry.objects.order_by("pk").values())
    migrate()
    after = list(Entry.objects.order_by("pk").values())
    assert [read(each["details"]) for each in after] == [
        {**each["details"], "query": each["details"]["query"].replace("+", " ")}
        if "query" in each["details"]
        else each["details"]
        for each in before
    ]
    for one, other in zip(before, after, strict=True):
        assert {**one, "details": None} == {**other, "details": None}
    kept = [each["details"] for each in after]
    assert "jane-7" not in str(kept)
    assert "jane+doe" not in str(kept)
    assert kept[5]["after"] == {"external_id": texts.fingerprint("jane-7"), "agent": "b"}
    # Ids from edits are known to be external ids. For searched texts, the days count from the
    # search.
    assert Text.objects.get(value="jane-7").is_external_id
    assert Text.objects.get(value="jane doe").at == old[0].at
    migrate()
    assert list(Entry.objects.order_by("pk").values()) == after


def test_entries_of_the_previous_release_get_fingerprints_before_the_first_seal(old):
    assert sealing.seal(wait=True) is None
    assert "jane-7" not in str(list(Entry.objects.values_list("details", flat=True)))


def test_the_trigger_only_allows_this_before_the_first_seal(old):
    def change(column="details = '{}'"):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL desk.audit_fingerprints = 'on'")
            cursor.execute(f"UPDATE audit_entry SET {column}")

    for column in ("username = 'nobody'", "details = '{}', at = now()"):
        with pytest.raises(DatabaseError, match="append-only"):
            change(column)
    sealing.checkpoint([0])
    assert Seal.objects.exists()
    migrate()
    with pytest.raises(DatabaseError, match="append-only"):
        change()
    assert record(None, Act.VIEWED)
