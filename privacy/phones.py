"""Decides which numbers are phone numbers."""

import re
from collections.abc import Iterator
from functools import lru_cache

import phonenumbers
from django.conf import settings

from . import phone_words
from .stand_ins import without_stand_ins

DIGITS = re.compile(r"\d+")
ONLY_DIGITS = re.compile(r"\D+")
COUNTRIES = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
NORTH_AMERICA = COUNTRIES[1]
# Kinds of number, as the library names them.
KINDS = (
    *("fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "personal_number"),
    *("voip", "pager", "uan", "voicemail"),
)
Span = tuple[int, int]
LONGEST = 100
JOINTS = " -./)\n_*~`"
ENUMERATION = re.compile(r"\d{1,2}\) +")
AFTER_HOURS = re.compile(r":\d\d(?!\d)")
LAST_HOURS = re.compile(r"(?<=[ \n])\d\d?$")
WORD_AFTER = re.compile(r"[ ]?[^\W\d]")
# Scripts that write words without spaces in between.
UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)
AFTER_WORD = re.compile(rf"(?!{UNSPACED.pattern})\w|-[^\W\d]")
WORD_BEFORE = re.compile(r"[^\W\d_]-$")
COORDINATE_AFTER = re.compile(r"[ ]?[,;/ °][ ]?[+-]?\d{1,3}\.\d")
COORDINATE_BEFORE = re.compile(
    r"\d\.\d+°?[,;/ ][ ]?$|(?:lat|lon|lng|itude|coord\w*|gps)\W{0,4}$", re.IGNORECASE
)
# A country code after a plus sign, or after the digits that are dialled instead of it.
ABROAD = re.compile(r"\(?(?:\+[ (]*|(?P<exit>00[ \-./(]{0,2}(?=[1-9])|011[ \-.](?=[1-9])))")
EXIT = re.compile(r"(?<![\d.])(?:00|011)")
# Where one number may end and the next begin.
APART = re.compile(r" *[/\n] *| {2,}| - ")
NORTH_AMERICAN = re.compile(
    r"(?<![\d.\-/])(?:1[ .\-])?"
    r"(?:\([2-9]\d\d\)[ \-]{0,2}[2-9]\d\d[ .\-]|[2-9]\d\d(?P<by>[.\-])[2-9]\d\d(?P=by))"
    r"\d{4}(?![.\-/]?\d)"
)

# All North American forms, for when PHONE_REGION is there.
NORTH_AMERICAN_GROUPS = re.compile(r"(?:1\W{0,3})?\(?\d{3}\W{0,3}\d{3}\W{0,3}\d{4}")

# What is not a phone number, whatever comes before it

YEAR, MONTH, DAY = r"(?:19|20)\d\d", r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"
BY = r"(?:[\-./]|\ ?[\-./]\ |\ )"
DATE = (
    rf"(?:{YEAR}{BY}{MONTH}{BY}{DAY}|{DAY}{BY}{DAY}{BY}{YEAR}|{YEAR}{MONTH}(?:0[1-9]|[12]\d|3[01]))"
)
SHORT_DATE = rf"{DAY}[./\-]{DAY}[./\-]\d\d"
TIME = r"(?:[01]?\d|2[0-4])\.?[0-5]\d(?:\.[0-5]\d)?"
MOMENTS = re.compile(
    rf"(?:{DATE}|{SHORT_DATE})(?:(?:[ \n]{{1,3}}|\ -\ |\ ?/\ ?|-(?={DATE}))"
    rf"(?>{DATE}|{SHORT_DATE}|{YEAR}|{TIME}|\d\d?)(?!\d))*+"
    rf"|{YEAR}(?:\ ?[\-/]\ ?|\ )(?:{YEAR}|\d\d)(?:[ \-/]{{1,3}}(?:{YEAR}|\d\d?)(?!\d))*+"
    rf"|(?:{TIME}[ \-/]{{1,3}}){{1,6}}{DATE}"
    rf"|(?:[01]\d|2[0-4])[0-5]\d\ ?-\ ?(?:[01]\d|2[0-4])[0-5]\d"
)
DECIMALS = re.compile(r"\+?(?:0|[1-9]\d{0,7})\.\d+(?:[ /]+[+\-]?\d+\.\d+)*")
# Six or more groups of two, as in a MAC address, or four short ones, as in an IP address.
HARDWARE = re.compile(r"\d\d(?:-\d\d){5}(?:-\d\d){0,2}|\d{1,3}(?:\.\d{1,3}){3}(?:[/ ]\d{1,2})?")
THOUSANDS = re.compile(r"\+?[1-9]\d{0,2}(?:[ .]\d{3})+(?:[.,]\d{1,2})?")
# Product codes such as 978-3-16-148410-0.
BOOK = re.compile(r"97[89][ \-]?\d{1,5}[ \-]\d{1,7}[ \-]\d{1,6}[ \-]\d")
# Includes the largest and smallest 32-bit integers.
PADDED = re.compile(r"0{4,}\d*|(\d)\1+|214748364[78]|429496729[56]")
CURRENCIES = r"EUR|USD|GBP|JPY|CHF|SEK|NOK|DKK|PLN|CZK|HUF|RUB|UAH|TRY|INR|CNY|KRW|BRL|AUD|CAD"
MONEY_BEFORE = re.compile(rf"(?:[$€£¥₹₽₩₺₴]|\b(?:{CURRENCIES}))\s?$")
UNIT_AFTER = re.compile(
    rf"[.,]\d\d(?!\d)|\s?(?:[$€£¥₹₽₩₺₴%°]|(?:{CURRENCIES}|[kKMGT]i?B|bytes?|ms|µs|ns|secs?|seconds?|min|minutes?"
    r"|hours?|px|km|cm|mm|kg|mg|ml|tokens?|rows?|items?|pcs|times|users?|requests?|calls|messages|records|points"
    r"|views|steps|lines|characters|chars|words|euros?|dollars?|people|entries|events|files|customers)\b)"
)


@lru_cache(8192)
def parsed(number: str, country: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(number, country)
    except phonenumbers.NumberParseException:
        return None


@lru_cache(8192)
def is_valid(number: str, country: str | None = None) -> bool:
    found = parsed(number, country)
    return found is not None and phonenumbers.is_valid_number(found)


def is_valid_abroad(digits: str) -> bool:
    """The same for the digits of a number with its country code."""
    codes = (digits[:length] for length in (1, 2, 3) if digits[0] != "0")
    code = next((code for code in codes if int(code) in COUNTRIES), None)
    if not code:
        return False
    valid, prefix = numbers_of(int(code))
    number = digits[len(code) :]
    # The library is needed only where a national prefix may have to be dropped.
    return bool(
        valid.fullmatch(number) or (prefix and prefix.match(number) and is_valid(f"+{digits}"))
    )


@lru_cache(300)
def numbers_of(code: int) -> tuple[re.Pattern, re.Pattern | None]:
    """
    One pattern each for a country code's valid national numbers and its national prefix: the
    library's own checks take ten times as long.
    """
    valid, prefixes = [], []
    for region in COUNTRIES[code]:
        details = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(code, region)
        general = details and details.general_desc
        if not details or not general:
            continue
        for kind in (getattr(details, name) for name in KINDS):
            if kind and kind.national_number_pattern:
                lengths = kind.possible_length or general.possible_length
                length = "|".join(rf"\d{{{each}}}" for each in lengths)
                shapes = (length, general.national_number_pattern)
                ahead = "".join(rf"(?=(?:{shape})\Z)" for shape in shapes)
                valid.append(f"{ahead}(?:{kind.national_number_pattern})")
        prefixes.append(details.national_prefix_for_parsing)
    prefix = "|".join(filter(None, prefixes))
    return re.compile("|".join(valid)), re.compile(prefix) if prefix else None


def phones_in(text: str, start: int, end: int, *, context: str, is_phone: bool) -> Iterator[Span]:
    """
    The positions of phone numbers in a part of a text that consists of digits and what joins them.
    `context` came before the text; `is_phone`: a key says that it holds phone numbers.
    """
    if start == end:
        return
    before = (context + text[max(start - 80, 0) : start])[-80:]
    if not (
        is_phone
        or text[start] in "+("
        or settings.PHONE_REGION
        or phone_words.HINT.search(before.casefold())
        or EXIT.search(text, start, end)
        or NORTH_AMERICAN.search(text, start, end)
    ):
        return
    # Drop hours and minutes that belong to a time: 10:30 28 11 2026 17:24.
    if text[max(start - 2, 0) : start].endswith(":") and text[max(start - 2, 0)].isdecimal():
        start = DIGITS.match(text, start).end()  # type: ignore[union-attr]
    if AFTER_HOURS.match(text, end) and (
        hours := LAST_HOURS.search(text, max(end - 3, start), end)
    ):
        end = hours.start()
    goes_on, former = False, 0
    for first, last, digits in parts(text, start, end):
        is_listed = goes_on and (text[first - 1] != "\n" or digits == former)
        former, goes_on = digits, False
        while digits >= 7:
            found = phone(text, first, last, context, is_phone or is_listed)
            if not found:
                break
            yield found
            digits -= count(text, first, found[1])
            goes_on, first = True, found[1]


def parts(text: str, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """
    (start, end, number of digits) of the parts that may be separate numbers. Digits too few for a
    number belong to those before them.
    """
    ends = [found.span() for found in APART.finditer(text, start, end)]
    if not ends:
        yield from windows(text, start, end, count(text, start, end))
        return
    starts = [start, *(after for _, after in ends)]
    ends.append((end, end))
    digits = [count(text, first, last) for first, (last, _) in zip(starts, ends, strict=True)]
    total = digits[0]
    for number, ((last, following), more) in enumerate(zip(ends, [*digits[1:], 0], strict=True)):
        is_line = "\n" in text[last:following]
        is_last = number + 2 == len(ends)
        words_follow = is_last and WORD_AFTER.match(text, end)
        ends_here = total >= 7 and (more >= 7 or (is_line and (more < 3 or words_follow)))
        if ends_here or following == end:
            yield from windows(text, start, last, total)
            start, total = following, 0
        total += more


def windows(text: str, start: int, end: int, digits: int) -> Iterator[tuple[int, int, int]]:
    """The same, in pieces that are not much longer than a phone number."""
    while end - start > LONGEST:
        places = range(start + LONGEST, start, -1)
        joint = next((place for place in places if not text[place].isdecimal()), 0)
        if not joint:
            # No phone number has that many digits.
            joint = start = DIGITS.match(text, start + LONGEST).end()  # type: ignore[union-attr]
        yield start, joint, count(text, start, joint)
        start = joint
    yield start, end, count(text, start, end)


def phone(text: str, start: int, end: int, context: str, is_phone: bool) -> Span | None:
    """The position of the phone number that begins with these digits, if there is one."""
    while start < end and text[start] in JOINTS:
        start += 1
    if listed := ENUMERATION.match(text, start, end):
        start = listed.end()
    opened, closed = text.count("(", start, end), text.count(")", start, end)
    if text[start] == "(" and opened > closed:
        start += 1
    before = without_stand_ins((context + text[max(start - 80, 0) : start])[-80:])
    after = text[end : end + 16]
    words = text[start:end]
    if (abroad := ABROAD.match(words)) and not before[-1:].isdecimal():
        length = length_abroad(words, abroad, before, after)
        if length:
            return start, start + length
        if not abroad["exit"]:
            return None
    groups = DIGITS.findall(words)
    hangs_on = hangs(before, after, groups, words)
    if is_phone or (not hangs_on and phone_words.is_after_phone_word(before)):
        return None if is_other(words, before, after) or len(words) > 60 else (start, end)
    if hangs_on or phone_words.is_after_thing(before):
        return None
    return at_home(text, start, end, before, after)


def length_abroad(words: str, found: re.Match, before: str, after: str) -> int:
    """The length of the number, which begins with + or an exit code; 0 if it is not a phone's."""
    prefix = found.end()
    digits = 0
    ends = []
    for group in DIGITS.finditer(words, prefix):
        digits += len(group[0])
        if digits > 17:
            break
        if digits >= 7:
            ends.append(group.end())
    if is_coordinate(words, before, after):
        return 0
    for end in reversed(ends):
        if is_valid_abroad(ONLY_DIGITS.sub("", words[prefix:end])):
            return end
    if found["exit"]:
        if not ends or found["exit"] == "011" or phone_words.is_after_thing(before):
            return 0
        number = parsed("+" + ONLY_DIGITS.sub("", words[prefix : ends[-1]]), None)
        is_code = number and re.match(rf"{number.country_code}\b", words[prefix:])
        if not number or not (is_code or phonenumbers.is_possible_number(number)):
            return 0
    return 0 if is_amount(words, before, after) else len(words)


def at_home(text: str, start: int, end: int, before: str, after: str) -> Span | None:
    """The same for numbers without a country code, or North American ones in their usual form."""
    words, country = text[start:end], settings.PHONE_REGION
    usual = NORTH_AMERICAN.search(text, start, end)
    if not (usual or country) or is_other(words, before, after):
        return None
    if country and len(words) <= 30 and is_national(words, country):
        return start, end
    if usual and is_valid_abroad("1" + ONLY_DIGITS.sub("", usual[0])[-10:]):
        return usual.span()
    return None


def is_national(words: str, country: str) -> bool:
    """Whether this is a valid number of the country, written as people there write it."""
    if THOUSANDS.fullmatch(words) and not re.match(r"\d{3}", words):
        return False
    if country in NORTH_AMERICA and not NORTH_AMERICAN_GROUPS.fullmatch(words):
        return False
    details = phonenumbers.PhoneMetadata.metadata_for_region(country)
    trunk = details.national_prefix if details and country not in NORTH_AMERICA else None
    return (
        not trunk or words.lstrip("(").startswith(trunk) or not {"-", "("}.isdisjoint(words)
    ) and is_valid(words, country)


def hangs(before: str, after: str, groups: list[str], words: str) -> bool:
    """Whether the digits are part of a longer word, as in ticket-7012345."""
    is_one_word = len(groups) == 1 or set(words) <= set("-0123456789")
    if before[-1:] == "_" or (before[-1:].isalnum() and not UNSPACED.match(before[-1:])):
        return is_one_word
    if len(groups) == 1 and AFTER_WORD.match(after):
        return True
    return is_one_word and bool(WORD_BEFORE.search(before))


def is_other(words: str, before: str, after: str) -> bool:
    """Whether the form alone shows a date, an amount or another kind of number."""
    if MOMENTS.fullmatch(words) or HARDWARE.fullmatch(words) or BOOK.fullmatch(words):
        return True
    if DECIMALS.fullmatch(words) and len(words.partition(".")[0]) < 3:
        return True
    return bool(
        PADDED.fullmatch(words) or MONEY_BEFORE.search(before[-8:]) or UNIT_AFTER.match(after)
    )


def is_amount(words: str, before: str, after: str) -> bool:
    """Whether what begins with a plus sign is an amount."""
    if not THOUSANDS.fullmatch(words) and not words.strip("+").isdecimal():
        return False
    return bool(UNIT_AFTER.match(after) or MONEY_BEFORE.search(before[-8:]))


def is_coordinate(words: str, before: str, after: str) -> bool:
    if not DECIMALS.fullmatch(words):
        return False
    return bool(COORDINATE_AFTER.match(after) or COORDINATE_BEFORE.search(before[-30:]))


def count(text: str, start: int, end: int) -> int:
    return sum(map(str.isdecimal, text[start:end]))
