"""Finds the numbers in a text that are personal data: cards, accounts and phones."""

import re
from collections.abc import Iterator
from itertools import accumulate

from .phones import DIGITS, phones_in
from .stand_ins import CARD, IBAN, PHONE, without_stand_ins

# What joins the digits of a number, in one spelling; a line break may also come between them.
JOINT = r"[ \-./()]"
LINE = r"[ ]{0,2}-?[ ]{0,2}\r?\n[ >]{0,4}"
# A number with a plus sign in front may contain Markdown or be part of a URL.
WIDE_JOINT = r"[ \-./()_*~`]"
YEAR = r"(?:19|20)\d\d"
DATE = (
    rf"(?: {YEAR} [-./] (?:0?[1-9]|1[0-2]) [-./] (?:0?[1-9]|[12]\d|3[01])"
    rf" | (?:0?[1-9]|[12]\d|3[01]) [-./] (?:0?[1-9]|[12]\d|3[01]) [-./] {YEAR} ) (?!\d)"
)
ADDRESS = r"(?!(?:\d\d\.){3}\d\d(?!\d)) \d{1,3} (?:\.\d{1,3}){3} (?! [.\-]? \d)"
LENGTHS = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18
    DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23
    IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27
    MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19
    SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
"""
IBAN_JOINT = rf"(?:[ .\-]{{1,3}}|{LINE})?"


def iban_pattern() -> str:
    countries: dict[int, list[str]] = {}
    for each in LENGTHS.split():
        countries.setdefault(int(each[2:]), []).append(each[:2])
    return "|".join(
        rf"(?:{'|'.join(names)}) [ \-]? \d\d (?:{IBAN_JOINT}[A-Z0-9]){{{length - 4}}}"
        for length, names in countries.items()
    )


NUMBER = re.compile(
    rf"""
    # A quick first check, because most characters cannot begin a number.
    (?= [\d+(] | [A-Za-z]{{2}}[ \-]?\d\d | [a-fA-F][0-9a-fA-F]{{7}}- )
    (?: (?P<kept>
            (?<![\w-]) [0-9a-fA-F]{{8}} (?:-[0-9a-fA-F]{{4}}){{3}} -[0-9a-fA-F]{{12}} (?![\w-])
          | (?<![\d.]) {DATE}
          | (?<![\d.]) {ADDRESS}
        )
      | (?P<iban> (?<![^\W_]) (?ai: {iban_pattern()} ) (?![A-Za-z0-9]) )
      | (?P<abroad> (?<!\d) (?: \+[ ]{{0,2}} (?:\([ ]?)? | \(\+ ) \d
            (?: \d | (?: {WIDE_JOINT}{{1,4}} | {LINE} | \+(?=\d\d) )
                (?! {DATE} | \d\d?:\d\d ) \d ){{5,}}+
        )
      | (?P<number> (?<!\d) \(? \d
            (?: \d | (?: {JOINT}{{1,3}} | {LINE} ) (?! {DATE} | \d\d?:\d\d ) \d ){{6,}}+
        )
    )
    """,
    re.VERBOSE,
)
MAY_HAVE_NUMBER = re.compile(r"\d(?:\W{0,5}_?\d){6}")

# Cards

DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
ISSUERS = re.compile(
    r"""
      4 (?: \d{12} | \d{15} | \d{18} )
    | (?: 5[1-5] | 2[2-7] | 6[05] | 8[12] ) \d{14} | (?: 8600 | 9704 | 9792 | 9860 ) \d{12}
    | 3[47]\d{13} | 3[0689]\d{12,17} | 35\d{14,17} | 1\d{14}
    | 6(?:011|4[4-9]\d|5\d\d|2\d\d)\d{12,15}
    | (?: 50 | 5[678] | 6304 | 6390 | 67 ) \d{11,17} | 9704\d{15}
    """,
    re.VERBOSE,
)
IN_FOURS = re.compile(r"(?:4,){3}[1-4],|(?:4,){4}[1-3],|4,6,[45],|8,8,|6,1[03],|1[3-9],")
# Words before a card number, and before codes that have the same kind of checksum.
CARD_BEFORE = re.compile(
    r"card|visa|amex|maestro|karte|carte|tarjeta|cart[ãa]o|carta|kaar[dt]|kort|karta|kart|карт|カード|卡|카드|\bcc\b|\bpan\b",
    re.IGNORECASE,
)
CODE_BEFORE = re.compile(
    r"(?:ean|gtin|upc|isbn|imei|iccid|imsi|barcode|tracking|asin)(?:[ _-]?\w{1,8})?\W{0,5}$",
    re.IGNORECASE,
)


def numbers_in(
    text: str, *, context: str = "", is_phone: bool = False
) -> Iterator[tuple[str, int, int]]:
    """
    (kind, start, end) of the numbers found in a text in one spelling. `context` is what came before
    the text; `is_phone`: a key says that its numbers are phone numbers.
    """
    place = 0
    while found := NUMBER.search(text, place):
        start, place = found.span()
        if found["kept"]:
            continue
        if found["iban"]:
            if is_iban(found[0]):
                yield IBAN, start, place
            else:
                place = start + 4
            continue
        for first, last in card_numbers(text, start, place, context):
            if first > start:
                yield from phones(text, start, first, context, is_phone)
            yield CARD, first, last
            start = last
        yield from phones(text, start, place, context, is_phone)


def phones(text, start, end, context, is_phone) -> Iterator[tuple[str, int, int]]:
    for first, last in phones_in(text, start, end, context=context, is_phone=is_phone):
        yield PHONE, first, last


def is_iban(words: str) -> bool:
    letters = "".join(letter for letter in words if letter.isalnum())
    return int("".join(str(int(each, 36)) for each in letters[4:] + letters[:4])) % 97 == 1


def card_numbers(
    text: str, start: int = 0, end: int | None = None, context: str = ""
) -> list[tuple[int, int]]:
    """(start, end) of the longest card numbers between two positions of a text."""
    end = len(text) if end is None else end
    if end - start < 13:
        return []
    groups = [found.span() for found in DIGITS.finditer(text, start, end)]
    # 20 digits per group suffice: a group of more than 19 is not part of a card number.
    digits = [text[first:last][:20] for first, last in groups]
    ends = [0, *accumulate(map(len, digits))]
    if ends[-1] < 13:
        return []
    # Luhn sums up to each digit, with either the odd or the even positions doubled.
    joined = "".join(digits)
    numbers = list(enumerate(map(int, joined)))
    sums = [
        [0, *accumulate(DOUBLED[digit] if place % 2 == odd else digit for place, digit in numbers)]
        for odd in (0, 1)
    ]
    found, place, other = [], 0, 0
    while place < len(groups):
        first, after = ends[place], None
        while other < len(ends) and ends[other] < first + 13:
            other += 1
        for after_last in range(other, min(other + 7, len(ends))):
            last = ends[after_last]
            # The last digit counts once, the one before it is doubled, and so on.
            total = sums[last % 2][last] - sums[last % 2][first]
            if total % 10 == 0 and ISSUERS.fullmatch(joined, first, last):
                spans = groups[place:after_last]
                if is_written_as_card(text, spans, context):
                    after = after_last
        if after:
            found.append((groups[place][0], groups[after - 1][1]))
        place = after or place + 1
    return found


def is_written_as_card(text: str, groups: list[tuple[int, int]], context: str) -> bool:
    start, end = groups[0][0], groups[-1][1]
    before = without_stand_ins((context + text[max(start - 40, 0) : start])[-40:])
    if CODE_BEFORE.search(before):
        return False
    # Part of a hash.
    if text[max(start - 1, 0) : start].isalpha() and text[end : end + 1].isalpha():
        return False
    lengths: list[int] = []
    for place, (first, last) in enumerate(groups):
        # A line break may split a group of four.
        if place and lengths[-1] < 4 and "\n" in text[groups[place - 1][1] : first]:
            lengths[-1] += last - first
        else:
            lengths.append(last - first)
    shape = "".join(f"{length}," for length in lengths)
    return bool(IN_FOURS.fullmatch(shape) or CARD_BEFORE.search(before))
