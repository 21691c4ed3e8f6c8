"""Checks the seals: which entries were removed, changed or backdated since they were sealed?"""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta

from django.db import connections, transaction

from .keys import digest, key_name, keys
from .models import Seal
from .sealing import DIGEST_BYTES, LATE, LINES, PURPOSE, Link
from .sets import Union, as_text, members, size

# An entry gets its time and its id in one statement, but that statement may have to wait between
# the two.
TOLERANCE = timedelta(minutes=10)
# Lower than any number in the database.
BEFORE_ALL = -(2**63) - 1
MOST_NAMED = 20

SEALS = """
    SELECT id, at, kind, entries::text, count, last, missing::text, digests, form, key, previous,
        hash
    FROM audit_seal WHERE id > %s ORDER BY id LIMIT 200
"""
CHECKPOINTS = SEALS.replace("WHERE", "WHERE kind = 'pruned' AND")
ENTRIES = """
    SELECT id, at, {line}
    FROM unnest(%s::int8multirange) AS part
    JOIN audit_entry ON id >= lower(part) AND id < upper(part)
    ORDER BY id
"""
# Ids at or below the last sealed one that are in no seal and were not noted as missing.
ADDED = """
    WITH sealed (ids) AS (
        SELECT range_agg(part) FROM audit_seal, unnest(entries) AS part WHERE kind = 'sealed'
    )
    SELECT id FROM audit_entry, sealed
    WHERE id <= %(last)s AND NOT coalesce(ids @> id, false)
    AND NOT %(missing)s::int8multirange @> id
    ORDER BY id
"""
UNSEALED = """
    SELECT id, at FROM audit_entry
    WHERE id > %(last)s OR %(missing)s::int8multirange @> id
    ORDER BY id
"""


class Trail:
    """Reads the whole log as of one moment. Iterate over problems() once; the rest is then set."""

    def __init__(self, noted: dict[int, str] | None = None):
        # {number: hash} of seals that somebody wrote down elsewhere.
        self.noted = noted or {}
        self.keys = {key_name(key): key for key in keys(PURPOSE)}
        self.seals = self.sealed = self.pruned = self.unsealed = 0
        self.oldest_unsealed: datetime | None = None
        self.newest: Link | None = None

    def problems(self) -> Iterator[str]:
        connection = connections["default"]
        alone = not connection.in_atomic_block
        with transaction.atomic(using="default"), connection.cursor() as cursor:
            if alone:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield from self.in_transaction(cursor)

    def in_transaction(self, cursor) -> Iterator[str]:
        checkpoints = filter(self.is_genuine, links(cursor, CHECKPOINTS))
        pruned = Union(link.entries for link in checkpoints)
        self.pruned = len(pruned)
        # The newest time of all entries sealed so far.
        latest = datetime.min.replace(tzinfo=UTC)
        for link in links(cursor, SEALS):
            if link.id < 1:
                yield f"Seal {link.id} was forged: the first seal has number 1."
                continue
            yield from self.problems_of_link(link)
            if link.kind == Seal.Kind.SEALED:
                times, problems = self.compare(cursor, link, latest, pruned)
                yield from problems
                latest = max([latest, *(min(at, link.at) for at in times)])
            self.newest = link
            self.seals += 1
        yield from self.problems_of_unsealed(cursor, latest)

    def problems_of_link(self, link: Link) -> Iterator[str]:
        before = self.newest.id if self.newest else 0
        if link.id != before + 1:
            yield f"Seals {before + 1} to {link.id - 1} were removed."
        elif link.previous != (self.newest.hash if self.newest else ""):
            yield f"Seal {link.id} does not follow the one before it."
        if link.key not in self.keys:
            yield (
                f"Seal {link.id} cannot be checked: its key is not AUDIT_KEY, SECRET_KEY or one of "
                "SECRET_KEY_FALLBACKS."
            )
        elif not self.is_genuine(link):
            yield f"Seal {link.id} of {moment(link.at)} was changed or forged."
        if self.noted.get(link.id, link.hash) != link.hash:
            yield f"Seal {link.id} differs from the one that was noted."

    def is_genuine(self, link: Link) -> bool:
        key = self.keys.get(link.key)
        return key is not None and link.form in LINES and link.hash == link.hashed(key)

    def compare(self, cursor, link: Link, latest: datetime, pruned: Union) -> tuple[list, list]:
        """The times of a seal's entries, and the problems found in them."""
        key = self.keys.get(link.key)
        # Checked before listing the ids: a forged seal can name more than fit into memory.
        is_complete = size(link.entries) * DIGEST_BYTES == len(link.digests)
        if key is None or link.form not in LINES or not is_complete:
            return [], []
        ids = list(members(link.entries))
        wanted = {
            pk: link.digests[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]
            for place, pk in enumerate(ids)
        }
        self.sealed += len(ids)
        cursor.execute(ENTRIES.format(line=LINES[link.form]), [link.entries])
        times, changed, backdated = [], [], []
        for pk, at, line in cursor.fetchall():
            if digest(key, line)[:DIGEST_BYTES] != wanted.pop(pk):
                changed.append(pk)
                continue
            times.append(at)
            if self.is_backdated(pk, at, latest):
                backdated.append(pk)
        removed = [pk for pk in wanted if pk not in pruned]
        problems = [
            f"{named(found)} {what} since {moment(link.at)}, when seal {link.id} was made."
            for found, what in ((removed, "removed"), (changed, "changed"))
            if found
        ]
        if backdated:
            problems.append(f"{named(backdated)} backdated: entries sealed before are newer.")
        return times, problems

    def is_backdated(self, pk: int, at: datetime, latest: datetime) -> bool:
        late = self.newest is not None and pk <= self.newest.last
        return at - latest < -(LATE if late else TOLERANCE)

    def problems_of_unsealed(self, cursor, latest: datetime) -> Iterator[str]:
        newest = self.newest
        values = {
            "last": newest.last if newest else 0,
            "missing": newest.missing if newest else "{}",
        }
        cursor.execute(ADDED, values)
        if added := [pk for (pk,) in cursor.fetchall()]:
            yield f"{named(added)} added later, among older entries that were already sealed."
        cursor.execute(UNSEALED, values)
        backdated = []
        for pk, at in cursor.fetchall():
            self.unsealed += 1
            self.oldest_unsealed = min(at, self.oldest_unsealed or at)
            if self.is_backdated(pk, at, latest):
                backdated.append(pk)
        if backdated:
            yield f"{named(backdated)} backdated: entries sealed before are newer."
        for number in sorted(self.noted):
            if not newest or number > newest.id:
                yield f"Seal {number} was noted, but has been removed."


def links(cursor, statement: str) -> Iterator[Link]:
    names = [field.name for field in fields(Link)]
    after = BEFORE_ALL
    while True:
        cursor.execute(statement, [after])
        rows = cursor.fetchall()
        if not rows:
            return
        for row in rows:
            values = dict(zip(names, row, strict=True))
            yield Link(**values | {"digests": bytes(values["digests"])})
        after = rows[-1][0]


def named(ids: Iterable[int]) -> str:
    """ "Entry 5 was", "Entries 5 to 7 and 9 were"."""
    ids = list(ids)
    if len(ids) == 1:
        return f"Entry {ids[0]} was"
    parts = [part.split(",") for part in as_text(ids).strip("{}[)").split("),[")]
    texts = [
        start if int(start) == int(end) - 1 else f"{start} to {int(end) - 1}"
        for start, end in parts[:MOST_NAMED]
    ]
    if more := len(parts) - len(texts):
        texts.append(f"{more:,} more stretches")
    *most, final = texts
    return f"Entries {', '.join(most)} and {final} were" if most else f"Entries {final} were"


def moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
