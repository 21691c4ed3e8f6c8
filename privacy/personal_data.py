"""
Replaces personal data in a text with stand-ins for e-mail addresses, phones, cards and IBANs.

It finds
- e-mail addresses whose domain has a dot, in any script;
- card numbers: 13 to 19 digits with a valid Luhn sum that begin like an issuer's, and are either
  grouped as on a card or called one;
- IBANs of the countries that use them, grouped or not, with correct check digits;
- phone numbers: with a country code (+372, 00372), valid or not; after a word such as "phone", or
  under such a key in JSON; North American ones in their usual forms; and with the setting
  PHONE_REGION, valid ones of that country.

It finds all of these in the digits of any script, with any dashes and spaces, with zero-width
characters, across line breaks, and escaped as in URLs, HTML and JSON (`spelling.py`).

It does not find addresses without a domain or in other words (jane at example), phone numbers that
look like any id (37251234567), or numbers spelt out. It keeps UUIDs, dates and times, IP addresses,
amounts, coordinates, and numbers of orders and other things, even after "call".

Everything here takes time in proportion to the text: no pattern starts over at each letter.
"""

from collections.abc import Iterator
from urllib.parse import parse_qsl, urlencode

from .json_masking import Masker, as_string
from .stand_ins import CUT, stand_in

__all__ = ["CUT", "found", "mask", "mask_json", "mask_query"]

masker = Masker(stand_in)


def mask(text: str, cut_start: bool = False, cut_end: bool = False) -> str:
    """
    The text without personal data; JSON stays JSON. If the text was cut from a longer one, whatever
    may be part of personal data at that end is left out.
    """
    if not (cut_start or cut_end):
        return masker.content(text)
    return masker.text(text, cut_start=cut_start, cut_end=cut_end)


def mask_json(text: str, cut_end: bool = False) -> str:
    """The same for a JSON document of any depth, which stays JSON and is never parsed."""
    masked = masker.document(text, cut_end=cut_end)
    return as_string(masker.text(text, cut_end=cut_end)) if masked is None else masked


def mask_query(query: str) -> str:
    """The same for a query string."""
    return urlencode([(name, mask(value)) for name, value in parse_qsl(query)])


def found(text: str) -> Iterator[tuple[str, str]]:
    """(kind, value) for each piece of personal data in a text or JSON document."""
    values: list[tuple[str, str]] = []

    def keep(kind: str, words: str) -> str:
        values.append((kind, words))
        return stand_in(kind, words)

    Masker(keep).content(text)
    return iter(values)
