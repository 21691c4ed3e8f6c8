"""
Brings what can be written in several ways into one spelling: digits of all scripts, dashes and
spaces of all widths, zero-width characters, and the escapes of URLs, HTML and JSON.

This is for finding values only: they are then replaced in the text as it was written.
"""

import re
import sys
import unicodedata
from bisect import bisect_left, bisect_right
from functools import lru_cache
from html import unescape
from urllib.parse import unquote

DIGITS = [each for each in map(chr, range(128, 0x20000)) if each.isdecimal()]
# One character replaces one character.
ALIKE = {
    **{ord(each): str(unicodedata.decimal(each)) for each in DIGITS},
    **dict.fromkeys(map(ord, "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
                    "\u2009\u200a\u202f\u205f\u3000"), " "),
    **dict.fromkeys(map(ord, "\u0085\u2028\u2029"), "\n"),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\u02d7\u30fc"
                    "\uff70\ufe58\ufe63\uff0d"), "-"),
    **dict(zip(map(ord, "＋﹢⁺（）﹙﹚⁽⁾＠﹫／⁄＿＃"), "+++()()()@@//_#", strict=True)),
    **dict.fromkeys(map(ord, "．․·•‧・"), "."),
}  # fmt: skip
# Zero-width characters, and control characters other than white space.
UNSEEN = (
    r"\x00-\x08\x0e-\x1f\x7f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u202a-\u202e\u2060-\u2064\u2066-\u206f\u20e3\u3164\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
    r"\U000e0001-\U000e007f\U000e0100-\U000e01ef"
)
HEX = "[0-9a-fA-F]"
# Percent signs and ampersands may be escaped too.
PERCENT = "%(?:25)*"
ONE_BYTE, MORE_BYTES = f"[0-7]{HEX}", rf"[c-fC-F]{HEX}(?:{PERCENT}[89abAB]{HEX}){{1,3}}"
NUMERIC = rf"\#(?:[0-9]{{1,7}}|[xX]{HEX}{{1,6}});?"
PAIR = rf"u[dD][89abAB]{HEX}{{2}}\\+u[dD][c-fC-F]{HEX}{{2}}"
OTHERS = "".join(map(re.escape, map(chr, ALIKE)))
# Each alternative begins with a character class, which is fast to search for. Beyond the first
# 65,536 characters that is so for only a few ranges.
BEYOND = "\U00010000-\U000e01ef"
NEARBY = "".join(each for each in OTHERS if ord(each) < 0x10000)
SPECIAL = re.compile(
    rf"""
    [%&\\<{NEARBY}{UNSEEN}{BEYOND}]
    (?: (?P<alike> (?<= [{OTHERS}] ) [{OTHERS}]* )
      | (?P<dropped> (?<= [{UNSEEN}] ) [{UNSEEN}]*
            # Markdown's backslash, and where HTML may break a line.
          | (?<= \\ ) (?<! \\\\ ) \\* (?= [@.\-_+()*~`\#!|] )
          | (?<= < ) wbr\ ?/?> )
      | (?P<percent> (?<= % ) (?:25)* (?: {ONE_BYTE} | {MORE_BYTES} ) )
      | (?P<entity> (?<= & ) (?:amp;)* (?: {NUMERIC} | [A-Za-z]{{2,31}}; ) )
      | (?P<code> (?<= \\ ) (?<! \\\\ ) \\*
            (?: {PAIR} | u{HEX}{{4}} | x{HEX}{{2}} | u\{{{HEX}{{1,6}}\}} | U{HEX}{{8}} ) )
      | (?P<control> (?<= \\ ) (?<! \\\\ ) \\* [nrtfvb] )
    )
    """,
    re.VERBOSE,
)
UNSEEN_ONES = re.compile(f"[{UNSEEN}]+")
CODES = re.compile(rf"{HEX}+")


class Spelling:
    """A text in one spelling, `plain`, and where its characters stand in the original text."""

    def __init__(self, text: str):
        self.plain = text
        # For characters that are written differently: their positions in `plain` and in the text.
        self.places: list[int] = []
        self.sources: list[int] = []
        if SPECIAL.search(text):
            self.read(text)

    def read(self, text: str):
        pieces, length, done = [], 0, 0
        for found in SPECIAL.finditer(text):
            start, end = found.span()
            kind = found.lastgroup
            if kind == "alike":
                pieces += [text[done:start], found[0].translate(ALIKE)]
                length += end - done
                done = end
                continue
            words = "" if kind == "dropped" else decoded(kind, found[0])
            if words is None:
                continue
            pieces += [text[done:start], words]
            length += start - done
            self.places.append(length)
            self.sources.append(start)
            length += len(words)
            self.places.append(length)
            self.sources.append(end)
            done = end
        self.plain = "".join([*pieces, text[done:]])

    def source(self, start: int, end: int) -> tuple[int, int]:
        """Where in the original text the part of `plain` between these positions stands."""
        if not self.places:
            return start, end
        first = bisect_right(self.places, start) - 1
        last = bisect_left(self.places, end)
        if last == len(self.places) or self.places[last] != end:
            last -= 1
        return self.moved(start, first), self.moved(end, last)

    def moved(self, place: int, nearest: int) -> int:
        if nearest < 0:
            return place
        return self.sources[nearest] + place - self.places[nearest]


@lru_cache(4096)
def decoded(kind: str | None, escape: str) -> str | None:
    """What an escape stands for, in one spelling; None if it is not an escape."""
    if kind == "control":
        return "\n" if escape[-1] in "nr" else " "
    if kind == "percent":
        letters = unquote(re.sub(PERCENT, "%", escape))
    elif kind == "entity":
        letters = unescape(re.sub("&(?:amp;)*", "&", escape))
        if len(letters) > 1:
            return None
    else:
        codes = [int(each, 16) for each in CODES.findall(escape.replace("\\", " "))]
        if len(codes) == 2:
            codes = [0x10000 + ((codes[0] - 0xD800) << 10) + codes[1] - 0xDC00]
        letters = chr(min(codes[0], sys.maxunicode))
    return UNSEEN_ONES.sub("", letters).translate(ALIKE)
