"""
What is shown instead of personal data: its kind and eight letters, such as [e-mail HKMR-TWPX].

A value has the same letters wherever this site shows it, so that two people can be told apart. The
letters depend on a key: without it, somebody could try all phone numbers to find the value. A part
of a value has no stand-in, and a stand-in is never masked again.

Pages show only the first four letters, as in [e-mail HKMR], unless another stand-in on the page
begins with them too.
"""

import hmac
import re
from collections import Counter
from functools import lru_cache
from unicodedata import category, normalize
from urllib.parse import unquote

from django.conf import settings

EMAIL, PHONE, CARD, IBAN = "e-mail", "phone", "card", "IBAN"
KINDS = f"{EMAIL}|{PHONE}|{CARD}|{IBAN}"
# Replaces whatever may have been cut in two.
CUT = "…"

# No digits, which could look like a number, and no vowels, which could form words. With 10,000
# values, two values share their letters on 1 of 500 sites.
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
LENGTH = 8
HALF = f"[{LETTERS}]{{4}}"
STAND_IN = re.compile(rf"\[({KINDS}) ({HALF})-{HALF}\]")
# Someone may copy a short stand-in from a page into a text.
LONG_OR_SHORT = re.compile(rf"\[({KINDS}) {HALF}(?:-{HALF})?\]")
# The end of a stand-in at the start of a text that was cut.
END_OF_ONE = re.compile(rf"[\w-]{{0,6}} ?[{LETTERS}]{{0,4}}-?[{LETTERS}]{{0,4}}\]")
# Marks the place of an address while numbers are being searched for.
BLANKED = re.compile("@{3,}")
# A stand-in as someone may type it.
TYPED = re.compile(
    rf"\[(?:{KINDS}) {HALF}(?:-?{HALF})?\]"
    rf"|^\W*(?:(?:{KINDS}) {HALF}(?:-?{HALF})?|{HALF}-{HALF})\W*$",
    re.IGNORECASE,
)

# Text between two tags of an HTML page, except what a form sends or a program reads.
IN_PAGE = re.compile(STAND_IN.pattern.encode())
TEXT = re.compile(rb">[^<>\[]*+\[[^<>]*+(?=<(?!/(?:textarea|script|style)\b))")

# A longer value hardly belongs to one person, and would fill the cache.
LONGEST_KEPT = 100
# An address may be escaped in JSON, with other encoded characters next to it.
ESCAPE = re.compile(r"\\+u([0-9a-f]{4})", re.IGNORECASE)
BESIDE_ADDRESS = re.compile(r"[\s:=?/<>(),;]")
ALIKE = str.maketrans("。’", ".'")
NO_DIGITS = re.compile(r"\D+")
# Treats +44 (0)20 as +44 20.
TRUNK_ZERO = re.compile(r"(?<=\d)\W{0,3}[(（]0[)）]")


def stand_in(kind: str, value: str) -> str:
    """The stand-in for a value as it was found; only its kind if part of the value is missing."""
    if CUT in value:
        return f"[{kind}]"
    made = made_of if len(value) <= LONGEST_KEPT else made_of.__wrapped__
    return made(settings.AUDIT_KEY or settings.SECRET_KEY, kind, value)


@lru_cache(maxsize=4)
def own_key(key: str) -> bytes:
    return hmac.digest(key.encode(), b"stand-ins", "sha256")


@lru_cache(maxsize=4096)
def made_of(key: str, kind: str, value: str) -> str:
    text = f"{kind} {normalised(kind, value)}"
    number = int.from_bytes(
        hmac.digest(own_key(key), text.encode(errors="surrogatepass"), "sha256")
    )
    letters = ""
    for _ in range(LENGTH):
        number, letter = divmod(number, len(LETTERS))
        letters += LETTERS[letter]
    return f"[{kind} {letters[:4]}-{letters[4:]}]"


def normalised(kind: str, value: str) -> str:
    """Equal for all spellings of a value."""
    if kind == EMAIL:
        return normalised_address(value)
    if kind == IBAN:
        return "".join(filter(str.isalnum, value)).upper()
    if kind == PHONE:
        value = TRUNK_ZERO.sub("", value)
    digits = NO_DIGITS.sub("", value)
    if not digits.isascii():
        digits = "".join(str(int(each)) for each in digits)
    # Many people write neither + nor 00 in front of a country code.
    return digits.removeprefix("00") if kind == PHONE else digits


def normalised_address(value: str) -> str:
    value = unquote(ESCAPE.sub(lambda found: chr(int(found[1], 16)), value))
    if not value.isascii():
        visible = (each for each in normalize("NFKC", value) if category(each) != "Cf")
        value = "".join(visible).translate(ALIKE)
    if '"' not in value:
        value = BESIDE_ADDRESS.split(value)[-1]
    # Quotes, Markdown and so on around the address.
    return value.replace("\\", "").casefold().strip("'`‘_-.")


def without_stand_ins(text: str) -> str:
    """
    The text before a number, to see what it says about the number, without stand-ins: "[phone …]"
    must not make the next number a phone number.
    """
    if "]" not in text and "@@@" not in text:
        return text
    end = END_OF_ONE.match(text)
    after_numbers = end.end() if end else 0
    for found in LONG_OR_SHORT.finditer(text):
        if found[1] != EMAIL:
            after_numbers = found.end()
    return BLANKED.sub("[x]", LONG_OR_SHORT.sub("[x]", text[after_numbers:]))


def is_asked_for(text: str) -> bool:
    """Whether the search is for a stand-in, which no conversation contains."""
    return bool(TYPED.search(text))


def shortened(page: bytes) -> bytes:
    """
    An HTML page, or part of one, with short stand-ins in its text, unless two on the page begin
    with the same letters. Attributes keep the long form.
    """
    letters = {found[0]: found[2] for found in IN_PAGE.finditer(page)}
    if not letters:
        return page
    times = Counter(letters.values())

    def short(found: re.Match[bytes]) -> bytes:
        return found[0] if times[found[2]] > 1 else b"[%b %b]" % found.groups()

    return TEXT.sub(lambda text: IN_PAGE.sub(short, text[0]), page)
