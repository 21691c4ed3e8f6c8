"""Quarters of an hour add up to the days of every zone, also those on which clocks change."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db.models import Sum

from backoffice.time_zones import in_utc
from overview import quarters
from overview.models import Activity, Cell
from overview.rollup.passes import Pass

from ..support.factories import make_message, make_run, make_session
from ..support.tables import sql

pytestmark = pytest.mark.django_db

ZONES = ["UTC", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York",
         "Europe/Tallinn"]  # fmt: skip
# Around ends of a month, and of summer time: Lord Howe's, by half an hour, Europe's and New York's.
BEGINNINGS = [datetime(2026, 4, 3, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC),
              datetime(2026, 10, 30, tzinfo=UTC)]  # fmt: skip


@pytest.fixture
def written(monkeypatch):
    """Something every 37 minutes for four days, in conversations that last for a while."""
    monkeypatch.setattr(quarters, "KEPT", timedelta(days=36_500))
    for beginning in BEGINNINGS:
        moment, number = beginning, 0
        while moment < beginning + timedelta(days=4):
            if number % 5 == 0:
                session = make_session(created_at=moment)
            make_run(session, created_at=moment)
            make_message(session, created_at=moment + timedelta(minutes=number % 7))
            moment += timedelta(minutes=37)
            number += 1
    Pass(wait=True).run()


def bounds(day, zone: ZoneInfo):
    return tuple(in_utc(datetime.combine(each, time.min), zone)
                 for each in (day, day + timedelta(days=1)))  # fmt: skip


def test_days_of_every_zone_are_exact(written):
    lengths = set()
    for name in ZONES:
        expected = sql(
            """
            SELECT day, count(DISTINCT session_id), count(*) FILTER (WHERE is_message),
                count(*) FILTER (WHERE NOT is_message)
            FROM (
                SELECT session_id, true AS is_message,
                    (created_at AT TIME ZONE %(zone)s)::date AS day
                FROM chat_messages
                UNION ALL
                SELECT session_id, false, (created_at AT TIME ZONE %(zone)s)::date FROM runs
            ) AS happened
            GROUP BY 1
            """,
            {"zone": name},
        )
        assert len(expected) > 10
        for day, conversations, messages, runs in expected:
            since, until = bounds(day, ZoneInfo(name))
            lengths.add((until - since) / timedelta(hours=1))
            within = {"starts__gte": since, "starts__lt": until}
            active = Activity.objects.filter(**within).exclude(messages=0, runs=0)
            assert active.values("session_id").distinct().count() == conversations
            quarters = Cell.objects.of_agent(None).filter(grain="quarter", **within)
            found = quarters.aggregate(Sum("messages"), Sum("runs"))
            assert (found["messages__sum"], found["runs__sum"]) == (messages, runs), (name, day)
    assert lengths >= {24, 24.5, 25}
