"""
Decides which search hits count for someone who does not see personal data.

A hit inside a masked value would reveal, letter by letter, what the mask hides. So a hit counts
only if it lies outside every masked value or covers one completely: then the searcher knew it.
"""

import re

from .personal_data import mask
from .spelling import ALIKE, DIGITS, Spelling
from .stand_ins import IBAN

AT = r"(?:\\{0,3}[@＠﹫]|%40)"
# Characters that join the digits of a number, in every spelling.
JOINT = (
    " \\-./()_*~`\n\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff\ufe0f"
)
JOINT += "".join(chr(code) for code, by in ALIKE.items() if by in " -./()_\n")

# PostgreSQL regular expressions: a character that separates addresses from other words, and one
# that is part of an address.
SEPARATOR = r"[[:space:]\"(),/:;<=>?\[\\\]^`{|}~*]"
LETTER = r"[^[:space:]\"(),/:;<=>?@\[\\\]^`{|}~*%＠﹫]"
# PostgreSQL's own digit class only has ASCII digits.
DIGIT = f"[0-9{''.join(DIGITS)}]"
JOINTS = f"[{JOINT.replace(chr(92) + '-', '')}-]"
ESCAPE = r"(%[0-9a-f]{2}|&[#a-z0-9]{1,31};|\\+[a-z][0-9a-f]{0,4})"
GAP = rf"({JOINTS}|{ESCAPE}){{0,5}}"
# An IBAN that begins here, or that began further left: groups with a digit, or of four letters. The
# letters and digits of escapes count as groups, which is four times as fast as excluding them.
IBAN_GAP = rf"[&;%#\\{JOINTS[1:]}{{0,5}}"
IBAN_HERE = rf"(?![a-z]{{2}}[ -]?{DIGIT}{{2}}({IBAN_GAP}[a-z0-9]){{11}})"
IBAN_BEFORE = (
    rf"(?<!\m[a-z]{{2}}[ -]?{DIGIT}{{2}}"
    rf"({IBAN_GAP}([a-z0-9]*[0-9][a-z0-9]*|[a-z]{{4}}|&[a-z]{{2,31}};)){{0,16}}{IBAN_GAP})"
)
# Not inside an escape.
NOT_ESCAPED = r"(?<!&[#a-z0-9]{0,31})(?<!%[0-9a-f]?)(?<!\\[a-z]?[0-9a-f]{0,4})"
# What may stand between the parts of an address: Markdown and escapes. Then the @, also in HTML.
MARKUP = r"[*_`~\\]{0,6}"
AT_SIGN = r"([@＠﹫]|&(#0*64|#x0*40|commat);)"
NOT_AFTER_AT = rf"(?<!{AT_SIGN}{MARKUP})"
NOT_BEFORE_AT = rf"(?!{MARKUP}[@＠﹫])"
NOT_BEFORE_ENTITY = r"(?![^[:space:]@＠﹫]{0,64}&(#0*64|#x0*40|commat);)"
# The end of a word that is not an address, not even a quoted one or one with escaped letters.
END = (
    rf"{NOT_BEFORE_AT}(?![^\"\n]{{0,64}}\"[@＠﹫])(?!\\+u[0-9a-f]{{4}})"
    rf"($|{SEPARATOR}|%(?![0-9a-f]{{2}}))"
)


NEVER = "(?!.)."
# Part of an escape, or all of one.
PIECE_OF_ESCAPE = re.compile(r"&[#\w]*(;|$)|%[0-9a-f]{2}|\\|^[#\w]{0,31};\S", re.IGNORECASE)

# Whether a text may contain anything to mask: a term's full pattern takes 30 times as long.
MAY_HOLD = (
    r"[@＠﹫]|%[0-9A-Fa-f]{2}|&[#A-Za-z]|\\[a-zA-Z]"
    rf"|(?<![[:alnum:]])[A-Za-z]{{2}}[ -]?{DIGIT}{{2}}"
    rf"|{DIGIT}([^[:alnum:]]{{0,5}}{DIGIT}){{6}}"
)


def counts(text: str, start: int, end: int) -> bool:
    """Whether all of a hit is masked, or none of it."""
    parts = (text[:start], text[start:end], text[end:])
    return "".join(map(mask, parts)) == mask(text)


def pattern(term: str) -> str:
    """
    A PostgreSQL regular expression, to be matched case-insensitively, that finds the term wherever
    a hit counts. In doubt it finds nothing, for example inside a long number that is not masked.
    """
    # The end of a quoted address that begins outside the term.
    if term.count('"') % 2 and re.search(rf'"{AT}', term):
        return NEVER
    if PIECE_OF_ESCAPE.search(term) and mask(term.lower()) == term.lower():
        return NEVER
    words = term.split() or [""]
    first, last = (Spelling(word.lower()).plain for word in (words[0], words[-1]))
    # Unless the term contains a whole IBAN, none of its words may begin one.
    ibans = f"[{IBAN} " in mask(term)
    iban_here = "" if ibans else IBAN_HERE
    literal = "".join(
        iban_here + part if part.isalnum() else re.sub(r"([^\w\s])", r"\\\1", part)
        for part in re.split(r"([^\W_]+)", term)
    )
    # An address in the term must match from its first to its last letter.
    begins = r"(^|[[:space:]])" if first.startswith("@") else f"(^|{SEPARATOR})"
    left = "" if "@" in first else f"{LETTER}*"
    right = r"\.?" if "@" in last else f"{LETTER}*"
    before = after = ""
    joint = rf"[{JOINT}]"
    if re.match(rf"[+＋(（]*{joint}*\d", term):
        # An opening bracket belongs to the number only together with its closing one.
        opening = "(（" if term.count(")") > term.count("(") else ""
        before = rf"(?<!({DIGIT}{GAP}|[+＋{opening}]|{ESCAPE}))"
    if digits := re.search(rf"(?:[\d+＋(（]{joint}*)+$", term):
        # Only numbers of seven digits or more are masked.
        left_over = max(7 - sum(map(str.isdecimal, digits[0])), 1)
        after = rf"(?!({GAP}{DIGIT}){{{left_over}}}|{JOINTS}{{0,5}}{ESCAPE})"
    # The beginning of a percent-encoded @.
    ends = "(?![0-9a-f]{2})" if term.endswith("%") else "(?!0)" if term.endswith("%4") else ""
    within = NOT_AFTER_AT + ("" if ibans else IBAN_BEFORE + IBAN_HERE)
    begins = f"{begins}{within}{left}{NOT_ESCAPED}"
    return rf"{begins}{before}{literal}{NOT_BEFORE_ENTITY}{ends}{after}{right}{END}"
