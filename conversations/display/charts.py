"""Lays out counts per day or hour as small bars without an axis of their own."""

from dataclasses import dataclass
from datetime import datetime

from backoffice.words import local

# In units of the viewBox.
HEIGHT = 24
BAR_STEP = 7
BAR_WIDTH = 5
SHORTEST_BAR = 2


@dataclass(frozen=True)
class Bar:
    """The problems from `start` on; `whole` is False if some of them may be missing."""

    start: datetime
    number: int
    whole: bool


@dataclass
class Trend:
    """
    The problems of each day or hour as bars: two SVG paths, and the same in words. `most` is the
    height of the highest bar, in this trend or in all trends on the page.
    """

    all: list[Bar]
    by_hour: bool = False
    most: int = 0

    def __post_init__(self):
        self.most = self.most or max(each.number for each in self.all)

    @property
    def width(self) -> int:
        return BAR_STEP * len(self.all) - BAR_STEP + BAR_WIDTH

    @property
    def height(self) -> int:
        return HEIGHT

    def bars(self) -> str:
        return "".join(
            bar(
                place * BAR_STEP,
                BAR_WIDTH,
                max(round(HEIGHT * each.number / self.most, 1), SHORTEST_BAR),
            )
            for place, each in enumerate(self.all)
            if each.number
        )

    def incomplete(self) -> str:
        """Covers the first bars, in which problems may be missing."""
        number = sum(not each.whole for each in self.all)
        return bar(0, min(number * BAR_STEP, self.width), HEIGHT) if number else ""

    def words(self) -> str:
        """3 on 12 Nov, 1 on 14 Nov"""
        found = [
            f"{each.number:,} {'at' if self.by_hour else 'on'} {self.named(each.start)}"
            for each in self.all
            if each.number
        ]
        missing = [each.start for each in self.all if not each.whole]
        if missing:
            found.append(f"incomplete until {self.named(missing[-1])}")
        return ", ".join(found)

    def named(self, start: datetime) -> str:
        """12 Nov, or 14:00 with its time zone, because an hour may occur twice."""
        here = local(start)
        return f"{here:%H:%M} {here.tzname()}" if self.by_hour else f"{here.day} {here:%b}"


def bar(x: float, width: float, height: float) -> str:
    return f"M{x} {HEIGHT}v-{height}h{width}v{height}z"
