"""The days, weeks and months that a summary divides its time into."""

from collections.abc import Iterator
from datetime import date, timedelta

from django.utils import timezone

from conversations.selection.relative_periods import days_of

from ..periods import Span, day_start
from ..quarters import day_of


def buckets(unit: str, span: Span) -> Iterator[Span]:
    """By the calendar of the current time zone. The span may cut off the first and the last."""
    since = span.since
    while since < span.until:
        end = day_start(end_of(unit, timezone.localdate(since)))
        yield Span(since, min(end, span.until))
        since = end


def end_of(unit: str, day: date) -> date:
    """The day after the day, week or month that this day is in."""
    return day + timedelta(days=1) if unit == "day" else days_of(f"this-{unit}", day)[1]


def is_of_utc_days(bucket: Span) -> bool:
    return day_of(bucket.since) == bucket.since and day_of(bucket.until) == bucket.until
