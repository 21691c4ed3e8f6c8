"""Numbers per day or hour as a small line without axes, for a row of a table: an SVG with words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

# In units of the viewBox.
WIDTH, HEIGHT = 96, 24
# Room for the line's own thickness and the mark at its end.
MARGIN = 3


@dataclass(frozen=True)
class Sparkline:
    """
    `numbers` has None where there is none, such as the median of nothing: there the line has a gap.
    `labels` are the names of the days or hours. 0 is at the bottom.
    """

    # What the numbers are, as in "Calls per day".
    title: str
    numbers: Sequence[float | None]
    labels: Sequence[str]
    as_words: Callable[[float], str] = "{:,}".format

    width: ClassVar[int] = WIDTH
    height: ClassVar[int] = HEIGHT

    @property
    def is_empty(self) -> bool:
        return all(number is None for number in self.numbers)

    @property
    def known(self) -> list[tuple[int, float]]:
        """(place, number)"""
        return [(place, number) for place, number in enumerate(self.numbers) if number is not None]

    def at(self, place: int, number: float) -> str:
        step = (WIDTH - 2 * MARGIN) / max(len(self.numbers) - 1, 1)
        most = max(number for _, number in self.known) or 1
        x, y = MARGIN + step * place, HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * number / most
        return f"{x:.1f} {y:.1f}"

    @property
    def line(self) -> str:
        """An SVG path; a number between two gaps is a dot."""
        path, last = "", None
        for place, number in self.known:
            follows = last is not None and place == last + 1
            path += f"{'L' if follows else 'M'}{self.at(place, number)}{'' if follows else 'h0'}"
            last = place
        return path

    @property
    def end(self) -> str:
        """An SVG path for a mark at the last number."""
        return f"M{self.at(*self.known[-1])}h0" if self.known else ""

    @property
    def words(self) -> str:
        """Calls per day: 3 (1 Nov), at most 12 (14 Nov), 7 (30 Nov)"""
        if self.is_empty:
            return f"{self.title}: none"
        highest = max(self.known, key=lambda found: found[1])
        said = [self.said(*self.known[0])]
        if highest[1] > max(self.known[0][1], self.known[-1][1]):
            said.append(f"at most {self.said(*highest)}")
        if len(self.known) > 1:
            said.append(self.said(*self.known[-1]))
        return f"{self.title}: {', '.join(said)}"

    def said(self, place: int, number: float) -> str:
        return f"{self.as_words(number)} ({self.labels[place]})"
