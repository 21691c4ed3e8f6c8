"""
Seals entries, so that audit_verify notices if somebody changes, removes or backdates one later.

A seal holds a keyed digest of each of its entries, and a keyed hash over itself and the previous
seal's hash. Nobody can forge a matching seal without the key. So sealed entries are protected even
from somebody who can write to our tables.

An entry gets its id before it is committed, so an entry with a lower id can appear after one with a
higher id. That is why a seal covers a set of ids instead of a range, and remembers which lower ids
are missing: a late entry goes into a later seal. An entry is sealed once it is older than every
open transaction; a search also has to be old enough that the trigger no longer lets anybody extend
it. No request waits for any of this.
"""

import json
import logging
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from django.db import connections, transaction
from django.utils import timezone

from backoffice import jobs
from backoffice.databases.time_limits import time_limit

from . import old_texts
from .keys import digest, key_name, keys
from .models import Seal
from .sets import as_text

logger = logging.getLogger(__name__)

PURPOSE = "audit.seals"
# A process that adds to the chain holds this lock until its transaction ends.
LOCK = "SELECT pg_advisory_xact_lock(1684370288)"
TRY_LOCK = "SELECT pg_try_advisory_xact_lock(1684370288)"
BATCH = 2_000
EVERY_SECONDS = 60
# A pause between seals, so that sealing a long log for the first time does not slow down requests.
REST_SECONDS = 0.2
STATEMENT_SECONDS = 30
# An entry that appears this long after entries with higher ids was not written by us. It stays
# unsealed.
LATE = timedelta(days=1)
DIGEST_BYTES = 16

# {form of the seal: SQL for a text that differs if anything in the entry differs}. Never change an
# existing form; for a new column, add a new one.
LINES = {
    1: """
        jsonb_build_array(
            id, extract(epoch FROM at), act, user_id, username, role, reason, host(address),
            request_id, session_id, details
        )::text
    """,
}
FORM = 1

# age() puts a frozen row before any transaction. xmax is the transaction that is changing the row.
# The trigger lets a search be extended for three seconds; ten leave a margin.
UNSEALED = """
    SELECT found.id, found.line
    FROM unnest(
        %(missing)s::int8multirange + int8multirange(int8range(%(last)s + 1, NULL))
    ) AS gap
    CROSS JOIN LATERAL (
        SELECT id, {line} AS line
        FROM audit_entry, (SELECT pg_snapshot_xmin(pg_current_snapshot())::xid) AS open (oldest)
        WHERE id >= lower(gap) AND id < coalesce(upper(gap), 9223372036854775807)
        AND age(audit_entry.xmin) > age(oldest)
        AND (audit_entry.xmax = '0'::xid OR age(audit_entry.xmax) > age(oldest))
        AND (
            act <> 'searched'
            OR at NOT BETWEEN clock_timestamp() - interval '10 seconds'
                AND clock_timestamp() + interval '10 seconds'
        )
        ORDER BY id LIMIT {batch}
    ) AS found
    ORDER BY found.id LIMIT {batch}
"""
MISSING = """
    SELECT (
        (
            %(missing)s::int8multirange
            + int8multirange(int8range(%(before)s + 1, greatest(%(before)s, %(last)s) + 1))
            - %(entries)s::int8multirange
        ) * int8multirange(int8range(%(floor)s + 1, NULL))
    )::text
"""
NEWEST = """
    SELECT last, missing::text, id, hash FROM audit_seal ORDER BY id DESC LIMIT 1
"""
FLOOR = "SELECT last FROM audit_seal WHERE at < %s ORDER BY id DESC LIMIT 1"
INSERT = """
    INSERT INTO audit_seal
        (id, at, kind, entries, count, last, missing, digests, form, key, previous, hash)
    VALUES (
        %(id)s, %(at)s, %(kind)s, %(entries)s::int8multirange, %(count)s, %(last)s,
        %(missing)s::int8multirange, %(digests)s, %(form)s, %(key)s, %(previous)s, %(hash)s
    )
"""


@dataclass(frozen=True)
class Link:
    """A seal, with its sets of ids as text."""

    id: int
    at: datetime
    kind: str
    entries: str
    count: int
    last: int
    missing: str
    digests: bytes
    form: int
    key: str
    previous: str
    hash: str = ""

    def hashed(self, key: bytes) -> str:
        values = asdict(self) | {"hash": "", "at": f"{self.at.timestamp():.6f}"}
        values["digests"] = self.digests.hex()
        return digest(key, json.dumps(values, sort_keys=True)).hex()


def seal(*, wait: bool) -> Link | None:
    """
    Seal the next batch of entries in its own transaction. Return None if there are none, or if
    another process is sealing and `wait` is false.
    """
    if not Seal.objects.exists():
        # Entries that processes of the previous release wrote after the migration.
        old_texts.convert()
    with (
        time_limit("default", STATEMENT_SECONDS),
        transaction.atomic(using="default"),
        connections["default"].cursor() as cursor,
    ):
        if not locked(cursor, wait):
            return None
        last, missing, *_ = newest(cursor)
        statement = UNSEALED.format(line=LINES[FORM], batch=BATCH)
        cursor.execute(statement, {"last": last, "missing": missing})
        found = cursor.fetchall()
        if not found:
            return None
        key = keys(PURPOSE)[0]
        digests = b"".join(digest(key, line)[:DIGEST_BYTES] for _, line in found)
        made = add(cursor, Seal.Kind.SEALED, [pk for pk, _ in found], digests)
    logger.info("Sealed %s entries of the audit log as %s:%s", made.count, made.id, made.hash)
    return made


def checkpoint(ids: list[int]) -> Link:
    """
    Note in the chain that these entries are about to be pruned; the trigger lets no others be
    deleted. Needs a transaction on `default`.
    """
    with connections["default"].cursor() as cursor:
        locked(cursor, wait=True)
        return add(cursor, Seal.Kind.PRUNED, sorted(ids), b"")


def locked(cursor, wait: bool) -> bool:
    cursor.execute(LOCK if wait else TRY_LOCK)
    return wait or cursor.fetchone()[0]


def newest(cursor) -> tuple[int, str, int, str]:
    """(highest sealed id, missing ids, number, hash) of the newest seal."""
    cursor.execute(NEWEST)
    return cursor.fetchone() or (0, "{}", 0, "")


def add(cursor, kind: str, ids: list[int], digests: bytes) -> Link:
    before, missing, number, previous = newest(cursor)
    now = timezone.now()
    key = keys(PURPOSE)[0]
    entries = as_text(ids)
    last = max(before, ids[-1]) if kind == Seal.Kind.SEALED else before
    cursor.execute(FLOOR, [now - LATE])
    (floor,) = cursor.fetchone() or (0,)
    values = {"missing": missing, "entries": entries, "before": before, "last": last}
    cursor.execute(MISSING, values | {"floor": floor})
    (missing,) = cursor.fetchone()
    link = Link(
        id=number + 1,
        at=now,
        kind=str(kind),
        entries=entries,
        count=len(ids),
        last=last,
        missing=missing,
        digests=digests,
        form=FORM,
        key=key_name(key),
        previous=previous,
    )
    link = replace(link, hash=link.hashed(key))
    cursor.execute(INSERT, asdict(link))
    return link


def seal_if_due():
    """Run by the jobs thread. Does nothing if another process has sealed entries recently."""
    newest_at = Seal.objects.order_by("-pk").values_list("at", flat=True).first()
    if newest_at and timezone.now() - newest_at < timedelta(seconds=EVERY_SECONDS):
        return
    while seal(wait=False):
        if jobs.rest(REST_SECONDS):
            return
