"""
Finds texts that resemble redacted words but would be left: other endings, parts of a name, other
spellings and separators. The admin decides about each.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from ..agentdb.conventions import REDACTED
from .spellings import FEWEST_DIGITS, Normal, Words, normalised, number_letters, plain

# How many different forms are collected.
MOST_KNOWN = 2_000
# A text with more words is not a name.
MOST_PARTS = 4
SHORTEST_PART = 3
LONGEST_ENDING = 4
# In shorter words, changing one letter makes another word.
LONG = 5
FEWEST_NEAR_DIGITS = FEWEST_DIGITS - 1
COUNTRY_CODE = 3
GONE = "\x00"

WORD = re.compile(r"[^\W\d_]+")
JOINT = r"[\W_]{0,3}?"
NAME_JOINT = r"[ ._+/-]{0,2}"


@dataclass(frozen=True)
class Form:
    text: str
    times: int


class Letters(dict):
    """A table for str.translate() that maps each letter to the letter without marks."""

    def __missing__(self, code: int) -> int:
        self[code] = ord(unicodedata.normalize("NFD", chr(code))[0])
        return self[code]


BARE = Letters({ord(one): ord(other) for one, other in zip("øłđħ", "oldh", strict=True)})


def bare(normal: str) -> str:
    """The text without marks, still one character for each character."""
    return normal if normal.isascii() else normal.translate(BARE)


class Near:
    """Collects similar forms from the texts passed to look()."""

    def __init__(self, words: str):
        self.words = Words([words])
        self.normal = normalised(words).strip()
        # In an e-mail address, only the part before the @ may be a name.
        found = WORD.findall(self.normal.partition("@")[0])
        self.parts = [part for part in found if len(part) >= SHORTEST_PART]
        if len(found) > MOST_PARTS:
            self.parts = []
        self.longer = [re.compile(each) for each in longer_forms(self.normal, self.parts)]
        self.other = [re.compile(each) for each in other_forms(self.normal, self.parts)]
        self.is_near: dict[str, bool] = {}
        self.times: Counter[str] = Counter()
        self.spelled: dict[str, str] = {}
        self.is_cut = False

    def look(self, text: str):
        """Search a text as it is stored."""
        if not self.longer and not self.other:
            return
        form = Normal(plain(text).replace(REDACTED, GONE * len(REDACTED)))
        for place in self.places(form.normal):
            self.add(form, *place)

    def places(self, normal: str) -> list[tuple[int, int]]:
        seen = {found.span() for each in self.longer for found in each.finditer(normal)}
        rest = bare(without(normal, [*self.words.places(normal), *seen]))
        others = [found.span() for each in self.other for found in each.finditer(rest)]
        rest = without(rest, others)
        words = WORD.finditer(without(normal, find_gone(rest))) if self.parts else ()
        return [*seen, *others, *(found.span() for found in words if self.knows(found[0]))]

    def knows(self, word: str) -> bool:
        if word not in self.is_near:
            self.is_near[word] = any(self.looks_like(part, word) for part in self.parts)
        return self.is_near[word]

    def looks_like(self, part: str, word: str) -> bool:
        one, other = bare(part), bare(word)
        if one == other:
            return True
        if other.startswith(one) and len(other) <= len(one) + LONGEST_ENDING:
            return True
        return len(one) >= LONG and is_one_letter_off(one, other)

    def add(self, form: Normal, start: int, end: int):
        key = form.normal[start:end]
        if key not in self.spelled:
            if len(self.spelled) >= MOST_KNOWN:
                self.is_cut = True
                return
            first, last = form.span((start, end))
            self.spelled[key] = form.text[first:last]
        self.times[key] += 1

    def forms(self) -> list[Form]:
        """Most frequent first."""
        return [Form(self.spelled[key], times) for key, times in self.times.most_common()]


def longer_forms(normal: str, parts: list[str]) -> Iterator[str]:
    """Patterns for longer forms: the words with an ending, or with a country code in front."""
    if parts:
        yield rf"(?<![^\W_]){re.escape(normal)}[^\W\d_]{{1,{LONGEST_ENDING}}}(?![^\W_])"
    if digits := number(normal):
        yield rf"[+(]{{0,2}}(?<!\d)(?:\d[ ()-]{{0,2}}){{1,5}}{JOINT.join(digits)}(?!\d)"


def other_forms(normal: str, parts: list[str]) -> Iterator[str]:
    """Patterns for the same letters or digits joined differently, in a text without marks."""
    if len(parts) > 1:
        bare_parts = [*map(bare, parts)]
        yield rf"(?<![^\W_]){NAME_JOINT.join(bare_parts)}(?![^\W_])"
        # With the last name first.
        yield rf"(?<![^\W_]){bare_parts[-1]},? ?{NAME_JOINT.join(bare_parts[:-1])}(?![^\W_])"
    if digits := number(normal):
        yield rf"[+(]{{0,2}}(?<!\d){JOINT.join(digits)}(?!\d)"
        if normal.startswith(("+", "00", "(+")):
            for length in range(1, COUNTRY_CODE + 1):
                if len(digits) - length >= FEWEST_NEAR_DIGITS:
                    yield rf"\(?(?<!\d)(?:0{JOINT})?{JOINT.join(digits[length:])}(?!\d)"
    elif letters := number_letters(normal):
        yield rf"(?<![^\W_]){JOINT.join(letters)}(?![^\W_])"


def number(normal: str) -> str:
    """The digits, if the text is a single number and nothing else."""
    digits = "".join(re.findall("[0-9]", normal)).removeprefix("00")
    return digits if len(digits) >= FEWEST_NEAR_DIGITS and not WORD.search(normal) else ""


def without(text: str, places: Iterable[tuple[int, int]]) -> str:
    """The text with these places blanked; its length stays the same."""
    places = list(places)
    if not places:
        return text
    letters = list(text)
    for start, end in places:
        letters[start:end] = GONE * (end - start)
    return "".join(letters)


def find_gone(text: str) -> Iterator[tuple[int, int]]:
    return (found.span() for found in re.finditer(f"{GONE}+", text))


def is_one_letter_off(one: str, other: str) -> bool:
    """Whether one letter was changed, added or left out, or two letters were swapped."""
    if abs(len(one) - len(other)) > 1:
        return False
    short, long = sorted((one, other), key=len)
    pairs = zip(short, long, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    if len(short) < len(long):
        return short[same:] == long[same + 1 :]
    swapped = short[same + 1 : same + 2] + short[same : same + 1] + short[same + 2 :]
    return short[same + 1 :] == long[same + 1 :] or swapped == long[same:]
