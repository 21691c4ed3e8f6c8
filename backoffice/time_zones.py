"""Time zones by name, and local times that a clock shows twice or never."""

import zoneinfo
from bisect import bisect_left
from datetime import UTC, datetime, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

# What the server's own clock shows, and what says that nobody has set it: no zone to share.
NO_ZONES = {"localtime", "Factory"}


@cache
def known_names() -> frozenset[str]:
    """Of the system's tzdata and of the package: either alone may lack names that browsers use."""
    return frozenset(zoneinfo.available_timezones() - NO_ZONES)


def named(name: str) -> ZoneInfo | None:
    return ZoneInfo(name) if name in known_names() else None


def in_utc(local: datetime, zone: tzinfo, *, later: bool = False) -> datetime:
    """
    A naive local time in UTC. Of two such times, when clocks go back, it is the earlier one unless
    `later`; a time that clocks skip is the first moment after the gap.
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
