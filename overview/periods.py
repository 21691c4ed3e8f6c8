"""The periods that figures are about, and the days and hours that charts divide them into."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.utils import timezone

from conversations.errors.periods import day_starts, in_utc

from .quarters import QUARTER, unit_start

MOMENT = timedelta(microseconds=1)

DEFAULT = "30d"
CHOICES = [("today", "Today, by hour"), ("7d", "7 days"), ("30d", "30 days")]
DAYS = {"today": 1, "7d": 7, "30d": 30}
# What summaries divide time into.
UNITS = ("day", "week", "month")


@dataclass(frozen=True)
class Span:
    """From `since` on and before `until`."""

    since: datetime
    until: datetime


@dataclass(frozen=True)
class Slice(Span):
    """A day or an hour of a chart; `is_over` unless it goes on after `until`."""

    label: str
    short_label: str
    is_over: bool


@dataclass(frozen=True)
class Compared:
    """A period that ends now, and the one before: by the clock, to the same time of day."""

    shown: Span
    before: Span
    days: int

    @property
    def label(self) -> str:
        return label(self.days, self.shown.until)

    @property
    def before_label(self) -> str:
        if self.days > 1:
            return f"the {self.days} days before, until {clock(self.before.until)}"
        day = last_day(self.before.until)
        is_yesterday = day == timezone.localdate() - timedelta(days=1)
        words = "yesterday" if is_yesterday else f"{day.day} {day:%b}"
        if self.before.until == day_start(day + timedelta(days=1)):
            return words
        return f"{words} until {clock(self.before.until)}"


def quarter_start(moment: datetime) -> datetime:
    return unit_start(moment, QUARTER)


def label(days: int, until: datetime) -> str:
    """Today, 28 Nov (where figures are from then), or Last 7 days."""
    if days > 1:
        return f"Last {days} days"
    day = last_day(until)
    return "Today" if day == timezone.localdate() else f"{day.day} {day:%b}"


def clock(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%H:%M}"


def last_day(until: datetime):
    """The viewer's day that a period ends in."""
    return timezone.localdate(until - MOMENT)


def day_start(day) -> datetime:
    return day_starts(day, 1)[0].astimezone(UTC)


def compared(until: datetime, days: int) -> Compared:
    """The last days up to that moment, and as many before."""
    day, back = last_day(until), timedelta(days=days)
    local = timezone.localtime(until)
    first = day - back + timedelta(days=1)
    return Compared(
        shown=Span(day_start(first), until),
        before=Span(day_start(first - back), in_utc(local.replace(tzinfo=None) - back)),
        days=days,
    )


def slices(name: str, until: datetime) -> list[Slice]:
    """The hours of today, or the days of one of the longer CHOICES."""
    day = last_day(until)
    if name == "today":
        return hours(day_start(day), until)
    starts = [start.astimezone(UTC) for start in day_starts(day, DAYS[name])]
    end = day_start(day + timedelta(days=1))
    return [
        Slice(
            since=start,
            until=min(following, until),
            label=f"{timezone.localtime(start):%a} {short_day(start)}",
            short_label=short_day(start),
            is_over=following <= until,
        )
        for start, following in zip(starts, [*starts[1:], end], strict=True)
    ]


def short_day(start: datetime) -> str:
    local = timezone.localtime(start)
    return f"{local.day} {local:%b}"


def hours(since: datetime, until: datetime) -> list[Slice]:
    """
    Hours by the clock on the wall: 25 where it goes back by an hour, and a shorter one where it
    goes by half an hour.
    """
    starts, end = [since], since
    while end < until or shows_same_hour(starts[-1], end):
        # Every zone's hours and days begin with a quarter of an hour.
        if not shows_same_hour(starts[-1], end):
            starts.append(end)
        end += QUARTER
    ends = [*starts[1:], end]
    changes = len({timezone.localtime(start).utcoffset() for start in starts}) > 1
    return [
        Slice(
            since=start,
            until=min(following, until),
            # An hour may come twice.
            label=f"{clock(start)} {timezone.localtime(start):%Z}" if changes else clock(start),
            short_label=clock(start),
            is_over=following <= until,
        )
        for start, following in zip(starts, ends, strict=True)
    ]


def shows_same_hour(one: datetime, other: datetime) -> bool:
    one, other = timezone.localtime(one), timezone.localtime(other)
    return (one.date(), one.hour, one.utcoffset()) == (other.date(), other.hour, other.utcoffset())
