"""Periods named by today's date: last-7-days, this-month. They spare a schedule the arithmetic."""

import re
from datetime import date, timedelta

EXAMPLES = "last-7-days or this-month"
DAY = timedelta(days=1)
LAST_DAYS = re.compile(r"last-([1-9][0-9]{0,3})-days")
NAMED = re.compile(r"today|yesterday|(this|last)-(week|month|quarter|year)")
MONTHS = {"month": 1, "quarter": 3, "year": 12}


def days_of(name: str, today: date) -> tuple[date, date] | None:
    """
    The first day and the day after the last; None for other names. The last days include today,
    weeks begin on Monday, and this week, month, quarter or year also has its days to come.
    """
    if found := LAST_DAYS.fullmatch(name):
        return today - (int(found[1]) - 1) * DAY, today + DAY
    found = NAMED.fullmatch(name)
    if not found:
        return None
    if name == "today":
        return today, today + DAY
    if name == "yesterday":
        return today - DAY, today
    which, unit = found.groups()
    if unit == "week":
        first = today - today.weekday() * DAY
        return (first, first + 7 * DAY) if which == "this" else (first - 7 * DAY, first)
    months = MONTHS[unit]
    first = today.replace(month=(today.month - 1) // months * months + 1, day=1)
    if which == "this":
        return first, months_later(first, months)
    return months_later(first, -months), first


def months_later(first: date, months: int) -> date:
    """The first day of a month, so many months after that of `first`."""
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    return date(year, month + 1, 1)
