"""
Texts that people typed and external ids: entries hold a keyed fingerprint of each, for ever, and
the readable text stands in a table of its own, from which it can go.
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
# What may stand in an address under these names.
NAMES = ("search", "external_id", "external_id_is", "error", "q")
# Letters alone: no mask takes them for a number or an address.
LETTERS = str.maketrans("0123456789", "ghijklmnop")
FINGERPRINT = re.compile(r"~[a-p]{32}")
# What comes along when an id is pasted: anything around it, and its name in front.
EDGES = re.compile(r"^[\W_]+|[\W_]+$")
NAME = re.compile(r"(?:[a-z]{1,20}[ _-]?)?id\W*[=:]\W*")

# Nobody waits for another who types the same, except within the first moment.
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
    """By each key; the first one is for entries."""
    return ["~" + digest(key, text).hex()[:32].translate(LETTERS) for key in keys(PURPOSE)]


def fingerprint(text: str) -> str:
    return fingerprints(text)[0]


def folded(text: str) -> str:
    """The same for every way to write and to paste an id."""
    plain = without_edges(text)
    return NAME.sub("", plain, count=1) if NAME.match(plain) else plain


def without_edges(text: str) -> str:
    letters = unicodedata.normalize("NFKC", text).casefold().replace("ı", "i").replace("i̇", "i")
    shown = (each for each in letters if unicodedata.category(each) != "Cf")
    plain = " ".join("".join(str(unicodedata.decimal(each, each)) for each in shown).split())
    return EDGES.sub("", plain) or plain


def keep(texts: Iterable[str], *, are_ids=False):
    """Store them readable, masked if this site masks personal data."""
    keep_since(dict.fromkeys(texts, timezone.now()), are_ids=are_ids)


def keep_since(texts: dict[str, datetime], *, are_ids: bool, using="default"):
    """{text: when it was used}."""
    rows = {}
    for text in sorted(texts):
        if text and is_storable(text):
            value = mask(text) if settings.MASK_PERSONAL_DATA else text
            rows[fingerprint(text)] = (value, folded(text) if value == text else "", texts[text])
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
    """What an entry holds of it."""
    if external_id is None:
        return None
    keep([external_id], are_ids=True)
    return fingerprint(external_id)


def kept_query(query: str) -> str:
    """What an entry holds of a query string."""
    kept, typed = fingerprinted(query)
    keep(typed)
    return kept


def fingerprinted(query: str) -> tuple[str, set[str]]:
    """The query string with fingerprints, and the texts that these are of."""
    pairs = parse_qsl(query, keep_blank_values=True)
    typed = {text for name, text in pairs if name in NAMES and text}
    if not typed:
        return query, typed
    kept = [(name, fingerprint(text) if name in NAMES and text else text) for name, text in pairs]
    return urlencode(kept), typed


def readable(texts: Iterable[str]) -> dict[str, str]:
    """{fingerprint: text} of those fingerprints within the texts that can still be read."""
    wanted = {found for text in texts for found in FINGERPRINT.findall(text)}
    if not wanted:
        return {}
    return dict(Text.objects.filter(pk__in=wanted).values_list("fingerprint", "value"))


def forget(external_ids: Iterable[str]) -> int:
    """Delete what these external ids begin with, whole ones included, however it was written."""
    beginnings, marks = set(), set()
    for external_id in external_ids:
        for whole in {folded(external_id), without_edges(external_id)}:
            beginnings.update(whole[:end] for end in range(1, len(whole) + 1))
        for end in range(1, len(external_id) + 1):
            marks.update(fingerprints(external_id[:end]))
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "DELETE FROM audit_text WHERE fingerprint = ANY(%s) OR folded = ANY(%s)",
            [list(marks), list(beginnings)],
        )
        return cursor.rowcount
