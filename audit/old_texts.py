"""
Puts fingerprints into entries that were written before there were fingerprints. A migration runs
this, and it runs once more before the first seal, for entries that processes of the previous
release wrote in the meantime.

As long as there is no seal, the trigger lets a transaction that has set desk.audit_fingerprints
change the details of entries, and nothing else.
"""

import json

from django.db import connections, transaction

from .texts import FINGERPRINT, fingerprint, fingerprinted, keep_since

BATCH = 500
NONE_SEALED = "SELECT NOT EXISTS (SELECT FROM audit_seal)"
NEXT = """
    SELECT id, at, details FROM audit_entry
    WHERE id > %s AND (
        act IN ('searched', 'exported') AND jsonb_exists(details, 'query')
        OR act = 'edited' AND details->>'table' = 'sessions'
    )
    ORDER BY id LIMIT %s
"""
CHANGE = """
    UPDATE audit_entry SET details = new.details::jsonb
    FROM unnest(%s::bigint[], %s::text[]) AS new (id, details) WHERE audit_entry.id = new.id
"""


def convert(using="default") -> int:
    """
    Convert all entries and return how many were changed. Each batch is a transaction of its own and
    only locks its own entries. It can be stopped and run again.
    """
    changed = after = 0
    while True:
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            cursor.execute(NONE_SEALED)
            if not cursor.fetchone()[0]:
                return changed
            cursor.execute("SET LOCAL desk.audit_fingerprints = 'on'")
            cursor.execute(NEXT, [after, BATCH])
            rows = cursor.fetchall()
            if not rows:
                return changed
            searched, external_ids, new = {}, {}, {}
            for pk, at, text in rows:
                details = json.loads(text)
                changed_details, typed, ids = converted(details)
                searched.update(dict.fromkeys(typed, at))
                external_ids.update(dict.fromkeys(ids, at))
                if changed_details != details:
                    new[pk] = json.dumps(changed_details)
            keep_since(searched, are_ids=False, using=using)
            keep_since(external_ids, are_ids=True, using=using)
            cursor.execute(CHANGE, [list(new), list(new.values())])
            changed += len(new)
            after = rows[-1][0]


def converted(details: dict) -> tuple[dict, set[str], set[str]]:
    """The details with fingerprints, and the searched texts and external ids behind them."""
    new, searched, external_ids = dict(details), set(), set()
    query = details.get("query")
    if isinstance(query, str) and not FINGERPRINT.search(query):
        new["query"], searched = fingerprinted(query)
    for name in ("before", "after"):
        values = details.get(name)
        text = values.get("external_id") if isinstance(values, dict) else None
        if isinstance(text, str) and not FINGERPRINT.fullmatch(text):
            external_ids.add(text)
            new[name] = values | {"external_id": fingerprint(text)}
    return new, searched, external_ids
