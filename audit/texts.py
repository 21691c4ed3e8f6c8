"""
External ids and texts that people typed. Entries keep only a keyed fingerprint of each, for good.
The readable text is in a table of its own, from which it can be deleted.
"""

import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from urllib.parse import parse_qsl, urlencode

from django.conf import settings
from django.db import connections
from django.utils import timezone

from backoffice.databases.text import is_storable
from privacy.personal_data import mask

from .keys import digest, keys
from .models import Text

PURPOSE = "audit.texts"
# The query parameters that can hold such a text.
NAMES = ("search", "external_id", "external_id_is", "error", "q")
# A fingerprint has letters only, so that no mask takes it for a number or an address.
LETTERS = str.maketrans("0123456789", "ghijklmnop")
FINGERPRINT = re.compile(r"~[a-p]{32}")
# What people paste along with an id: characters around it, and a label such as "ticket id:".
EDGES = re.compile(r"^[\W_]+|[\W_]+$")
NAME = re.compile(r"(?:[a-z]{1,20}[ _-]?)?id\W*[=:]\W*")

# A recent row is not updated again, so users who search for the same text rarely wait for each
# other's locks.
KEEP = """
    INSERT INTO audit_text (fingerprint, value, folded, is_external_id, at)
    SELECT * FROM unnest(
        %(fingerprints)s::text[], %(values)s::text[], %(folded)s::text[], %(are_ids)s::bool[],
        %(times)s::timestamptz[]
    )
    ON CONFLICT (fingerprint) DO UPDATE SET
        at = greatest(audit_text.at, EXCLUDED.at),
        is_external_id = audit_text.is_external_id OR EXCLUDED.is_external_id
    WHERE audit_text.at < EXCLUDED.at - interval '1 hour'
    OR audit_text.is_external_id < EXCLUDED.is_external_id
"""


def fingerprints(text: str) -> list[str]:
    """The text's fingerprint under each key. Entries use the first."""
    return ["~" + digest(key, text).hex()[:32].translate(LETTERS) for key in keys(PURPOSE)]


def fingerprint(text: str) -> str:
    return fingerprints(text)[0]


def normalised(text: str) -> str:
    """A spelling that is the same however an id is written or pasted."""
    plain = without_edges(text)
    return NAME.sub("", plain, count=1) if NAME.match(plain) else plain


def without_edges(text: str) -> str:
    letters = unicodedata.normalize("NFKC", text).casefold().replace("ı", "i").replace("i̇", "i")
    shown = (each for each in letters if unicodedata.category(each) != "Cf")
    plain = " ".join("".join(str(unicodedata.decimal(each, each)) for each in shown).split())
    return EDGES.sub("", plain) or plain


def keep(texts: Iterable[str], *, are_ids=False):
    """Store the readable texts, masked if this site masks personal data."""
    keep_since(dict.fromkeys(texts, timezone.now()), are_ids=are_ids)


def keep_since(texts: dict[str, datetime], *, are_ids: bool, using="default"):
    """Like keep(), for {text: when it was last used}."""
    rows = {}
    for text in sorted(texts):
        if text and is_storable(text):
            value = mask(text) if settings.MASK_PERSONAL_DATA else text
            folded = normalised(text) if value == text else ""
            rows[fingerprint(text)] = (value, folded, texts[text])
    if not rows:
        return
    values, folds, times = zip(*rows.values(), strict=True)
    with connections[using].cursor() as cursor:
        cursor.execute(
            KEEP,
            {
                "fingerprints": list(rows),
                "values": list(values),
                "folded": list(folds),
                "are_ids": [are_ids] * len(rows),
                "times": list(times),
            },
        )


def kept_external_id(external_id: str | None) -> str | None:
    """What an entry holds instead of an external id. Keeps the readable text."""
    if external_id is None:
        return None
    keep([external_id], are_ids=True)
    return fingerprint(external_id)


def kept_query(query: str) -> str:
    """What an entry holds instead of a query string. Keeps the readable texts."""
    kept, typed = fingerprinted(query)
    keep(typed)
    return kept


def fingerprinted(query: str) -> tuple[str, set[str]]:
    """The query string with fingerprints, and the texts that they replace."""
    pairs = parse_qsl(query, keep_blank_values=True)
    typed = {text for name, text in pairs if name in NAMES and text}
    if not typed:
        return query, typed
    kept = [(name, fingerprint(text) if name in NAMES and text else text) for name, text in pairs]
    return urlencode(kept), typed


def readable(texts: Iterable[str]) -> dict[str, str]:
    """{fingerprint: text} for all fingerprints in these texts that can still be read."""
    wanted = {found for text in texts for found in FINGERPRINT.findall(text)}
    if not wanted:
        return {}
    return dict(Text.objects.filter(pk__in=wanted).values_list("fingerprint", "value"))


def forget(external_ids: Iterable[str]) -> int:
    """
    Delete every kept text that one of these external ids begins with, however it is spelled. That
    includes the whole id. Return how many were deleted.
    """
    beginnings, marks = set(), set()
    for external_id in external_ids:
        for whole in {normalised(external_id), without_edges(external_id)}:
            beginnings.update(whole[:end] for end in range(1, len(whole) + 1))
        for end in range(1, len(external_id) + 1):
            marks.update(fingerprints(external_id[:end]))
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "DELETE FROM audit_text WHERE fingerprint = ANY(%s) OR folded = ANY(%s)",
            [list(marks), list(beginnings)],
        )
        return cursor.rowcount
