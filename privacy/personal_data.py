"""
Replaces personal data in a text by its kind: [e-mail], [phone], [card], [IBAN].

Found are
- e-mail addresses whose domain has a dot, in any script, also with a full-width @ or %40;
- card numbers: 13 to 19 digits, in groups or not, with a valid Luhn sum and a first digit that
  issuers use;
- IBANs of the countries that use them, in groups or not, with correct check digits;
- phone numbers of 7 to 15 digits: with a plus sign in front; in groups; after a word such as
  "phone", or under such a key in JSON; or as one run of digits that begins like a trunk or
  exit code (0…, 00…) or is a North American number.

Not found are addresses without a domain or paraphrased (jane at example), phone numbers that are
one run of digits like any id (37251234567), and numbers in words. Kept are UUIDs, dates and
times, IP addresses, decimals, numbers grouped by thousands, and numbers attached to a word
(ticket-7012345). In doubt, more is masked rather than less.

Everything here takes time in proportion to the text: no pattern starts over at each letter.
"""

from urllib.parse import parse_qsl, urlencode

from .json_masking import as_string, looks_like_json, masked_json, masked_text
from .stand_ins import CUT, IBAN
from .text_masking import AT, JOINT

__all__ = ["AT", "CUT", "IBAN", "JOINT", "mask", "mask_json", "mask_query"]


def mask(text: str, cut_start: bool = False, cut_end: bool = False) -> str:
    """
    The text without personal data. JSON stays JSON. If the text was cut from a longer one, whatever
    may be a part of personal data is left out at that end.
    """
    if not (cut_start or cut_end) and looks_like_json(text):
        found = masked_json(text)
        if found is not None:
            return found
    return masked_text(text, cut_start=cut_start, cut_end=cut_end)


def mask_json(text: str, cut_end: bool = False) -> str:
    """The same for a JSON document of any depth, which stays JSON; it is never parsed."""
    found = masked_json(text, cut_end=cut_end)
    return as_string(masked_text(text, cut_end=cut_end)) if found is None else found


def mask_query(query: str) -> str:
    """The same for a query string."""
    return urlencode([(name, mask(value)) for name, value in parse_qsl(query)])
