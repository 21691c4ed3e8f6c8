"""Days and hours of charts in zones with odd offsets, and on days when clocks change."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import pytest
from django.utils import timezone

from backoffice import time_zones
from overview import periods

ZONES = [
    "UTC",
    "Europe/Tallinn",
    "America/Havana",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
]
# Clocks go back in Tallinn on 25 October and in Havana, at midnight, on 1 November; on Lord Howe
# they go forward by half an hour on 4 October and back on 5 April.
NOW = datetime(2026, 11, 1, 13, 30, tzinfo=UTC)


@pytest.fixture(params=ZONES)
def zone(request):
    with timezone.override(request.param):
        yield request.param


def labels(found):
    return [each.label for each in found]


@pytest.mark.parametrize("name", list(periods.DAYS))
@pytest.mark.parametrize("back", [0, 7 * 24, 28 * 24 + 7, 211 * 24])
def test_slices_follow_one_another_up_to_the_end(zone, name, back):
    until = NOW - timedelta(hours=back)
    found = periods.slices(name, until)
    for one, other in pairwise(found):
        assert one.until == other.since
        assert one.is_over
    assert found[-1].until == until
    assert all(each.since < each.until for each in found)
    assert all(each.since == periods.quarter_start(each.since) for each in found)
    if name != "today":
        assert len(found) == periods.DAYS[name]
        assert {f"{timezone.localtime(each.since):%H:%M}" for each in found} <= {"00:00", "01:00"}


def local(zone, *day):
    return time_zones.in_utc(datetime.combine(date(*day), time.min), time_zones.named(zone))


def test_a_day_of_25_hours_shows_both():
    with timezone.override("Europe/Tallinn"):
        found = periods.slices("today", local("Europe/Tallinn", 2026, 10, 26))
        assert len(found) == 25
        assert labels(found)[2:6] == ["02:00 EEST", "03:00 EEST", "03:00 EET", "04:00 EET"]
        assert found[-1].is_over


def test_an_hour_that_is_skipped_is_not_there():
    with timezone.override("Europe/Tallinn"):
        found = periods.slices("today", local("Europe/Tallinn", 2026, 3, 30))
        assert len(found) == 23
        assert labels(found)[2:4] == ["02:00 EET", "04:00 EEST"]


def test_on_lord_howe_clocks_change_by_half_an_hour():
    zone = "Australia/Lord_Howe"
    with timezone.override(zone):
        forward = periods.slices("today", local(zone, 2026, 10, 5))
        assert [each[:5] for each in labels(forward)[:4]] == ["00:00", "01:00", "02:30", "03:00"]
        assert forward[2].until - forward[2].since == timedelta(minutes=30)
        back = periods.slices("today", local(zone, 2026, 4, 6))
        assert [each[:5] for each in labels(back)[:4]] == ["00:00", "01:00", "01:30", "02:00"]
        assert len(back) == 25


@pytest.mark.parametrize(
    ("zone_name", "first"), [("Asia/Kolkata", "18:30"), ("Asia/Kathmandu", "18:15")]
)
def test_days_begin_when_they_begin_there(zone_name, first):
    with timezone.override(zone_name):
        found = periods.slices("7d", NOW)
        assert {f"{each.since:%H:%M}" for each in found} == {first}
        assert labels(found)[-1] == "Sun 1 Nov"
        assert not found[-1].is_over
        assert all(clock.endswith(":00") for clock in labels(periods.slices("today", NOW)))


def test_a_period_is_compared_to_the_same_time_of_day(zone):
    for days in (1, 7):
        found = periods.compared(NOW, days)
        assert found.before.since < found.before.until <= found.shown.since
        assert found.shown.until == NOW
        shown, before = (timezone.localtime(end) for end in (found.shown.until, found.before.until))
        assert (shown.hour, shown.minute) == (before.hour, before.minute)
        assert shown.date() - before.date() == timedelta(days=days)


def test_midnight_belongs_to_the_day_before():
    with timezone.override("Europe/Tallinn"):
        found = periods.compared(local("Europe/Tallinn", 2026, 10, 26), 1)
        assert found.shown.until - found.shown.since == timedelta(hours=25)
        assert found.before.until == found.shown.since
        assert periods.last_day(found.shown.until) == date(2026, 10, 25)


def test_labels_say_the_day_where_figures_are_old(monkeypatch):
    monkeypatch.setattr(timezone, "now", lambda: NOW)
    found = periods.compared(NOW, 1)
    assert (found.label, found.before_label) == ("Today", "yesterday until 13:30")
    found = periods.compared(NOW - timedelta(days=2), 1)
    assert (found.label, found.before_label) == ("30 Oct", "29 Oct until 13:30")
    found = periods.compared(NOW, 7)
    assert (found.label, found.before_label) == ("Last 7 days", "the 7 days before, until 13:30")
