"""Which cells make up a period, and the periods of a trend."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Q

from . import periods
from .models import Grain
from .periods import MOMENT, Span
from .quarters import DAY, day_of, unit_start

HOUR = timedelta(hours=1)


def of_span(span: Span) -> Q:
    return of_spans([span])


def of_spans(spans: Iterable[Span]) -> Q:
    """The cells that make up the spans: of whole UTC days, and of quarters where none is."""
    parts: list[tuple[Grain, datetime, datetime]] = []
    for span in spans:
        first, last = day_of(span.since + DAY - MOMENT), day_of(span.until)
        if first < last:
            parts += [
                (Grain.QUARTER, span.since, first),
                (Grain.DAY, first, last),
                (Grain.QUARTER, last, span.until),
            ]
        else:
            parts.append((Grain.QUARTER, span.since, span.until))
    found = Q(pk__in=[])
    for grain, since, until in joined(part for part in parts if part[1] < part[2]):
        found |= Q(grain=grain, starts__gte=since, starts__lt=until)
    return found


def joined(parts: Iterable[tuple[Grain, datetime, datetime]]) -> list:
    """Those that follow one another without a gap become one."""
    found: list[tuple[Grain, datetime, datetime]] = []
    for grain, since, until in parts:
        if found and found[-1][0] == grain and found[-1][2] == since:
            since = found.pop()[1]
        found.append((grain, since, until))
    return found


def last_full(number: int, unit: timedelta, until: datetime) -> list[Span]:
    """The last full days or hours by UTC."""
    end = unit_start(until, unit)
    return [Span(end - back * unit, end - (back - 1) * unit) for back in range(number, 0, -1)]


def trend_spans(period: str, until: datetime) -> list[Span]:
    """The last 24 full hours, or the last full days: an unfinished one would look like a fall."""
    if period == "today":
        return last_full(24, HOUR, until)
    return last_full(periods.DAYS[period], DAY, until)


def trend_label(span: Span, period: str) -> str:
    if period == "today":
        return periods.clock(span.since)
    return f"{span.since.day} {span.since:%b}"
