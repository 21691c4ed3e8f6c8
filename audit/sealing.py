"""
Sealing entries: whoever changes, removes or backdates one afterwards is found out by audit_verify.

A seal holds a keyed digest of each of its entries, and a keyed hash over all of this and the
previous seal's hash. Without the key nobody can make one that fits, so entries are protected even
from whoever can write our tables, once they are sealed.

Ids are taken before they are committed: an entry with a lower id may appear after one with a
higher id. So a seal covers a set of ids, not a range, and remembers which lower ones are missing:
an entry that was late is in a later seal. Only entries are sealed that are older than every open
transaction, and searches only once the trigger lets nobody extend them any more. No request waits
for any of this.
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
# Held until the transaction ends by whoever adds to the chain. The number is the lock's.
LOCK = "SELECT pg_advisory_xact_lock(1684370288)"
TRY_LOCK = "SELECT pg_try_advisory_xact_lock(1684370288)"
BATCH = 2_000
EVERY_SECONDS = 60
# So that a large trail's first seals leave the process time for requests.
REST_SECONDS = 0.2
STATEMENT_SECONDS = 30
# An entry that turns up this long after higher ones was not written by us: it stays unsealed.
LATE = timedelta(days=1)
DIGEST_BYTES = 16

# Text that differs if anything in an entry does, by the form of the seal. A form stays as it is:
# with another column comes another form.
LINES = {
    1: """
        jsonb_build_array(
            id, extract(epoch FROM at), act, user_id, username, role, reason, host(address),
            request_id, session_id, details
        )::text
    """,
}
FORM = 1

# A frozen row is older than any transaction. A transaction that is changing a row stands in xmax.
# The trigger lets a search be extended for three seconds.
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
    """A seal, its sets of ids as text."""

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
    Seal the next entries, in a transaction of its own; None if there are none, or if another
    process is at it and we should not `wait`.
    """
    if not Seal.objects.exists():
        # Of processes of the former release, which went on after the migration.
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
    logger.info("Sealed %s entries of the audit trail as %s:%s", made.count, made.id, made.hash)
    return made


def checkpoint(ids: list[int]) -> Link:
    """
    Tells that these entries are about to be pruned: the trigger lets nothing else be deleted. Needs
    a transaction on `default`.
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


def seal_by_itself():
    """For the thread of jobs: what any process of the site did lately need not be done again."""
    newest_at = Seal.objects.order_by("-pk").values_list("at", flat=True).first()
    if newest_at and timezone.now() - newest_at < timedelta(seconds=EVERY_SECONDS):
        return
    while seal(wait=False):
        if jobs.rest(REST_SECONDS):
            return
