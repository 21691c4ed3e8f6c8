"""What is told, and what a reading of a rule is."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Rule:
    name: str
    # Told only if a reading in another quarter of an hour finds it again.
    needs_second_reading: bool = False
    # Whether what holds at the first reading of all counts as old.
    has_baseline: bool = True
    # Whether a subject is told only once, whatever happens to it.
    is_once: bool = False


LATE = Rule("figures late", has_baseline=False)
UNREADABLE = Rule("unreadable", needs_second_reading=True, has_baseline=False)
NEW = Rule("new error", is_once=True)
RISING = Rule("rising error")
RATE = Rule("problem rate", needs_second_reading=True)
SILENT = Rule("silent")


@dataclass(frozen=True)
class Reading:
    """
    What a rule finds at one moment: {subject: details}. What no longer holds is over, which is told
    if it is among `recovered`. Nothing is known of subjects that are `unclear` nor, unless it
    `is_whole`, of any that are not mentioned.
    """

    at: datetime
    holds: dict[str, dict]
    recovered: dict[str, dict] = field(default_factory=dict)
    unclear: set[str] = field(default_factory=set)
    is_whole: bool = True

    def is_over(self, subject: str) -> bool:
        return subject in self.recovered or (self.is_whole and subject not in self.unclear)
