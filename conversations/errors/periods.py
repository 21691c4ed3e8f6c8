"""The periods that the page Errors can show, each with the earlier one that it is compared to."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from django.utils import timezone

from backoffice import time_zones

from ..selection.conditions import Period

DEFAULT = "14d"
DAYS = {"today": 1, "7d": 7, "14d": 14, "30d": 30}
CHOICES = [
    ("today", "Today"),
    ("24h", "24 hours"),
    ("7d", "7 days"),
    ("14d", "14 days"),
    ("30d", "30 days"),
]
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Shown:
    """
    What the page shows: from the first of `starts` until just before `until`, with a bar beginning
    at each of `starts`. `before` is the period to compare with.
    """

    starts: list[datetime]
    now: datetime
    before: Period
    # As pages write it: "in the last 7 days", "compared with the 7 days before".
    label: str
    compared: str
    by_hour: bool = False

    @property
    def until(self) -> datetime:
        """The next whole second, so that problems written just now are included."""
        return self.now.replace(microsecond=0) + timedelta(seconds=1)

    @property
    def since(self) -> datetime:
        return self.starts[0]

    @property
    def axis(self) -> dict[str, str]:
        """Labels for the two ends of the bars' axis."""
        start, end = map(timezone.localtime, (self.since, self.now))
        if self.by_hour:
            return {"start": f"{start:%H:%M}", "end": f"{end:%H:%M}"}
        return {"start": f"{start.day} {start:%b}", "end": f"{end.day} {end:%b}"}

    @property
    def new_since(self) -> datetime:
        """Whatever was first seen after this is new: today, or in the last 24 hours."""
        return max(self.since, self.now - DAY)


def day_starts(today, days: int) -> list[datetime]:
    """When each of the last days began in the viewer's time zone, ending with today."""
    each = (today - timedelta(days=back) for back in reversed(range(days)))
    return [timezone.localtime(in_utc(datetime.combine(day, time.min))) for day in each]


def in_utc(local: datetime) -> datetime:
    return time_zones.in_utc(
        local.replace(fold=0), timezone.get_current_timezone(), later=local.fold
    )


def hours(since: datetime, until: datetime) -> Iterator[datetime]:
    """Each hour that begins before `until`: 25 of them on the day on which clocks go back."""
    since = since.astimezone(UTC)
    yield since
    while (since := since + HOUR) < until:
        yield since


def named(name: str) -> Shown:
    """One of CHOICES, relative to now."""
    now = timezone.now()
    if name == "24h":
        return Shown(
            starts=list(hours(now - DAY, now)),
            now=now,
            before=Period(now - 2 * DAY, now - DAY),
            label="in the last 24 hours",
            compared="the 24 hours before",
            by_hour=True,
        )
    days = DAYS[name]
    local = timezone.localtime(now)
    back = timedelta(days=days)
    starts = day_starts(local.date(), days)
    # Ends at the same time of day, even if clocks have changed in between.
    before = Period(
        day_starts(local.date() - back, days)[0], in_utc(local.replace(tzinfo=None) - back)
    )
    if days == 1:
        return Shown(
            starts=list(hours(starts[0], now)),
            now=now,
            before=before,
            label="today",
            compared=f"yesterday until {local:%H:%M}",
            by_hour=True,
        )
    return Shown(
        starts=starts,
        now=now,
        before=before,
        label=f"in the last {days} days",
        compared=f"the {days} days before, until {local:%H:%M}",
    )


def parameters(since: datetime, until: datetime) -> dict[str, str]:
    """The period as parameters of the list; if it begins with a day, `problem_from` is that day."""
    zone = str(timezone.get_current_timezone())
    since = since.astimezone(UTC)
    local = timezone.localtime(since)
    is_day = time_zones.named(zone) and since == in_utc(datetime.combine(local, time.min))
    return {
        "problem_from": local.date().isoformat() if is_day else in_iso(since),
        "problem_until": in_iso(until),
        "tz": zone if is_day else "UTC",
    }


def in_iso(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
