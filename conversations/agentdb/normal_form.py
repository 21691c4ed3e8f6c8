"""
The normal form in which texts and searches are compared: `normalised()` in Python, `sql()` in SQL.

Both are made from the tables below and agree on every character of Unicode 13, the oldest version
that PostgreSQL 14 to 18 use. The normal form ignores case and how letters are composed, writes
quotes, white space and digits in one way, leaves out zero-width characters, and turns JSON's
`\\uXXXX` into its letter.

Our indexes are built on the SQL: whoever changes it or a table makes every operator rebuild them.
It must not raise for any text, or the runtime could not write that text.
"""

import json
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable
from functools import cache

# The tables. Their characters are those of text that was decomposed (NFD) and lowered before.

# Ranges of a regular expression, valid in both languages: soft hyphen, joiners, direction marks,
# variation selectors, byte order mark.
DROPPED = (
    r"\u00ad\u034f\u061c\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    r"\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef"
)
OTHER_SPACES = r"\t-\r\x1c-\x1f\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# Single spaces are left out because they need no work.
SPACES = f"[ {OTHER_SPACES}]{{2,}}|[{OTHER_SPACES}]"
# {replacement: characters}
COMMON = {
    '"': "\u00ab\u00bb\u201c\u201d\u201e\u201f\uff02",
    "'": "\u00b4\u02bc\u2018\u2019\u201a\u201b\u2039\u203a\uff07",
    "i": "\u0131",
    "\u03c3": "\u03c2",
}
# Searched for only in texts that contain some of these. After each zero come its nine digits.
ZEROS = (
    "\u0660\u06f0\u07c0\u0966\u09e6\u0a66\u0ae6\u0b66\u0be6\u0c66\u0ce6\u0d66\u0de6\u0e50\u0ed0"
    "\u0f20\u1040\u1090\u17e0\u1810\u1946\u19d0\u1a80\u1a90\u1b50\u1bb0\u1c40\u1c50\ua620\ua8d0"
    "\ua900\ua9d0\ua9f0\uaa50\uabf0\uff10\U000104a0\U00010d30\U00011066\U000110f0\U00011136"
    "\U000111d0\U000112f0\U00011450\U000114d0\U00011650\U000116c0\U00011730\U000118e0\U00011950"
    "\U00011c50\U00011d50\U00011da0\U00016a60\U00016ac0\U00016b50\U0001d7ce\U0001d7d8\U0001d7e2"
    "\U0001d7ec\U0001d7f6\U0001e140\U0001e2f0\U0001e950\U0001fbf0"
)
DIGITS = {str(value): "".join(chr(ord(zero) + value) for zero in ZEROS) for value in range(10)}
# Variant shapes of a letter, and the plain letters.
SHAPES = ("ſµϐϑϕϖϰϱϵᲀᲁᲂᲃᲄᲅᲆᲇᲈ", "sμβθφπκρεвдосттъѣꙋ")
# Single letters that stand for several.
SEVERAL = {
    **{"ß": "ss", "ŉ": "'n", "ẚ": "aʾ", "ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl"},
    **{"ﬅ": "st", "ﬆ": "st", "և": "եւ", "ﬓ": "մն", "ﬔ": "մե", "ﬕ": "մի", "ﬖ": "վն", "ﬗ": "մխ"},
}
# Apart from the letters above, only these become one of them when lowered.
BEFORE_LOWERING = "ẛẞ"

# A JSON escape without its backslash, but not half a surrogate pair, nor the character 0, which
# PostgreSQL cannot store. A pair stands for one character.
HEX = "[0-9a-fA-F]"
HIGH, LOW = rf"u[dD][89abAB]{HEX}{{2}}", rf"u[dD][c-fC-F]{HEX}{{2}}"
SINGLE = rf"u(?!0000|[dD][89a-fA-F]){HEX}{{4}}"


@cache
def as_class(characters: str) -> str:
    """A regular expression's character class, in ASCII, as both languages understand it."""
    codes = sorted(map(ord, characters))
    pieces, first = [], 0
    for place, code in enumerate(codes, 1):
        if place == len(codes) or codes[place] != code + 1:
            pieces.append("-".join(map(escaped, sorted({codes[first], code}))))
            first = place
    return f"[{''.join(pieces)}]"


def escaped(code: int) -> str:
    return rf"\u{code:04x}" if code < 65536 else rf"\U{code:08x}"


# In SQL

ESCAPED = rf"\\u{HEX}{{4}}"
NEEDS_FOLDING = rf"[^ -~]|  |{ESCAPED}"
NEEDS_MORE_THAN_SPACES = rf"[^\x01-\x7f]|{ESCAPED}"
RARE = as_class("".join([*DIGITS.values(), SHAPES[0], *SEVERAL, BEFORE_LOWERING]))
NEEDS_ALL = f"{RARE}|{ESCAPED}"
# A text of more bytes is only lowered, and only its beginning counts: PostgreSQL cannot allocate
# more than 1 GB for intermediate results.
LONG = 4_000_000
FIRST_OF_LONG = 50_000_000
FIRST_OF_ERROR = 100_000


def sql(text: str) -> str:
    """
    SQL for the normal form of the SQL expression `text`. Only texts with characters that need them
    go through the expensive steps.
    """
    text = f"({text})"
    lowered = f'lower({text} COLLATE "C")'
    some = common_sql(letters_sql(text))
    all_of_it = common_sql(rare_sql(letters_sql(unescaped_sql(text))))
    return (
        f"CASE WHEN octet_length({text}) > {LONG}"
        f' THEN lower(left({text}, {FIRST_OF_LONG}) COLLATE "C")'
        f" WHEN {is_plain_sql(text)} THEN {lowered}"
        f' WHEN {text} COLLATE "C" !~ {literal(NEEDS_MORE_THAN_SPACES)} THEN {spaces_sql(lowered)}'
        f' WHEN {text} COLLATE "C" !~ {literal(NEEDS_ALL)} THEN {some} ELSE {all_of_it} END'
    )


def error_sql(text: str) -> str:
    """
    The same for errors, repeating `text` less often: few rows have an error, but the expression for
    it is longer. Only the beginning of an error counts.
    """
    text = f"left({text}, {FIRST_OF_ERROR})"
    all_of_it = common_sql(rare_sql(letters_sql(unescaped_sql(text))))
    return f'CASE WHEN {is_plain_sql(text)} THEN lower({text} COLLATE "C") ELSE {all_of_it} END'


def is_plain_sql(text: str) -> str:
    """Whether lower() alone gives the normal form."""
    return f'{text} COLLATE "C" !~ {literal(NEEDS_FOLDING)}'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def replaced_sql(sql: str, pattern: str, by: str) -> str:
    return f"regexp_replace({sql}, {literal(pattern)}, {literal(by)}, 'g')"


def spaces_sql(sql: str) -> str:
    return replaced_sql(sql, SPACES, " ")


def unescaped_sql(sql: str) -> str:
    """
    unistr() raises at any backslash that does not begin one of its own escapes. So all backslashes
    are doubled first, and those that begin an escape it understands are made single again.
    """
    begins = r"(?<!\\)((?:\\\\\\\\)*)\\\\"
    sql = rf"""replace({sql} COLLATE "C", '\', '\\')"""
    sql = replaced_sql(sql, rf"{begins}({HIGH})\\\\({LOW})", r"\1\\\2\\\3")
    sql = replaced_sql(sql, f"{begins}({SINGLE})", r"\1\\\2")
    return f"unistr({sql})"


def letters_sql(sql: str) -> str:
    """Decomposed and lowered; ASCII first, because Turkish and Lithuanian lower I differently."""
    return f'lower(lower(normalize({sql}, NFD) COLLATE "C") COLLATE "default") COLLATE "C"'


def rare_sql(sql: str) -> str:
    for digit, characters in DIGITS.items():
        sql = replaced_sql(sql, as_class(characters), digit)
    sql = f"translate({sql}, {literal(SHAPES[0])}, {literal(SHAPES[1])})"
    for letter, letters in SEVERAL.items():
        sql = f"replace({sql}, {literal(letter)}, {literal(letters)})"
    return sql


def common_sql(sql: str) -> str:
    for by, characters in COMMON.items():
        sql = replaced_sql(sql, as_class(characters), by)
    sql = replaced_sql(sql, f"[{DROPPED}]+", "")
    # The Turkish capital İ leaves its dot behind.
    return f"normalize({replaced_sql(spaces_sql(sql), DOTTED, 'i')}, NFC)"


# In Python

DOTTED = r"i\u0307"
TABLE = {
    **{ord(letter): by for by, letters in {**COMMON, **DIGITS}.items() for letter in letters},
    **{ord(shape): letter for shape, letter in zip(*SHAPES, strict=True)},
    **{ord(letter): letters for letter, letters in SEVERAL.items()},
}
ONE_SPACE = re.compile(SPACES)
REPLACED = [(re.compile(f"[{DROPPED}]+"), ""), (ONE_SPACE, " "), (re.compile(DOTTED), "i")]
ESCAPE = re.compile(rf"(?<!\\)((?:\\\\)*)(\\{HIGH}\\{LOW}|\\{SINGLE})")
ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def normalised(text: str) -> str:
    if text.isascii() and "\\u" not in text:
        return ONE_SPACE.sub(" ", text.lower())
    return folded(ESCAPE.sub(lambda found: found[1] + letter(found[2]), text))


def without_lowering(text: str) -> str:
    """The normal form in a database with the locale C, which lowers only ASCII letters."""
    text = ESCAPE.sub(lambda found: found[1] + letter(found[2]), text)
    return folded(text, lower=lambda letters: letters.translate(ASCII_LOWER))


def folded(text: str, lower: Callable[[str], str] = str.lower) -> str:
    """The normal form of a text without escapes."""
    text = lower(unicodedata.normalize("NFD", text)).translate(TABLE)
    for pattern, by in REPLACED:
        text = pattern.sub(by, text)
    return unicodedata.normalize("NFC", text)


def letter(escape: str) -> str:
    return json.loads(f'"{escape}"')


# Positions

# Letters that are exactly one letter of the normal form. Any that are missing only take longer.
REGULAR = r"!-\[\]-~À-ÖØ-Þà-öø-ÿĀ-įĲ-ňŊ-žΆ-ΡΣ-ρσ-ώЀ-ҁҊ-ԯא-תء-يぁ-ゖァ-ヺ一-鿿가-힣"
# What joins the letter before it: marks, Korean vowels, characters that are left out.
JOINS = re.compile(rf"[{DROPPED}\u1160-\u11ff]")
UNITS = re.compile(
    rf"(?P<plain>[{REGULAR}]+(?: [{REGULAR}]+)*(?=[{REGULAR} ]|\Z))"
    rf"|(?P<escape>\\{HIGH}\\{LOW}|\\{SINGLE})|\\\\|.",
    re.DOTALL,
)


class Positions:
    """The normal form of a text, and the position of each piece of it in the text."""

    def __init__(self, text: str):
        # For each piece, its start in the normal form and in the text.
        self.starts: list[int] = []
        self.sources: list[int] = []
        # Whether each character of the piece is a single character of the text.
        self.is_plain: list[bool] = []
        self.pieces: list[str] = []
        self.length = 0
        self.read(text)
        self.normal = "".join(self.pieces)
        self.starts.append(self.length)
        self.sources.append(len(text))

    def read(self, text: str):
        joined, source = "", 0
        for unit in UNITS.finditer(text):
            words = letter(unit["escape"]) if unit["escape"] else unit[0]
            if not unit["plain"] and joins(words):
                joined += words
                continue
            self.add(folded(joined), source, is_plain=False)
            joined, source = words, unit.start()
            if unit["plain"]:
                self.add(folded(joined), source, is_plain=True)
                joined, source = "", unit.end()
        self.add(folded(joined), source, is_plain=False)

    def add(self, piece: str, source: int, *, is_plain: bool):
        # A space after a space belongs to the same run of white space.
        if piece.startswith(" ") and self.pieces and self.pieces[-1].endswith(" "):
            piece, source = piece[1:], source + is_plain
        if piece:
            self.starts.append(self.length)
            self.sources.append(source)
            self.is_plain.append(is_plain)
            self.pieces.append(piece)
            self.length += len(piece)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The part of the text that became the normal form between these positions."""
        first = bisect_right(self.starts, start) - 1
        last = bisect_right(self.starts, end - 1) - 1
        begins, ends = self.sources[first], self.sources[last + 1]
        if self.is_plain[first]:
            begins += start - self.starts[first]
        if self.is_plain[last]:
            ends = self.sources[last] + end - self.starts[last]
        return begins, ends


def joins(words: str) -> bool:
    first = words[0]
    return unicodedata.category(first)[0] == "M" or bool(JOINS.match(first))


def spans(text: str, terms: Iterable[str]) -> list[tuple[int, int]]:
    """The parts of the text whose normal form is one of these terms: in order, not overlapping."""
    normal = normalised(text)
    found = []
    for term in terms:
        place = normal.find(term) if term else -1
        while place >= 0:
            found.append((place, place + len(term)))
            place = normal.find(term, place + len(term))
    if not found:
        return []
    found.sort()
    # Positions are the same as in the text, unless the text has more to normalise than its case.
    if not (text.isascii() and "\\u" not in text and len(normal) == len(text)):
        positions = Positions(text)
        found = [positions.span(*places) for places in found]
    merged: list[tuple[int, int]] = []
    for start, end in found:
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
