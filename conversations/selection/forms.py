"""Fields and forms that read URL parameters, and explain invalid ones."""

import re
import uuid
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta, tzinfo
from urllib.parse import urlencode

import django_filters
from django import forms
from django.http import QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.functional import cached_property

from backoffice import time_zones

from ..agentdb.search_terms import terms
from .widgets import HiddenInput, MomentInput

# Parameters that are not filters: cursor, search sent by hand, newest row seen.
OTHER_PARAMETERS = frozenset({"after", "go", "since"})
SHORTEST_SEARCH = 2
# Filters by date; `tz` names the zone that all of them are read in.
CREATED = ("start_date", "end_date")
ACTIVE = ("active_from", "active_until")
# When a problem happened; set by links.
PERIOD = ("problem_from", "problem_until")
DATES = (*CREATED, *ACTIVE, *PERIOD)


class MomentField(forms.Field):
    """
    A date, or a date and time, in the current time zone unless it names its own offset.

    Cleans to (aware datetime, whether it is included): a date's first moment or, for `end`, the
    first moment after it. Of a time that comes twice, an end is the later one.
    """

    widget = MomentInput

    def __init__(self, *, end: bool, **kwargs):
        super().__init__(**kwargs)
        self.end = end

    def to_python(self, value):
        text = (value or "").strip()
        if not text:
            return None
        try:
            if not text.isascii():
                raise ValueError
            if day := parse_date(text):
                if self.end:
                    day += timedelta(days=1)
                midnight = datetime.combine(day, time.min)
                return time_zones.in_utc(midnight, timezone.get_current_timezone()), not self.end
            # A plus sign in a pasted address arrives as a space.
            moment = parse_datetime(re.sub(r" (\d\d:?\d\d)$", r"+\1", text))
            if moment is None:
                raise ValueError
            # At the calendar's ends a moment may not exist in UTC.
            if timezone.is_aware(moment):
                moment = moment.astimezone(UTC)
            else:
                zone = timezone.get_current_timezone()
                moment = time_zones.in_utc(moment, zone, later=self.end)
        except (ValueError, OverflowError):
            raise forms.ValidationError(
                "Write a date like 2026-11-23, or a date and time like 2026-11-23T14:30."
            ) from None
        return moment, True


class TimeZoneField(forms.Field):
    """The name of a zone, such as Europe/Tallinn, in which dates are read."""

    widget = HiddenInput

    def validate(self, value):
        if value and not time_zones.named(value):
            raise forms.ValidationError(f"There is no time zone called “{value[:40]}”.")


class TimeZoneFilter(django_filters.Filter):
    field_class = TimeZoneField


class MomentFilter(django_filters.Filter):
    field_class = MomentField

    def filter(self, queryset, value):
        if value is None:
            return queryset
        moment, included = value
        comparison = "lt" if self.extra["end"] else "gt"
        return queryset.filter(
            **{f"{self.field_name}__{comparison}{'e' if included else ''}": moment}
        )


def with_agent_as_stored(data: QueryDict) -> QueryDict:
    """A form shows an agent as chosen only if its id is spelt as in the database."""
    with suppress(ValueError):
        if len(data.getlist("agent")) == 1:
            agent = str(uuid.UUID(data["agent"]))
            data = data.copy()
            data["agent"] = agent
    return data


def with_zone_of_dates(data: QueryDict) -> QueryDict:
    """Dates that name no zone are the viewer's; a zone without dates says nothing."""
    dates, zone = any(data.get(name) for name in DATES), data.get("tz", "")
    if dates and not zone:
        data = data.copy()
        data["tz"] = str(timezone.get_current_timezone())
    elif not dates and len(data.getlist("tz")) == 1 and (not zone or time_zones.named(zone)):
        data = data.copy()
        del data["tz"]
    return data


def query_string(values: dict[str, str]) -> str:
    """Leaves out empty values."""
    # QueryDict.urlencode() takes ten times as long, and a list has a score of links.
    return urlencode({name: value for name, value in values.items() if value})


class StrictForm(forms.Form):
    """Rejects misspelt and doubled parameters: they would silently widen results."""

    not_filters = frozenset()

    def clean(self):
        for name in self.data:
            if name not in self.fields and name not in self.not_filters:
                self.add_error(None, f"There is no filter called “{name[:40]}”.")
            elif len(self.data.getlist(name)) > 1:
                self.add_error(None, f"“{name[:40]}” is given twice.")
        return super().clean()


class ConversationFilterForm(StrictForm):
    not_filters = OTHER_PARAMETERS

    def __init__(self, data, *args, **kwargs):
        super().__init__(data, *args, **kwargs)
        self.viewer_zone = timezone.get_current_timezone()
        # The page Help shows them. Here, each field would point to a description that is not there.
        for field in self.fields.values():
            field.help_text = ""

    @cached_property
    def zone(self) -> tzinfo:
        """What dates are read in."""
        return time_zones.named(self.data.get("tz", "")) or self.viewer_zone

    def full_clean(self):
        with timezone.override(self.zone):
            super().full_clean()

    def clean(self):
        cleaned = super().clean()
        search = cleaned.get("search")
        if search and (
            len(search.strip()) < SHORTEST_SEARCH
            or sum(len(term.strip()) for term in terms(search)) < SHORTEST_SEARCH
        ):
            self.add_error("search", "Search for at least two characters.")
        for first, last in (CREATED, ACTIVE, PERIOD):
            start, end = cleaned.get(first), cleaned.get(last)
            # A date as end is the first moment after it, which is not included.
            if start and end and (start[0] > end[0] or (start[0] == end[0] and not end[1])):
                self.add_error(last, "The end is before the start.")
        return cleaned
