"""
Which hits of a search count for somebody who does not see personal data.

A hit inside a masked text would tell what the mask hides, letter by letter. So a hit counts only if
it lies outside of what is masked, or covers it whole: then the searcher knew it already.
"""

import re

from .personal_data import mask
from .stand_ins import IBAN

AT = r"(?:\\{0,3}[@＠﹫]|%40)"
JOINT = "[ \\-./()\u00a0\u2007\u2009\u202f\u3000‐‑‒–－（）]"

# Regular expressions of PostgreSQL. What separates addresses from other words, and a letter of one.
SEPARATOR = r"[[:space:]\"(),/:;<=>?\[\\\]^`{|}~*]"
LETTER = r"[^[:space:]\"(),/:;<=>?@\[\\\]^`{|}~*%＠﹫]"
# PostgreSQL's own class of digits has those of ASCII alone.
DIGIT = "[" + "".join(map(chr, filter(lambda code: chr(code).isdecimal(), range(0x20000)))) + "]"
JOINTS = "[" + JOINT[1:-1].replace("\\-", "") + "-]"
# An IBAN that begins here, or has begun before: groups with a digit, or four letters.
IBAN_HERE = rf"(?![a-z]{{2}}{DIGIT}{{2}}([ .\u00a0-]?[a-z0-9]){{11}})"
IBAN_BEFORE = (
    rf"(?<!\m[a-z]{{2}}{DIGIT}{{2}}"
    r"([ .\u00a0-]?([a-z0-9]*[0-9][a-z0-9]*|[a-z]{4})){0,10}[ .\u00a0-]?)"
)
# Between the parts of an address: Markdown, its escapes, and the @ as HTML spells it.
MARKUP = r"[*_`~\\]{0,6}"
AT_SIGN = r"([@＠﹫]|&(#0*64|#x0*40|commat);)"
NOT_AFTER_AT = rf"(?<!{AT_SIGN}{MARKUP})"
NOT_BEFORE_AT = rf"(?!{MARKUP}[@＠﹫])"
NOT_BEFORE_ENTITY = r"(?![^[:space:]@＠﹫]{0,64}&(#0*64|#x0*40|commat);)"
# The end of a word that is no address: nor a quoted one, nor one whose letters are escaped.
END = (
    rf"{NOT_BEFORE_AT}(?![^\"\n]{{0,64}}\"[@＠﹫])(?!\\+u[0-9a-f]{{4}})"
    rf"($|{SEPARATOR}|%(?![0-9a-f]{{2}}))"
)


NEVER = "(?!.)."

# Whether a text may hold anything that is masked: the pattern of a term takes 30 times as long.
MAY_HOLD = (
    rf"[@＠﹫]|%40|&(#|commat)|\\u|[A-Za-z]{{2}}{DIGIT}{{2}}"
    rf"|{DIGIT}([^[:alnum:]]{{0,3}}{DIGIT}){{6}}"
)


def counts(text: str, start: int, end: int) -> bool:
    """Whether a hit is masked as a whole or not at all."""
    parts = (text[:start], text[start:end], text[end:])
    return "".join(map(mask, parts)) == mask(text)


def pattern(term: str) -> str:
    """
    A regular expression of PostgreSQL, to be matched in any case, that finds the term where a hit
    counts. In doubt it finds none: in a long number that is not masked, for one.
    """
    # The end of a quoted address, which begins outside of the term.
    if term.count('"') % 2 and re.search(rf'"{AT}', term):
        return NEVER
    words = term.split() or [""]
    # Unless the term holds a whole IBAN, none of its words may begin one.
    ibans = IBAN in mask(term)
    iban_here = "" if ibans else IBAN_HERE
    literal = "".join(
        iban_here + part if part.isalnum() else re.sub(r"([^\w\s])", r"\\\1", part)
        for part in re.split(r"([^\W_]+)", term)
    )
    # An address in the term must be found from its first to its last letter.
    begins = r"(^|[[:space:]])" if re.match(AT, words[0]) else f"(^|{SEPARATOR})"
    left = "" if re.search(AT, words[0]) else f"{LETTER}*"
    right = r"\.?" if re.search(AT, words[-1]) else f"{LETTER}*"
    before = after = ""
    if re.match(rf"[+＋(（]*{JOINT}*\d", term):
        # An opening bracket is a part of the number only with its closing one.
        opening = "(（" if term.count(")") > term.count("(") else ""
        before = rf"(?<!({DIGIT}{JOINTS}{{0,3}}|[+＋{opening}]))"
    if digits := re.search(rf"(?:[\d+＋(（]{JOINT}*)+$", term):
        # Nothing shorter than seven digits is masked.
        left_over = max(7 - sum(map(str.isdecimal, digits[0])), 1)
        after = rf"(?!({JOINTS}{{0,3}}{DIGIT}){{{left_over}}})"
    # The beginning of an encoded @.
    ends = "(?![0-9a-f]{2})" if term.endswith("%") else "(?!0)" if term.endswith("%4") else ""
    within = NOT_AFTER_AT + ("" if ibans else IBAN_BEFORE + IBAN_HERE)
    return rf"{begins}{within}{left}{before}{literal}{NOT_BEFORE_ENTITY}{ends}{after}{right}{END}"
