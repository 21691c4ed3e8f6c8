"""Which cells the figures of a period are read from."""

from datetime import timedelta

import pytest
from django.utils import timezone

from overview import figures, periods, spans
from overview.models import Cell, Grain
from overview.quarters import day_of

from ..support.factories import make_message, make_session
from ..support.figures import last_quarter, roll_up

pytestmark = pytest.mark.django_db


def week(until) -> list[periods.Span]:
    found = periods.compared(until, 7)
    return [found.before, found.shown]


@pytest.fixture
def two_weeks():
    """A message in each hour."""
    until, session = last_quarter(), make_session()
    for hours in range(1, 15 * 24):
        make_message(session, created_at=until - timedelta(hours=hours))
    roll_up()
    return until


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/New_York"])
def test_whole_days_need_no_cells_of_quarters(two_weeks, zone):
    with timezone.override(zone):
        both = week(two_weeks)
        before = figures.of_periods(both)
        hours = [(span.until - span.since) // timedelta(hours=1) for span in both]
        assert [each.messages for each in before] == pytest.approx(hours, abs=1)
        for span in both:
            first, last = day_of(span.since) + timedelta(days=1), day_of(span.until)
            Cell.unlimited.filter(grain=Grain.QUARTER, starts__gte=first, starts__lt=last).delete()
        assert figures.of_periods(both) == before


def test_parts_of_days_need_no_cells_of_days(two_weeks):
    one = [periods.Span(two_weeks - timedelta(hours=3), two_weeks)]
    before = figures.of_periods(one)
    assert before[0].messages == 3
    Cell.unlimited.filter(grain=Grain.DAY).delete()
    assert figures.of_periods(one) == before


def test_parts_that_follow_one_another_are_read_as_one():
    start = periods.quarter_start(timezone.now())
    moments = [start + timedelta(hours=number) for number in range(5)]
    parts = [(Grain.QUARTER, *moments[:2]), (Grain.QUARTER, *moments[1:3])]
    other = [(Grain.DAY, *moments[2:4]), (Grain.DAY, moments[4], moments[4])]
    assert spans.joined(parts + other) == [(Grain.QUARTER, moments[0], moments[2]), *other]
