"""
Entries from before there were fingerprints get theirs: for a migration, and once more before the
first seal, for what processes of the former release wrote meanwhile.

The trigger lets a transaction that has set desk.audit_fingerprints change the details of entries,
and nothing else of them, as long as there is no seal.
"""

import json
from datetime import datetime

from django.db import connections, transaction

from .texts import FINGERPRINT, fingerprint, keep, kept_query

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
CHANGE = "UPDATE audit_entry SET details = %s WHERE id = %s"


def convert(using="default") -> int:
    """
    How many entries were changed. Each batch is a transaction, and locks no other entries. Can be
    begun again.
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
            for pk, at, text in rows:
                details = json.loads(text)
                if (new := converted(details, at, using)) != details:
                    cursor.execute(CHANGE, [json.dumps(new), pk])
                    changed += 1
            after = rows[-1][0]


def converted(details: dict, at: datetime, using: str) -> dict:
    new = dict(details)
    query = details.get("query")
    if isinstance(query, str) and not FINGERPRINT.search(query):
        new["query"] = kept_query(query, at=at, using=using)
    for name in ("before", "after"):
        values = details.get(name)
        text = values.get("external_id") if isinstance(values, dict) else None
        if isinstance(text, str) and not FINGERPRINT.fullmatch(text):
            keep([text], are_ids=True, at=at, using=using)
            new[name] = values | {"external_id": fingerprint(text)}
    return new
