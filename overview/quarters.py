"""
Quarters of an hour and days of UTC: what figures are kept by. The rollup names a quarter by its
first second, counted from 1970 on: it handles many, and numbers are quicker than times.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from django.utils import timezone

QUARTER = timedelta(minutes=15)
DAY = timedelta(days=1)
SECONDS = 900
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# For so long, cells of quarters are kept; those of days stay for ever.
KEPT = timedelta(days=100)
MICROSECOND = timedelta(microseconds=1)
# What a row says happened before or after these did not happen at any time that is counted.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=100_000)
def starts_of(quarter: int) -> datetime:
    return datetime.fromtimestamp(quarter, UTC)


def quarter_of(microseconds: int) -> int:
    """Of a time in microseconds since 1970."""
    return microseconds // (SECONDS * 1_000_000) * SECONDS


def microseconds_of(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


def unit_start(moment: datetime, unit: timedelta) -> datetime:
    """Of the quarter of an hour, hour or day by UTC that the moment is in."""
    return moment - (moment - EPOCH) % unit


def day_of(moment: datetime) -> datetime:
    return unit_start(moment, DAY)


def kept_since() -> datetime:
    """From this day on, cells of quarters are kept."""
    return day_of(timezone.now() - KEPT)


# SQL; NULL for times that are not counted.


def counted_sql(moment: str, value: str) -> str:
    first, last = EARLIEST.isoformat(), LATEST.isoformat()
    return f"CASE WHEN {moment} >= '{first}' AND {moment} < '{last}' THEN {value} END"


def quarter_sql(moment: str) -> str:
    quarter = f"floor(extract(epoch FROM {moment}) / {SECONDS})::bigint * {SECONDS}"
    return counted_sql(moment, quarter)


def microseconds_sql(moment: str) -> str:
    return counted_sql(moment, f"(extract(epoch FROM {moment}) * 1000000)::bigint")
