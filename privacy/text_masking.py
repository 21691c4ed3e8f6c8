"""Finds personal data in a text, and drops what may be left of it where a text was cut."""

import re
from collections.abc import Callable

from .numbers import IBAN_JOINT, MAY_HAVE_NUMBER, WIDE_JOINT, numbers_in
from .spelling import HEX, Spelling
from .stand_ins import EMAIL

Replace = Callable[[str, str], str]

# E-mail addresses

# Words have letters and marks of any script; "…" replaces words with digits in normalised errors.
OUTSIDE_WORDS = (
    r"\s\x00-\x20\"(),/:;<=>?@\[\\\]^`{|}~*%"
    r"\u2010-\u2025\u2027-\u205e\u3001-\u3003\u3008-\u301f\uff0c\uff1a\uff1b\u00ab\u00bb"
)
WORD = rf"[^{OUTSIDE_WORDS}]"
LABEL = rf"[^{OUTSIDE_WORDS}!#$&'+.。｡]"
DOT = "[.。｡]"
ADDRESS = re.compile(
    rf"""
    (?<! {WORD} ) (?: {WORD}++ | % )++ @
    (?: (?!\d+\.\d) {LABEL}++ (?: {DOT} {LABEL}++ )+ | \[ [\w:.]{{2,45}} \] )
    | (?<![\w\\]) " [^"\\\n]{{1,64}} " @ {LABEL}++ (?: {DOT} {LABEL}++ )+
    """,
    re.VERBOSE,
)
# Replaces an address while numbers are being searched for.
BLANK = "@"

# What may be left of an address, number or IBAN at the end or start of a cut text: a word and the
# digits next to it, or groups of four. We search only REACH characters for it.
REACH = 1000
# An escape that was cut in two, at its end or start.
BEGUN = re.compile(
    r"(?:%[0-9a-fA-F]?|&(?:amp;)*#?[xX]?\w{0,31}|\\+(?:[uUx]\{?[0-9a-fA-F]{0,7})?)\Z"
)
ENDED = re.compile(r"(?:amp;)*#?[0-9a-zA-Z]{0,8};")
ANY_JOINT = rf"(?:{WIDE_JOINT}|\s|\+)"
LAST = [
    re.compile(rf"(?<!{WORD}) (?: {WORD}++ | [%@\\] )++ \Z", re.VERBOSE),
    re.compile(
        rf"(?<!\d) [+(]* \d (?: {ANY_JOINT}{{0,5}}+ \d ){{0,33}}+ {ANY_JOINT}{{0,5}}"
        rf" (?: %{HEX}{{2}} ){{0,3}} \Z",
        re.VERBOSE,
    ),
    re.compile(
        rf"(?<![^\W_])(?i:[a-z]{{2}}[ \-]?\d\d(?:{IBAN_JOINT}[a-z0-9]{{4}})*"
        rf"{IBAN_JOINT}[a-z0-9]{{0,3}}{IBAN_JOINT}\Z)"
    ),
]
FIRST = [
    re.compile(rf"(?: {WORD}++ | [%@\\] )++ (?: {ANY_JOINT}{{1,5}}+ \d+ ){{0,12}}+", re.VERBOSE),
    re.compile(rf"{ANY_JOINT}{{0,5}}+ \d (?: {ANY_JOINT}{{0,5}}+ \d ){{0,33}}+", re.VERBOSE),
]
FIRST_OF_IBAN = re.compile(
    rf"(?i:[a-z0-9]{{0,4}}(?:{IBAN_JOINT}[a-z0-9]{{4}})+(?:{IBAN_JOINT}[a-z0-9]{{1,4}})?(?![a-z0-9]))"
    # Not the beginning of an e-mail address.
    rf"(?!{WORD}*+@)"
)


def without_cut_ends(text: str, cut_start: bool, cut_end: bool) -> tuple[str, str]:
    """What was dropped at the start, and the text without values that may be cut in two."""
    if cut_end:
        text = text[: end_of_whole(text)]
    start = start_of_whole(text) if cut_start else 0
    return text[:start], text[start:]


def end_of_whole(text: str) -> int:
    if begun := BEGUN.search(text, max(len(text) - 60, 0)):
        text = text[: begun.start()]
    tail = max(len(text) - REACH, 0)
    spelling = Spelling(text[tail:])
    ends = (pattern.search(spelling.plain) for pattern in LAST)
    start = min((found.start() for found in ends if found), default=len(spelling.plain))
    return tail + spelling.source(start, start)[1]


def start_of_whole(text: str) -> int:
    ended = ENDED.match(text)
    place = ended.end() if ended else 0
    spelling = Spelling(text[place : place + REACH])
    starts = [pattern.match(spelling.plain) for pattern in FIRST]
    iban = FIRST_OF_IBAN.match(spelling.plain)
    if iban and sum(map(str.isdecimal, iban[0])) >= 4:
        starts.append(iban)
    end = max((found.end() for found in starts if found), default=0)
    return place + spelling.source(end, end)[1]


def masked_words(text: str, replace: Replace, *, is_phone: bool = False, context: str = "") -> str:
    """
    The text with all values in it replaced. `context` is what came before the text, such as the key
    of a string, and may say what a number is; `is_phone`: it says that numbers are phone numbers.
    """
    spelling = Spelling(text)
    pieces, done = [], 0
    for kind, start, end in values_in(spelling.plain, is_phone=is_phone, context=context):
        first, last = spelling.source(start, end)
        pieces += [text[done:first], replace(kind, text[first:last])]
        done = last
    return "".join([*pieces, text[done:]])


def values_in(plain: str, *, is_phone: bool, context: str) -> list[tuple[str, int, int]]:
    """(kind, start, end) of all values found in a text in one spelling, in order."""
    found = []
    if "@" in plain:
        found = [(EMAIL, *each.span()) for each in ADDRESS.finditer(plain)]
        plain = ADDRESS.sub(lambda each: BLANK * len(each[0]), plain)
    if MAY_HAVE_NUMBER.search(plain):
        found += numbers_in(plain, context=context, is_phone=is_phone)
        found.sort(key=lambda each: each[1])
    return found
