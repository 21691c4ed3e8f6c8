"""Time zones by name, and local times that a clock shows twice or never."""

import zoneinfo
from bisect import bisect_left
from datetime import UTC, datetime, time, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

# Not places: the server's own setting, and tzdata's marker for a clock that was never set.
NO_ZONES = {"localtime", "Factory"}


@cache
def known_names() -> frozenset[str]:
    """From the system's tzdata and the package: either alone may lack names that browsers use."""
    return frozenset(zoneinfo.available_timezones() - NO_ZONES)


def named(name: str) -> ZoneInfo | None:
    return ZoneInfo(name) if name in known_names() else None


def in_utc(local: datetime, zone: tzinfo, *, later: bool = False) -> datetime:
    """
    A naive local time in UTC. When clocks go back and the time occurs twice, the earlier moment,
    unless `later`. For a time that clocks skip, the first moment after the gap.
    """
    moment = local.replace(tzinfo=zone, fold=int(later)).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None, fold=0) == local:
        return moment
    # Read with the offsets from before and after the gap, a skipped time lies on both sides of it.
    before, after = local.replace(tzinfo=zone, fold=0), local.replace(tzinfo=zone, fold=1)
    seconds = range(int(after.timestamp()), int(before.timestamp()) + 1)
    new_offset = before.astimezone(UTC).astimezone(zone).utcoffset()
    first = bisect_left(
        seconds, new_offset, key=lambda second: datetime.fromtimestamp(second, zone).utcoffset()
    )
    return datetime.fromtimestamp(seconds[first], UTC)


def moment(text: str) -> datetime:
    """An argument of a command: 2026-01-31, or 2026-01-31T12:00+02:00."""
    day = parse_date(text)
    found = datetime.combine(day, time.min) if day else parse_datetime(text)
    if found is None:
        raise ValueError
    if timezone.is_aware(found):
        return found
    return in_utc(found, timezone.get_current_timezone())
