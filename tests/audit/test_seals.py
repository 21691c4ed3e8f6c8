"""audit_verify notices if somebody removes, changes or backdates a sealed entry."""

import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, connections, transaction
from django.utils import timezone

from audit import sealing
from audit.models import Act, Entry, Seal
from audit.recording import record
from backoffice import jobs

pytestmark = pytest.mark.django_db(transaction=True)


def sql(statement: str, params=None):
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall() if cursor.description else None


def made(number: int) -> list[int]:
    return [record(None, Act.VIEWED, page="detail", place=place).pk for place in range(number)]


# The oldest open transaction in this database. The real expression also counts the transactions of
# other tests.
OLDEST = "pg_snapshot_xmin(pg_current_snapshot())::xid"
OLDEST_HERE = """
    coalesce(
        (SELECT backend_xid FROM pg_stat_activity WHERE datname = current_database()
         AND backend_xid IS NOT NULL ORDER BY age(backend_xid) DESC LIMIT 1),
        pg_snapshot_xmax(pg_current_snapshot())::xid
    )
"""


@pytest.fixture(autouse=True)
def _by_itself(monkeypatch):
    assert OLDEST in sealing.UNSEALED
    monkeypatch.setattr(sealing, "UNSEALED", sealing.UNSEALED.replace(OLDEST, OLDEST_HERE))


def seal() -> str:
    out = StringIO()
    call_command("audit_seal", stdout=out)
    return out.getvalue()


def verify(*arguments) -> list[str]:
    """The lines that audit_verify prints. If it fails, the last one is its error."""
    out = StringIO()
    try:
        call_command("audit_verify", *arguments, stdout=out)
    except CommandError as error:
        out.write(f"{error}\n")
    return out.getvalue().splitlines()


def is_intact() -> bool:
    return not any("has changed since it was sealed" in line for line in verify())


@contextmanager
def as_owner():
    """Do what an owner of the tables can do: switch off the triggers."""
    with transaction.atomic():
        sql("ALTER TABLE audit_entry DISABLE TRIGGER USER")
        sql("ALTER TABLE audit_seal DISABLE TRIGGER USER")
        yield
        sql("ALTER TABLE audit_entry ENABLE TRIGGER USER")
        sql("ALTER TABLE audit_seal ENABLE TRIGGER USER")


@contextmanager
def another_connection():
    """Another connection, with a transaction that stays open until the end of the block."""
    connection.ensure_connection()
    info = connection.connection.info
    with psycopg.connect(info.dsn, password=info.password) as other:
        yield other


INSERT = """
    INSERT INTO audit_entry (id, act, username, request_id, details)
    VALUES (%s, 'viewed', '', '', '{}')
"""


def test_a_sealed_log_that_nobody_touched_is_intact():
    assert seal() == "There is nothing to seal.\n"
    made(3)
    assert seal().startswith("Sealed 3 entries. Newest seal: 1:")
    made(2)
    assert seal().startswith("Sealed 2 entries. Newest seal: 2:")
    said = verify()
    assert said[0] == "5 entries in 2 seals, 0 pruned since."
    assert said[1].startswith("Newest seal: 2:")
    assert len(said) == 2


def test_a_long_log_is_sealed_in_batches(monkeypatch):
    monkeypatch.setattr(sealing, "BATCH", 2)
    made(5)
    assert seal().startswith("Sealed 5 entries.")
    assert list(Seal.objects.order_by("pk").values_list("count", flat=True)) == [2, 2, 1]
    assert is_intact()


CHANGES = {
    "at": "at + interval '1 microsecond'",
    "act": "'searched'",
    "user_id": "7",
    "username": "'nobody'",
    "role": "'Viewer'",
    "reason": "'none'",
    "address": "'192.0.2.7'",
    "request_id": "'x'",
    "session_id": "gen_random_uuid()",
    "details": 'details || \'{"page": "list"}\'',
    "id": "id + 1000",
}


@pytest.mark.parametrize("column", CHANGES)
def test_a_change_to_any_column_is_found(column):
    _, changed, _ = made(3)
    seal()
    with as_owner():
        sql(f"UPDATE audit_entry SET {column} = {CHANGES[column]} WHERE id = %s", [changed])
    said = verify()
    what = "removed" if column == "id" else "changed"
    assert said[0].startswith(f"Entry {changed} was {what} since ")
    assert said[0].endswith(", when seal 1 was made.")
    assert said[-1] == "The audit log has changed since it was sealed: 1 problem."


def test_every_column_is_sealed():
    assert CHANGES.keys() == {field.column for field in Entry._meta.fields}


def test_removed_entries_are_named():
    ids = made(9)
    seal()
    with as_owner():
        sql("DELETE FROM audit_entry WHERE id = ANY(%s)", [[ids[1], *ids[4:7]]])
    expected = f"Entries {ids[1]} and {ids[4]} to {ids[6]} were removed since "
    assert verify()[0].startswith(expected)


@pytest.mark.parametrize(
    "statements",
    [
        ["SET desk.audit_prune = 'on'", "DELETE FROM audit_entry"],
        ["TRUNCATE audit_entry"],
        ["TRUNCATE audit_seal"],
        ["TRUNCATE audit_entry, audit_seal"],
        ["DELETE FROM audit_seal"],
        ["UPDATE audit_seal SET count = 0"],
        # A temporary table must not be mistaken for the table of seals.
        [
            "CREATE TEMPORARY TABLE audit_seal AS SELECT 1 AS id, 'pruned' AS kind,"
            " '{[0,99999)}'::int8multirange AS entries",
            "DELETE FROM audit_entry",
        ],
    ],
)
def test_the_sites_own_role_can_delete_nothing(statements):
    made(2)
    seal()
    *before, last = statements
    for statement in before:
        sql(statement)
    with pytest.raises(DatabaseError, match="append-only"):
        sql(last)
    sql("RESET desk.audit_prune")
    sql("DROP TABLE IF EXISTS pg_temp.audit_seal")
    assert Entry.objects.count() == 2
    assert is_intact()


def test_a_forged_checkpoint_is_found():
    ids = made(2)
    seal()
    sql(
        "INSERT INTO audit_seal (id, at, kind, entries, count, last, missing, digests, form, key,"
        " previous, hash) SELECT 2, now(), 'pruned', '{[0,99999)}', 2, last, '{}', '', 1, key,"
        " hash, repeat('0', 64) FROM audit_seal"
    )
    sql("DELETE FROM audit_entry")
    said = "\n".join(verify())
    assert f"Entries {ids[0]} to {ids[1]} were removed since" in said
    assert "was changed or forged" in said


@pytest.mark.parametrize("number", [0, -1, -(2**63)])
def test_a_checkpoint_with_a_number_before_all_others_is_found(number):
    """It would let somebody delete entries that are not sealed yet."""
    made(1)
    seal()
    made(1)
    forged("kind", "'pruned'", number, entries="'{[0,99999)}'")
    sql("DELETE FROM audit_entry WHERE id = (SELECT max(id) FROM audit_entry)")
    assert f"Seal {number} was forged: the first seal has number 1." in verify()


def forged(column, value, number=2, **others):
    """A seal like the first one, with some columns changed."""
    changed = {"id": str(number), column: value, **others}
    columns = [field.column for field in Seal._meta.fields]
    values = ", ".join(changed.get(each, each) for each in columns)
    sql(f"INSERT INTO audit_seal ({', '.join(columns)}) SELECT {values} FROM audit_seal")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("entries", "'{[1,9223372036854775807)}'"),
        ("entries", "'{(,)}'"),
        ("missing", "'{(,)}'"),
        ("last", "9223372036854775807"),
        ("at", "'infinity'"),
        ("at", "'-infinity'"),
        ("digests", "''"),
        ("form", "9"),
    ],
)
def test_a_forged_seal_does_not_stop_the_check(column, value):
    made(2)
    seal()
    forged(column, value)
    made(1)
    said = verify()
    assert any(line.startswith("Seal 2 of ") for line in said)
    assert said[-1].startswith("The audit log has changed since it was sealed")


@pytest.mark.parametrize("at", ["infinity", "-infinity", "0044-03-15 BC", "294276-12-31"])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12"])
def test_an_impossible_time_hides_nothing(admin_client, at, zone):
    ids = made(1)
    seal()
    sql(
        "INSERT INTO audit_entry (act, username, request_id, details, at)"
        " VALUES ('viewed', 'a stranger', '', '{}', %s)",
        [at],
    )
    said = "\n".join(verify())
    assert ("was backdated" in said) == (at in ("-infinity", "0044-03-15 BC"))
    seal()
    with as_owner():
        sql("DELETE FROM audit_entry WHERE id = %s", [ids[0]])
    assert f"Entry {ids[0]} was removed" in "\n".join(verify())
    admin_client.cookies["timezone"] = zone
    page = admin_client.get("/admin/audit/entry/")
    assert page.status_code == 200
    assert "a stranger" in page.content.decode()


def test_pruned_entries_are_not_reported_as_removed(monkeypatch):
    year_ago = timezone.now() - timedelta(days=365)
    old = [Entry.objects.create(act=Act.VIEWED, at=year_ago).pk for _ in range(3)]
    kept = made(2)
    seal()
    call_command("audit_prune", days="90", stdout=StringIO())
    assert set(Entry.objects.values_list("pk", flat=True)) >= set(kept)
    assert not Entry.objects.filter(pk__in=old).exists()
    assert verify()[0] == "5 entries in 2 seals, 3 pruned since."
    seal()
    with as_owner():
        sql("DELETE FROM audit_entry WHERE id = %s", [kept[0]])
    assert verify()[0].startswith(f"Entry {kept[0]} was removed")


def test_an_entry_added_among_older_ones_is_found():
    _, second, _ = made(3)
    with as_owner():
        sql("DELETE FROM audit_entry WHERE id = %s", [second])
    seal()
    # Seals remember missing ids for a day.
    with as_owner():
        sql("UPDATE audit_seal SET at = at - interval '2 days'")
    made(1)
    seal()
    Entry.objects.create(pk=second, act=Act.VIEWED)
    seal()
    assert any(f"Entry {second} was added later" in line for line in verify())


@pytest.mark.parametrize("sealed", [True, False])
def test_a_backdated_entry_is_found(sealed):
    made(1)
    seal()
    entry = Entry.objects.create(act=Act.VIEWED, at=timezone.now() - timedelta(hours=1))
    if sealed:
        seal()
    assert verify()[0].startswith(f"Entry {entry.pk} was backdated")


def test_changed_and_removed_seals_are_found():
    for _ in range(3):
        made(1)
        seal()
    with as_owner():
        sql("UPDATE audit_seal SET at = at - interval '1 day' WHERE id = 3")
        sql("DELETE FROM audit_seal WHERE id = 2")
    said = "\n".join(verify())
    assert "Seals 2 to 2 were removed." in said
    assert "Seal 3 of " in said


def test_a_noted_seal_shows_that_the_chain_was_cut_short():
    made(1)
    seal()
    gone = made(1)
    noted = seal().split()[-1]
    with as_owner():
        sql("DELETE FROM audit_seal WHERE id = 2")
        sql("DELETE FROM audit_entry WHERE id = ANY(%s)", [gone])
    assert is_intact()
    assert verify("--noted", noted)[0] == "Seal 2 was noted, but has been removed."
    made(1)
    seal()
    assert verify("--noted", noted)[0] == "Seal 2 differs from the one that was noted."
    with pytest.raises(CommandError, match="must be like"):
        call_command("audit_verify", "--noted", "2")


def test_forging_a_whole_new_chain_needs_the_key(settings):
    made(2)
    seal()
    with as_owner():
        sql("DELETE FROM audit_seal")
        sql("UPDATE audit_entry SET username = 'nobody'")
    key, settings.AUDIT_KEY = settings.AUDIT_KEY, "another" * 10
    seal()
    settings.AUDIT_KEY = key
    assert verify()[0].startswith("Seal 1 cannot be checked: its key is not AUDIT_KEY,")


def test_seals_of_secret_key_stay_valid_when_there_is_an_audit_key(settings):
    key, settings.AUDIT_KEY = settings.AUDIT_KEY, ""
    made(1)
    seal()
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "n3w-" * 20
    made(1)
    seal()
    settings.AUDIT_KEY = key
    made(1)
    seal()
    assert is_intact()
    assert len(set(Seal.objects.values_list("key", flat=True))) == 3


# When entries are sealed


def test_an_entry_committed_late_is_in_a_later_seal():
    with another_connection() as other:
        # Takes the lower id first, but inserts its row last. The commit is needed because nextval()
        # gives its transaction a number from time to time, and an open one would delay the seal.
        [(taken,)] = other.execute("SELECT nextval('audit_entry_id_seq')").fetchall()
        other.commit()
        [higher] = made(1)
        seal()
        other.execute(INSERT, [taken])
        other.commit()
    assert taken < higher
    made(1)
    seal()
    covered = "SELECT id FROM audit_seal WHERE entries @> %s::bigint"
    assert sql(covered, [higher]) == [(1,)]
    assert sql(covered, [taken]) == [(2,)]
    assert is_intact()


def test_only_entries_older_than_every_open_transaction_are_sealed():
    before = made(1)
    with another_connection() as other:
        other.execute("SELECT pg_current_xact_id()")
        after = made(2)
        assert seal().startswith("Sealed 1 entries.")
        assert seal() == "There is nothing to seal.\n"
        other.commit()
    assert seal().startswith("Sealed 2 entries.")
    assert sql("SELECT entries::text FROM audit_seal ORDER BY id") == [
        (f"{{[{before[0]},{before[0] + 1})}}",),
        (f"{{[{after[0]},{after[1] + 1})}}",),
    ]
    assert is_intact()


def test_rolled_back_ids_do_not_matter():
    made(1)
    with transaction.atomic():
        made(3)
        transaction.set_rollback(True)
    made(1)
    seal()
    made(1)
    seal()
    assert is_intact()


def test_frozen_entries_are_sealed():
    made(2)
    sql("VACUUM (FREEZE) audit_entry")
    assert seal().startswith("Sealed 2 entries.")


def test_a_search_is_sealed_once_nobody_can_extend_it():
    made(1)
    search = record(None, Act.SEARCHED, query="search=ref")
    old = Entry.objects.create(act=Act.SEARCHED, at=timezone.now() - timedelta(seconds=11))
    assert seal().startswith("Sealed 2 entries.")
    Entry.objects.filter(pk=search.pk).update(details={"query": "search=refund"})
    with as_owner():
        sql("UPDATE audit_entry SET at = at - interval '11 seconds' WHERE id = %s", [search.pk])
    assert seal().startswith("Sealed 1 entries.")
    assert old.pk > search.pk
    assert is_intact()


def test_a_long_transaction_cannot_extend_a_sealed_search():
    with another_connection() as other:
        other.execute("SELECT now()")
        search = record(None, Act.SEARCHED, query="search=ref")
        with as_owner():
            sql("UPDATE audit_entry SET at = at - interval '1 second'")
        time.sleep(2.2)
        # now() stands still in this transaction, and according to it the search is a second old.
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            other.execute("UPDATE audit_entry SET details = '{}' WHERE id = %s", [search.pk])
        other.rollback()


def test_an_entry_that_is_being_changed_is_not_sealed():
    search = record(None, Act.SEARCHED, query="search=ref")
    with another_connection() as other:
        other.execute("UPDATE audit_entry SET details = '{}' WHERE id = %s", [search.pk])
        with pytest.MonkeyPatch.context() as patch:
            ready = sealing.UNSEALED.replace("10 seconds", "0 seconds")
            patch.setattr(sealing, "UNSEALED", ready)
            assert seal() == "There is nothing to seal.\n"
            other.commit()
            assert seal().startswith("Sealed 1 entries.")
    assert is_intact()


def test_no_request_waits_for_a_seal_and_no_seal_for_another():
    made(1)
    with another_connection() as other:
        other.execute(sealing.LOCK)
        assert sealing.seal(wait=False) is None
        # Adding an entry does not need the lock of sealing.
        made(1)
    assert sealing.seal(wait=False).count == 2


def test_several_processes_build_one_chain():
    made(20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "BATCH", 3)

        def work():
            try:
                while sealing.seal(wait=True):
                    pass
            finally:
                connections.close_all()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert Seal.objects.count() == 7
    assert is_intact()


def test_a_restored_log_is_intact_and_can_be_continued():
    """Another database server numbers its transactions differently."""
    made(3)
    seal()
    with as_owner():
        sql("CREATE TEMPORARY TABLE kept AS SELECT * FROM audit_entry")
        sql("DELETE FROM audit_entry")
        sql("INSERT INTO audit_entry SELECT * FROM kept")
    sql("DROP TABLE kept")
    made(1)
    assert seal().startswith("Sealed 1 entries.")
    assert is_intact()


# In the background


def test_the_site_seals_once_a_minute(monkeypatch):
    assert jobs._jobs[sealing.seal_if_due] == 60
    made(1)
    sealing.seal_if_due()
    made(1)
    sealing.seal_if_due()
    assert Seal.objects.count() == 1
    monkeypatch.setattr(sealing, "EVERY_SECONDS", 0)
    sealing.seal_if_due()
    assert Seal.objects.count() == 2


def test_neither_tests_nor_commands_have_the_thread():
    assert jobs._threads == []
