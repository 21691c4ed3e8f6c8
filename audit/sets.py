"""Sets of entries' ids, as PostgreSQL's int8multirange: `{[1,5),[7,8)}` is 1, 2, 3, 4 and 7."""

import re
from bisect import bisect
from collections.abc import Iterable, Iterator

from django.db import models

RANGE = re.compile(r"\[(\d+),(\d+)\)")


class IdsField(models.Field):
    def db_type(self, connection):
        return "int8multirange"


def ranges(text: str) -> list[range]:
    return [range(int(start), int(end)) for start, end in RANGE.findall(text)]


def size(text: str) -> int:
    """How many members the set has."""
    return sum(max(each.stop - each.start, 0) for each in ranges(text))


def members(text: str) -> Iterator[int]:
    for each in ranges(text):
        yield from each


class Union:
    """The union of several sets. Its memory grows with the number of gaps, not of members."""

    def __init__(self, texts: Iterable[str]):
        self.ranges: list[range] = []
        for each in sorted((each for text in texts for each in ranges(text)), key=by_start):
            if self.ranges and each.start <= self.ranges[-1].stop:
                end = max(each.stop, self.ranges[-1].stop)
                self.ranges[-1] = range(self.ranges[-1].start, end)
            else:
                self.ranges.append(each)

    def __contains__(self, member: int) -> bool:
        place = bisect(self.ranges, member, key=by_start)
        return place > 0 and member in self.ranges[place - 1]

    def __len__(self) -> int:
        return sum(map(len, self.ranges))


def by_start(each: range) -> int:
    return each.start


def as_text(ids: Iterable[int]) -> str:
    """The set of these ids as text. They must be in ascending order."""
    found: list[list[int]] = []
    for each in ids:
        if found and found[-1][1] == each:
            found[-1][1] += 1
        else:
            found.append([each, each + 1])
    return "{" + ",".join(f"[{start},{end})" for start, end in found) + "}"
