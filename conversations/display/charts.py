"""Counts per day, laid out as bars of an SVG."""

from dataclasses import dataclass
from datetime import date

# In units of the viewBox.
HEIGHT = 24
BAR_STEP = 7
BAR_WIDTH = 5
SHORTEST_BAR = 2


@dataclass(frozen=True)
class Day:
    """`whole` unless problems of that day may be missing."""

    date: date
    number: int
    whole: bool


@dataclass(frozen=True)
class Trend:
    """Problems on each day as bars: two paths of an SVG, and the same in words."""

    days: list[Day]

    @property
    def width(self) -> int:
        return BAR_STEP * len(self.days) - BAR_STEP + BAR_WIDTH

    @property
    def height(self) -> int:
        return HEIGHT

    def bars(self) -> str:
        most = max(day.number for day in self.days)
        return "".join(
            bar(
                place * BAR_STEP,
                BAR_WIDTH,
                max(round(HEIGHT * day.number / most, 1), SHORTEST_BAR),
            )
            for place, day in enumerate(self.days)
            if day.number
        )

    def incomplete(self) -> str:
        """The first days, of which problems may be missing."""
        number = sum(not day.whole for day in self.days)
        return bar(0, min(number * BAR_STEP, self.width), HEIGHT) if number else ""

    def words(self) -> str:
        """3 on 12 Nov, 1 on 14 Nov"""
        days = [
            f"{day.number:,} on {day.date.day} {day.date:%b}" for day in self.days if day.number
        ]
        missing = [day.date for day in self.days if not day.whole]
        if missing:
            days.append(f"incomplete until {missing[-1].day} {missing[-1]:%b}")
        return ", ".join(days)


def bar(x: float, width: float, height: float) -> str:
    return f"M{x} {HEIGHT}v-{height}h{width}v{height}z"
