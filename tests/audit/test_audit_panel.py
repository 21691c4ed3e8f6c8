"""The audit log in the admin panel, and pruning it."""

import uuid
from datetime import UTC, datetime, timedelta
from io import StringIO
from urllib.parse import quote

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.management.commands import audit_prune
from audit.models import Act, Entry
from backoffice.admin import CappedPaginator

from ..support.pages import text
from ..support.signing_in import let_in

pytestmark = pytest.mark.django_db

LIST = "/admin/audit/entry/"


def add_entry(**values):
    """Add an entry, in the past if `at` is given."""
    return Entry.objects.create(**{"act": Act.VIEWED, **values})


def only(act):
    return Entry.objects.get(act=act)


@pytest.fixture
def entry():
    return add_entry(session_id=uuid.uuid4())


# Reading it


def found(client, **parameters) -> list:
    response = client.get(LIST, parameters)
    assert response.status_code == 200
    return [entry.pk for entry in response.context["cl"].result_list]


def test_entries_are_listed_newest_first(admin_client):
    old, new = add_entry(at=timezone.now() - timedelta(days=1)), add_entry()
    listed = found(admin_client)
    assert listed.index(new.pk) < listed.index(old.pk)
    assert listed[-1] == old.pk


def test_an_entry_can_be_read_and_leads_to_its_conversation(admin_client):
    session_id = uuid.uuid4()
    entry = add_entry(
        username="carol",
        user_id=77,
        address="192.0.2.7",
        request_id="f" * 32,
        session_id=session_id,
        details={"before": {"role": "user"}, "page": "<b>ö</b>"},
    )
    for url in (LIST, f"{LIST}{entry.pk}/change/"):
        response = admin_client.get(url)
        said = text(response)
        for value in ("carol", "192.0.2.7", str(session_id), "viewed", "&lt;b&gt;ö&lt;/b&gt;"):
            assert value in said
        assert f'href="/conversations/{session_id}/"'.encode() in response.content
        assert b"<b>\xc3\xb6" not in response.content
    assert "before : {&quot;role&quot;: &quot;user&quot;}" in said
    assert "f" * 32 in said
    assert "77" in said
    assert 'name="_save"' not in response.content.decode()


def test_an_entry_without_user_or_conversation_can_be_read(admin_client):
    entry = add_entry()
    assert admin_client.get(f"{LIST}{entry.pk}/change/").status_code == 200


@pytest.mark.parametrize("details", [[], ["a"], "text", 7, True])
def test_details_of_any_shape_hide_no_other_entry(admin_client, details):
    odd, other = add_entry(details=details, reason="why"), add_entry(username="somebody")
    assert "somebody" in text(admin_client.get(LIST))
    for entry in (odd, other):
        assert admin_client.get(f"{LIST}{entry.pk}/change/").status_code == 200


def test_entries_are_filtered_by_act(admin_client):
    add_entry()
    wanted = add_entry(act=Act.ERASED)
    assert found(admin_client, act__exact="erased") == [wanted.pk]
    assert found(admin_client, act__exact="nonsense") == []


def test_entries_are_filtered_by_date(admin_client):
    old = add_entry(at=timezone.now() - timedelta(days=40))
    admin_client.get(LIST)
    page = admin_client.get(LIST)
    at = next(spec for spec in page.context["cl"].filter_specs if spec.title == "time")
    week = dict(at.links)["Past 7 days"]
    assert week.keys() == {"at__gte", "at__lt"}
    listed = found(admin_client, **week)
    assert listed
    assert old.pk not in listed


def test_entries_are_searched(admin_client):
    conversation, request_id = uuid.uuid4(), uuid.uuid4().hex
    values = {
        "carol": {"username": "carol"},
        str(conversation): {"session_id": conversation},
        request_id: {"request_id": request_id},
        "192.0.2.7": {"address": "192.0.2.7"},
        "2001:DB8:0::1": {"address": "2001:db8::1"},
        "2020-02-29": {"at": datetime(2020, 2, 29, 12, tzinfo=UTC)},
        "failed-one": {"act": Act.SIGN_IN_FAILED, "details": {"account": "failed-one"}},
    }
    made = {term: add_entry(**fields).pk for term, fields in values.items()}
    for term, pk in made.items():
        assert found(admin_client, q=f" {term} ") == [pk], term
    assert found(admin_client, q=conversation.hex) == [made[str(conversation)]]
    assert found(admin_client, q="caro") == [made["carol"]]
    for nothing in ("nobody", str(uuid.uuid4()), "192.0.2.8", "2020-02-28", "2020-02-31"):
        assert found(admin_client, q=nothing) == []


@pytest.mark.thorough
@pytest.mark.parametrize(
    "query",
    [
        "q=%00",
        "q=%ED%A0%80",
        "q=" + "x" * 10_000,
        "q=9999-12-31",
        "q=0001-01-01",
        "q=fe80::1%25eth0",
        "q=1.2.3.4/8",
        "q=" + quote("‮"),
        "p=x",
        "p=999",
        "o=1",
        "all=",
        "at__gte=0001-01-01+00:00:00Z&at__lt=9999-12-31+00:00:00Z",
        "e=1",
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_an_odd_address_breaks_nothing(admin_client, query, zone):
    admin_client.cookies["timezone"] = zone
    assert admin_client.get(f"{LIST}?{query}").status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "details__page=x",
        "username__regex=x",
        "act__exact=%00",
        "id__exact=1",
        "act__in=x",
        "at__gte=x",
        "e=1&at__lt=x",
    ],
)
def test_unknown_filters_and_bad_values_are_refused(admin_client, query):
    assert admin_client.get(f"{LIST}?{query}").status_code == 400


@pytest.mark.parametrize("pk", ["x", "%00", "99999999999999999999999", "0"])
def test_an_entry_that_is_not_there_is_a_404_page(admin_client, pk):
    assert admin_client.get(f"{LIST}{pk}/change/").status_code == 404


def test_the_log_is_never_fully_counted_nor_needs_more_queries_for_more_rows(
    admin_client, monkeypatch
):
    admin_client.get(LIST)
    with CaptureQueriesContext(connection) as few:
        admin_client.get(LIST)
    for number in range(60):
        add_entry(username=f"u{number}", session_id=uuid.uuid4())
    with CaptureQueriesContext(connection) as many:
        admin_client.get(LIST, {"_facets": "True"})
    assert len(few) == len(many)
    for query in many:
        if "COUNT(" in query["sql"]:
            assert f"LIMIT {CappedPaginator.most})" in query["sql"]


def test_each_search_and_filter_has_an_index(admin_client):
    """With a log long enough for the query planner to use indexes."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_entry (at, act, username, address, request_id, session_id, details)"
            " SELECT now() - n * interval '1 minute',"
            "  CASE n %% 1000 WHEN 0 THEN 'erased' WHEN 1 THEN 'sign_in_failed' ELSE 'viewed' END,"
            "  CASE n %% 1000 WHEN 1 THEN '' ELSE 'u' || n %% 2000 END,"
            "  ('10.0.' || n %% 250 || '.' || n / 250 %% 250)::inet, md5(n::text),"
            "  md5(n::text)::uuid, jsonb_build_object('account', 'a' || n)"
            " FROM generate_series(1, 20000) n",
            [],
        )
        cursor.execute("ANALYZE audit_entry")
    indexes = {
        "q=u77": "audit_entry_username",
        "q=a5001": "audit_entry_of_failed_account",
        "q=10.0.9.9": "audit_entry_from_address",
        f"q={uuid.UUID(int=1)}": "audit_entry_of_conversation",
        "q=c4ca4238a0b923820dcc509a6f75849b": "audit_entry_of_conversation",
        "q=2020-02-29": "audit_entry_at",
        "act__exact=erased": "audit_entry_of_act",
        "": "audit_entry_at",
    }
    for query, index in indexes.items():
        plans = []

        def explain(execute, sql, params, many, context, plans=plans):
            if "audit_entry" in sql and sql.startswith("SELECT"):
                with connection.connection.cursor() as raw:
                    raw.execute(f"EXPLAIN {sql}", params)
                    plans.append("\n".join(line for (line,) in raw.fetchall()))
            return execute(sql, params, many, context)

        with connection.execute_wrapper(explain):
            assert admin_client.get(f"{LIST}?{query}").status_code == 200
        assert any(index in plan for plan in plans), (query, plans)
        for plan in plans:
            # A capped count may scan the table: it stops after a thousand rows.
            assert "Seq Scan" not in plan or (not query and "Aggregate" in plan), (query, plan)


def test_nobody_can_change_the_log_through_the_site(admin_client, entry):
    for path, form in [
        (f"{LIST}add/", {"act": "viewed"}),
        (f"{LIST}{entry.pk}/change/", {"act": "erased", "username": "x"}),
        (f"{LIST}{entry.pk}/delete/", {"post": "yes"}),
    ]:
        assert admin_client.post(path, form).status_code == 403
    action = {"action": "delete_selected", "_selected_action": [str(entry.pk)], "post": "yes"}
    before = Entry.objects.count()
    admin_client.post(LIST, action)
    assert Entry.objects.count() == before
    assert Entry.objects.get(pk=entry.pk).act == Act.VIEWED


def test_reading_the_log_needs_its_own_permission(client, django_user_model, entry):
    user = django_user_model.objects.create_user("clerk")
    let_in(client, user)
    pages = (LIST, f"{LIST}{entry.pk}/change/", f"{LIST}{entry.pk}/history/")
    for rights in (["use_admin"], ["view_entry"], ["use_admin", "view_user", "view_session"]):
        user.user_permissions.set(Permission.objects.filter(codename__in=rights))
        for page in pages:
            assert client.get(page, follow=True).status_code == 403
    user.user_permissions.set(Permission.objects.filter(codename__in=["use_admin", "view_entry"]))
    for page in pages:
        assert client.get(page).status_code == 200


# Retention


def prune(**options) -> str:
    out = StringIO()
    call_command("audit_prune", stdout=out, **options)
    return out.getvalue()


def days_old(*days) -> list:
    return [add_entry(at=timezone.now() - timedelta(days=each)).pk for each in days]


def left() -> list:
    return list(Entry.objects.exclude(act=Act.PRUNED).order_by("id").values_list("pk", flat=True))


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_old_entries_are_deleted_and_one_says_so(monkeypatch, batch):
    monkeypatch.setattr(audit_prune, "BATCH", batch)
    *_, kept, new = days_old(400, 300, 100, 89, 0)
    said = prune(days="90")
    assert said.startswith("Deleted 3 entries before ")
    assert left() == [kept, new]
    entry = only(Act.PRUNED)
    assert entry.details["entries"] == 3
    bound = datetime.fromisoformat(entry.details["before"])
    assert abs(bound - (timezone.now() - timedelta(days=90))) < timedelta(minutes=1)
    assert (entry.username, entry.reason) == ("system", "manage.py audit_prune")


def test_entries_before_a_day_of_the_sites_time_zone(settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    midnight = datetime(2026, 1, 30, 15, tzinfo=UTC)
    with timezone.override("Asia/Tokyo"):
        _, kept = add_entry(at=midnight - timedelta(seconds=1)), add_entry(at=midnight)
        assert prune(before="2026-01-31") == "Deleted 1 entries before 2026-01-31 00:00 JST.\n"
    assert left() == [kept.pk]


def test_a_dry_run_deletes_nothing(monkeypatch):
    made = days_old(400, 300, 0)
    assert prune(days="90", dry_run=True).startswith("Would delete 2 entries before ")
    assert left() == made
    assert not Entry.objects.filter(act=Act.PRUNED).exists()


def test_pruning_nothing_records_nothing():
    days_old(1)
    assert prune(days="90").startswith("Deleted 0 entries")
    assert not Entry.objects.filter(act=Act.PRUNED).exists()


def test_what_an_interrupted_prune_has_deleted_is_recorded(monkeypatch):
    monkeypatch.setattr(audit_prune, "BATCH", 2)
    made = days_old(400, 390, 380, 370, 360)
    original, calls = audit_prune.record, []

    def interrupted(*args, **details):
        calls.append(details)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args, **details)

    monkeypatch.setattr(audit_prune, "record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prune(days="90")
    assert left() == made[2:]
    assert only(Act.PRUNED).details["entries"] == 2


def test_after_pruning_entries_cannot_be_deleted_again(entry):
    days_old(400)
    prune(days="90")
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        entry.delete()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "Give either --before DATE or --days N."),
        ({"before": "2026-01-01", "days": "3"}, "Give either --before DATE or --days N."),
        ({"before": "yesterday"}, "--before must be a day like 2026-01-31, not 'yesterday'."),
        ({"before": "2026-02-31"}, "--before must be a day like 2026-01-31, not '2026-02-31'."),
        ({"before": ""}, "--before must be a day like 2026-01-31, not ''."),
        ({"before": "9999-12-31"}, "--before must be a day in the past, not '9999-12-31'."),
        ({"days": "0"}, "--days must be a number of days, at least 1, not '0'."),
        ({"days": "-1"}, "--days must be a number of days, at least 1, not '-1'."),
        ({"days": "1.5"}, "--days must be a number of days, at least 1, not '1.5'."),
        ({"days": ""}, "--days must be a number of days, at least 1, not ''."),
        ({"days": "٣"}, "--days must be a number of days, at least 1, not '٣'."),
        ({"days": "9999999"}, "--days must be a number of days, at least 1, not '9999999'."),
        ({"days": "9" * 5000}, f"--days must be a number of days, at least 1, not '{'9' * 5000}'."),
    ],
)
def test_bad_options_print_one_line(options, said):
    made = days_old(400)
    with pytest.raises(CommandError) as caught:
        prune(**options)
    assert str(caught.value) == said
    assert left() == made
