"""Personal data in a text: where it stands, and what is left of it where a text was cut."""

import re
from itertools import accumulate

from .stand_ins import CARD, EMAIL, IBAN, PHONE, stand_in

# E-mail addresses

# Markdown may escape it.
AT = r"(?:\\{0,3}[@＠﹫]|%40)"
# A word has letters and marks of any script; "…" replaces words with digits in normalised errors.
OUTSIDE_WORDS = (
    r"\s\x00-\x20\"(),/:;<=>?@\[\\\]^`{|}~*%＠﹫"
    r"\u2010-\u2025\u2027-\u205e\u3001-\u3003\u3008-\u301f\uff08\uff09\uff0c\uff1a\uff1b\u00ab\u00bb"
)
WORD = rf"[^{OUTSIDE_WORDS}]"
LABEL = rf"[^{OUTSIDE_WORDS}!#$&'+.。．｡]"
# JSON within a text escapes letters; a line break before an address is not part of it.
ESCAPE = r"\\++u[0-9a-fA-F]{4}"
ADDRESS = re.compile(
    rf"""
    (?: (?P<before> (?<!\\) \\++ (?: [bfnrt] | (?!u[0-9a-fA-F]{{4}}) ) )
      | (?<! {WORD} ) (?<! \\ )
    )
    (?: {WORD}++ | %(?!40) | {ESCAPE} )++ {AT}
    (?: (?!\d+\.\d) {LABEL}++ (?: [.。．｡] {LABEL}++ )+ | \[ [\w:.]{{2,45}} \] )
    | (?<![\w\\]) " [^"\\\n]{{1,64}} " {AT} {LABEL}++ (?: [.。．｡] {LABEL}++ )+
    """,
    re.VERBOSE,
)

# Numbers

# Typographic and full-width dashes and spaces too.
JOINT = "[ \\-./()\u00a0\u2007\u2009\u202f\u3000‐‑‒–－（）]"
DATE = (
    r"(?: (?:19|20)\d\d [-./] (?:0?[1-9]|1[0-2]) [-./] (?:0?[1-9]|[12]\d|3[01])"
    r" | (?:0?[1-9]|[12]\d|3[01]) [-./] (?:0?[1-9]|[12]\d|3[01]) [-./] (?:19|20)\d\d ) (?!\d)"
)
LENGTHS = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18
    DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23
    IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27
    MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19
    SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
"""


def iban_pattern() -> str:
    countries: dict[int, list[str]] = {}
    for each in LENGTHS.split():
        countries.setdefault(int(each[2:]), []).append(each[:2])
    return "|".join(
        rf"(?:{'|'.join(names)}) \d\d (?:[ .\-\u00a0]?[A-Z0-9]){{{length - 4}}}"
        for length, names in countries.items()
    )


NUMBER = re.compile(
    rf"""
    # What any of them begins with: most letters of a text are none of it.
    (?= [\d+＋(（] | [A-Za-z]{{2}}\d\d | [a-fA-F][0-9a-fA-F]{{7}}- )
    (?: (?P<kept>
            (?<![\w-]) [0-9a-fA-F]{{8}} (?:-[0-9a-fA-F]{{4}}){{3}} -[0-9a-fA-F]{{12}} (?![\w-])
          | (?<![\d.]) {DATE}
          | (?<![\d.]) \d{{1,3}} (?:\.\d{{1,3}}){{3}} (?! [.\-]? \d)
        )
      | (?P<iban> (?<![^\W_]) (?ai: {iban_pattern()} ) (?![A-Za-z0-9]) )
      | (?P<number> (?<!\d) [+＋]? (?:[(（]\+?)? \d
            (?: \d | {JOINT}{{1,3}} (?! {DATE} | \d\d?:\d\d ) \d ){{6,}}+
        )
    )
    """,
    re.VERBOSE,
)
DIGITS = re.compile(r"\d+")
DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
# One run of digits that is a phone number nevertheless.
PLAIN_PHONE = re.compile(r"0[1-9]\d{7,13}|00[1-9]\d{7,12}|1?[2-9]\d\d[2-9]\d{6}")
# What people and programs call a phone number. Short ones are words of their own.
PHONE_NAME = (
    r"phone|mobile|mobil(?:nummer|n[ií])|msisdn|whats[ _-]?app|t[eé]l[eéè](?:f|ph)[oó]n|telefon"
    r"|телефон|puhelin|landline|celular|m[oó]vil|tālrun|전화|휴대폰|هاتف|电话|電話|手机|手機"
    r"|(?:contact|handy|call[ _-]?back|ruf)[ _-]?(?:number|nummer|num|no\b)"
)
PHONE_WORD = (
    rf"(?:\w*(?:{PHONE_NAME})\w*"
    r"|tel(?:e[pf]\w*)?|mob\w*|cell\w*|fax\w*|call\w*|sms|gsm|tlf|handy)"
)
# A name and its value in JSON, in a dict of Python's or in Markdown, within a text: with quotes
# that may be escaped several times.
QUOTES = r"[\\\"'`*_]{0,9}"
ASSIGNED = rf"{QUOTES}\s{{0,3}}[:=,|]{{1,2}}>?[\[{{(\s\\\"'`*_]{{0,16}}"
AFTER_PHONE_WORD = re.compile(
    rf"(?<!\w){PHONE_WORD}(?:"
    rf"[^\w\n]{{0,3}}(?:\w{{1,8}}[^\w\n]{{1,3}}){{0,3}}"
    rf"|{ASSIGNED}(?:\w{{1,20}}{ASSIGNED}){{0,2}})$",
    re.IGNORECASE,
)
# Whether that is worth looking for at all.
PHONE_HINT = re.compile(
    r"pho|mob|tel|tél|cel|fax|cal|sms|gsm|tlf|han|msi|wha|con|ruf|lan|puh|móv|mov|tāl|тел|전화|휴대|هات|电|電|手",
    re.IGNORECASE,
)
PHONE_KEY = re.compile(
    rf"{PHONE_NAME}|(?<![a-z])(?:tel|fax|sms|cell|gsm|tlf|handy|mobil)(?![a-z])", re.IGNORECASE
)
THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:[ .\u00a0\u2009\u202f]\d{3})+(?:[.,]\d{1,2})?")
DECIMALS = re.compile(r"(?:0|[1-9]\d*)\.\d+(?: +\d+\.\d+)*")
ENUMERATION = re.compile(r"^\d{1,2}\) +")
YEARS = re.compile(r"(?:19|20)\d\d[-–/.](?:\d{4,})|(?:19|20)\d\d ?[-–] ?(?:19|20)\d\d")
MONEY_BEFORE = re.compile(r"[$€£¥₹₽]\s?$|\b(?:EUR|USD|GBP|JPY|CHF|SEK|NOK|DKK|PLN)\s$")
MONEY_AFTER = re.compile(
    r"[.,]\d\d(?!\d)|\s?(?:[$€£¥₹₽%]|(?:EUR|USD|GBP|JPY|CHF|SEK|NOK|DKK|PLN)\b)"
)

# Whether there is anything to look for at all.
MAY_HAVE_ADDRESS = re.compile(AT)
MAY_HAVE_NUMBER = re.compile(r"\d(?:\W{0,3}\d){6}")

# What may be left of an address, number or IBAN at the end or the start of a cut text: a word, four
# or more digits, groups of four. We look for them in REACH characters only.
REACH = 320
LAST = [
    re.compile(rf"(?<!{WORD}) (?: {WORD}++ | [%@＠﹫\\] )++ \Z", re.VERBOSE),
    re.compile(
        rf"(?<!\d) [+＋(（]* \d (?: {JOINT}{{0,3}}+ \d ){{3,}}+ {JOINT}{{0,3}} \Z", re.VERBOSE
    ),
    re.compile(
        r"(?<![^\W_])(?i:[a-z]{2}\d\d(?:[ .\-\u00a0]?[a-z0-9]{4})*[ .\-\u00a0]?[a-z0-9]{0,3}\Z)"
    ),
]
FIRST = [
    re.compile(rf"(?: {WORD}++ | [%@＠﹫\\] )++ (?: {JOINT}{{1,3}}+ \d+ )*+", re.VERBOSE),
    re.compile(rf"{JOINT}{{0,3}}+ \d (?: {JOINT}{{0,3}}+ \d ){{3,}}+", re.VERBOSE),
    re.compile(
        r"[A-Z0-9]{1,4}(?:[ .\-\u00a0]?[A-Z0-9]{4})+(?:[ .\-\u00a0]?[A-Z0-9]{1,4})?(?![A-Za-z0-9])"
    ),
]


def without_cut_ends(text: str, cut_start: bool, cut_end: bool) -> tuple[str, str]:
    """What was dropped at the start of the text, and the text without what may be cut in two."""
    if cut_end:
        ends = (pattern.search(text, max(len(text) - REACH, 0)) for pattern in LAST)
        text = text[: min((found.start() for found in ends if found), default=len(text))]
    if not cut_start:
        return "", text
    starts = (pattern.match(text[:REACH]) for pattern in FIRST)
    start = max((found.end() for found in starts if found), default=0)
    return text[:start], text[start:]


def masked_words(text: str, *, is_phone: bool = False, dropped: str = "") -> str:
    """`dropped` is what was cut off before the text: it may say that a number is a phone's."""
    if MAY_HAVE_ADDRESS.search(text):
        text = ADDRESS.sub(masked_address, text)
    if MAY_HAVE_NUMBER.search(text):
        text = NUMBER.sub(lambda found: masked_number(found, is_phone, dropped), text)
    return text


def masked_address(found: re.Match) -> str:
    before = found["before"] or ""
    return f"{before}{stand_in(EMAIL, found[0][len(before) :])}"


# Numbers


def masked_number(found: re.Match, is_phone: bool, dropped: str = "") -> str:
    words = found[0]
    if found["kept"]:
        return words
    if found["iban"]:
        if is_iban(words):
            return stand_in(IBAN, words)
        return words[:4] + NUMBER.sub(lambda inner: masked_number(inner, is_phone), words[4:])
    before = (dropped[-80:] + found.string[max(found.start() - 80, 0) : found.start()])[-80:]
    after = found.string[found.end() : found.end() + 8]
    pieces, done = [], 0
    for start, end in card_numbers(words):
        pieces += [masked_phones(words[done:start], before, "", is_phone)]
        pieces.append(stand_in(CARD, words[start:end]))
        before, done = "", end
    pieces.append(masked_phones(words[done:], before, after, is_phone))
    return "".join(pieces)


def is_iban(words: str) -> bool:
    letters = "".join(letter for letter in words if letter.isalnum())
    return int("".join(str(int(each, 36)) for each in letters[4:] + letters[:4])) % 97 == 1


def card_numbers(words: str) -> list[tuple[int, int]]:
    """The (start, end) of the longest card numbers within a number."""
    groups = [found.span() for found in DIGITS.finditer(words)]
    # 20 digits of a group suffice: with more than 19, it is not part of a card.
    digits = [words[start:end][:20] for start, end in groups]
    ends = [0, *accumulate(map(len, digits))]
    if ends[-1] < 13:
        return []
    # Luhn sums up to each digit, with the odd or the even places doubled.
    numbers = list(enumerate(map(int, "".join(digits))))
    sums = [
        [0, *accumulate(DOUBLED[digit] if place % 2 == odd else digit for place, digit in numbers)]
        for odd in (0, 1)
    ]
    found, place, other = [], 0, 0
    while place < len(groups):
        first, last, leading = ends[place], None, int(digits[place][0])
        # Only airlines' cards begin with a 1, and none with a 0.
        lengths = range(13, 20) if leading > 1 else (15,) if leading else ()
        while other < len(ends) and ends[other] < first + 13:
            other += 1
        for end in range(other, min(other + 7, len(ends))):
            length = ends[end] - first
            # The last digit counts once, the one before it doubled, and so on.
            total = sums[ends[end] % 2][ends[end]] - sums[ends[end] % 2][first]
            if length in lengths and total % 10 == 0:
                last = end
        if last:
            found.append((groups[place][0], groups[last - 1][1]))
        place = last or place + 1
    return found


def masked_phones(words: str, before: str, after: str, is_phone: bool) -> str:
    digits = sum(map(str.isdecimal, words))
    if digits < 7:
        return words
    if digits > 15:
        # Several numbers side by side.
        parts = re.split(r"(/| {2,}| [-–] )", words)
        if len(parts) > 1:
            parts[::2] = (masked_phones(part, "", "", is_phone) for part in parts[::2])
            return "".join(parts)
        groups = DIGITS.findall(words)
        in_fours = len(groups) > 1 and all(3 <= len(group) <= 5 for group in groups)
        is_found = words[0] in "+＋" or (in_fours and digits <= 20)
        return stand_in(PHONE, words) if is_found else words
    number = ENUMERATION.sub("", words).strip(" -./)\u00a0")
    if number.startswith("(") and number.count("(") > number.count(")"):
        number = number[1:]
    if number and is_phone_number(number, before, after, is_phone):
        return words.replace(number, stand_in(PHONE, number), 1)
    return words


def is_phone_number(number: str, before: str, after: str, is_phone: bool) -> bool:
    if number.lstrip("(（")[0] in "+＋":
        return not before[-1:].isdecimal()
    if is_phone:
        return True
    groups = DIGITS.findall(number)
    # A JSON escape before a number is not a letter.
    hangs_on = before[-1:].isalnum() and not re.search(r"\\[bfnrt]$", before)
    if len(groups) == 1 and (hangs_on or before[-1:] == "_" or re.match(r"\w", after)):
        return False
    if PHONE_HINT.search(before) and AFTER_PHONE_WORD.search(before):
        return True
    if len(groups) == 1:
        is_id = re.search(r"[^\W\d_]-$|[#№/=]$", before)
        return not is_id and bool(PLAIN_PHONE.fullmatch(number))
    joints = set(number) - set("".join(groups))
    if (hangs_on or re.search(r"\w-$", before)) and joints <= {"-"}:
        return False
    if MONEY_BEFORE.search(before) or MONEY_AFTER.match(after):
        return False
    if DECIMALS.fullmatch(number) or YEARS.fullmatch(number):
        return False
    if THOUSANDS.fullmatch(number) and len(groups[0]) < 3:
        return False
    return all(2 <= len(group) <= 9 for group in groups[1:]) and len(groups[0]) <= 9
