"""Periods named by today's date, as values of the list's and the exports' dates."""

from datetime import UTC, date, timedelta

import pytest
from django.utils import timezone

from conversations.selection.relative_periods import days_of

from ..support.factories import make_session
from ..support.listing import listed
from ..support.pages import get, text

# A Thursday.
TODAY = date(2026, 1, 29)


@pytest.mark.parametrize(
    ("name", "first", "end"),
    [
        ("today", TODAY, date(2026, 1, 30)),
        ("yesterday", date(2026, 1, 28), TODAY),
        ("last-1-days", TODAY, date(2026, 1, 30)),
        ("last-7-days", date(2026, 1, 23), date(2026, 1, 30)),
        ("this-week", date(2026, 1, 26), date(2026, 2, 2)),
        ("last-week", date(2026, 1, 19), date(2026, 1, 26)),
        ("this-month", date(2026, 1, 1), date(2026, 2, 1)),
        ("last-month", date(2025, 12, 1), date(2026, 1, 1)),
        ("this-quarter", date(2026, 1, 1), date(2026, 4, 1)),
        ("last-quarter", date(2025, 10, 1), date(2026, 1, 1)),
        ("this-year", date(2026, 1, 1), date(2027, 1, 1)),
        ("last-year", date(2025, 1, 1), date(2026, 1, 1)),
    ],
)
def test_each_name_has_its_days(name, first, end):
    assert days_of(name, TODAY) == (first, end)


@pytest.mark.parametrize("day", [date(2024, 2, 29), date(2025, 12, 31), date(2026, 10, 1)])
def test_periods_of_one_kind_follow_each_other(day):
    for unit in ("week", "month", "quarter", "year"):
        assert days_of(f"last-{unit}", day)[1] == days_of(f"this-{unit}", day)[0]


@pytest.mark.parametrize(
    "name", ["", "tomorrow", "last-0-days", "last-12345-days", "last-７-days", "last-days", "this"]
)
def test_other_names_are_none(name):
    assert days_of(name, TODAY) is None


@pytest.mark.django_db
def test_the_list_takes_them_in_the_zone_of_the_address(support_client):
    zone = "Pacific/Kiritimati"
    with timezone.override(zone):
        midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    inside = make_session(created_at=midnight.astimezone(UTC))
    make_session(created_at=midnight.astimezone(UTC) - timedelta(microseconds=1))
    asked = {"start_date": "today", "end_date": "today", "tz": zone}
    page = get(support_client, **asked)
    assert listed(page) == [inside.id]
    assert "Created from today" in text(page)
    # The form keeps it when it is sent again.
    assert 'value="today"' in page.content.decode()
    assert len(listed(get(support_client, **asked | {"start_date": "last-2-days"}))) == 2


@pytest.mark.django_db
def test_other_words_match_nothing_and_say_what_is_possible(support_client):
    make_session()
    page = get(support_client, start_date="last-fortnight")
    assert listed(page) == []
    assert "a period like last-7-days or this-month" in text(page)
