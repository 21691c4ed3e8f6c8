"""Fields and forms that read URL parameters, and explain invalid ones."""

import re
import uuid
from contextlib import suppress
from copy import copy
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import partial
from urllib.parse import urlencode

import django_filters
from django import forms
from django.http import QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.functional import cached_property

from backoffice import time_zones
from backoffice.words import local

from ..agentdb import revision
from ..agentdb.search_terms import terms
from .relative_periods import EXAMPLES, days_of
from .widgets import HiddenInput, MomentInput

# Parameters that are not filters: the cursors of the older and the newer page, whether the user
# pressed Enter, and the newest row that the page shows.
OTHER_PARAMETERS = frozenset({"after", "before", "go", "since"})
SHORTEST_SEARCH = 2
# Filters by date. `tz` names the time zone for all of them.
CREATED = ("start_date", "end_date")
ACTIVE = ("active_from", "active_until")
# When a problem happened. Only links set these.
PERIOD = ("problem_from", "problem_until")
# Steps by the name of what was called, when that was, and how it went. Only links set these.
STEPS = ("node", "tool", "model")
STEP_PERIOD = ("step_from", "step_until")
STEP_DETAILS = ("step", *STEP_PERIOD)
DATES = (*CREATED, *ACTIVE, *PERIOD, *STEP_PERIOD)


class MomentField(forms.Field):
    """
    A date, a relative period, or a date and time, in the current time zone unless it names its own
    offset.

    Cleans to (aware datetime, whether it is included). A date or a period becomes its first moment
    or, with `end`, the first moment after it. If clocks went back and a time occurs twice, an end
    is the later of the two.
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
            if days := days_named(text):
                midnight = datetime.combine(days[self.end], time.min)
                return time_zones.in_utc(midnight, timezone.get_current_timezone()), not self.end
            # In a URL that somebody typed or pasted, a plus sign arrives as a space.
            moment = parse_datetime(re.sub(r" (\d\d:?\d\d)$", r"+\1", text))
            if moment is None:
                raise ValueError
            # At the ends of the calendar, the time may not exist in UTC.
            if timezone.is_aware(moment):
                moment = moment.astimezone(UTC)
            else:
                zone = timezone.get_current_timezone()
                moment = time_zones.in_utc(moment, zone, later=self.end)
        except (ValueError, OverflowError):
            raise forms.ValidationError(
                "Enter a date like 2026-11-23, a date and time like 2026-11-23T14:30, or a period "
                f"like {EXAMPLES}."
            ) from None
        return moment, True


def days_named(text: str) -> tuple[date, date] | None:
    """A date or a relative period: its first day, and the day after its last."""
    day = parse_date(text)
    return (day, day + timedelta(days=1)) if day else days_of(text, timezone.localdate())


def moment_words(typed: str, moment: datetime) -> str:
    """
    A valid value of a MomentField as people write it: 12 Nov 2026, or 12 Nov 2026, 14:00, or last
    7 days.
    """
    typed = typed.strip()
    if day := parse_date(typed):
        return f"{day.day} {day:%b} {day.year}"
    if days_of(typed, timezone.localdate()):
        return typed.replace("-", " ")
    here = local(moment)
    clock = f"{here:%H:%M:%S}" if here.second else f"{here:%H:%M}"
    return f"{here.day} {here:%b} {here.year}, {clock}"


class TimeZoneField(forms.Field):
    """The name of the time zone for the date filters, such as Europe/Tallinn."""

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
    """Spell the agent's id as the database does: only then does the form show it as chosen."""
    with suppress(ValueError):
        if len(data.getlist("agent")) == 1:
            agent = str(uuid.UUID(data["agent"]))
            data = data.copy()
            data["agent"] = agent
    return data


def with_zone_of_dates(data: QueryDict) -> QueryDict:
    """Add the viewer's time zone to dates without one, and remove a time zone without dates."""
    dates, zone = any(data.get(name) for name in DATES), data.get("tz", "")
    if dates and not zone:
        data = data.copy()
        data["tz"] = str(timezone.get_current_timezone())
    elif not dates and len(data.getlist("tz")) == 1 and (not zone or time_zones.named(zone)):
        data = data.copy()
        del data["tz"]
    return data


def query_string(values: dict[str, str]) -> str:
    """Encode the values that are not empty."""
    # QueryDict.urlencode() takes ten times as long, and a list has about twenty links.
    return urlencode({name: value for name, value in values.items() if value})


class StrictForm(forms.Form):
    """Rejects misspelt and repeated parameters, which would silently widen the results."""

    not_filters = frozenset()

    def clean(self):
        for name in self.data:
            if name not in self.fields and name not in self.not_filters:
                self.add_error(None, f"There is no filter called “{name[:40]}”.")
            elif len(self.data.getlist(name)) > 1:
                self.add_error(None, f"“{name[:40]}” is given twice.")
        return super().clean()


class ZonedForm(StrictForm):
    """Its dates are in the time zone that `tz` names, or else in the viewer's."""

    def __init__(self, data, *args, **kwargs):
        super().__init__(data, *args, **kwargs)
        self.viewer_zone = timezone.get_current_timezone()

    @cached_property
    def zone(self) -> tzinfo:
        return time_zones.named(self.data.get("tz", "")) or self.viewer_zone

    def full_clean(self):
        with timezone.override(self.zone):
            super().full_clean()


class DatedForm(ZonedForm):
    """The filters of a list, with ranges of dates."""

    not_filters = OTHER_PARAMETERS

    def __init__(self, data, *args, fields: dict[str, forms.Field], **kwargs):
        super().__init__(data, *args, **kwargs)
        self.fields = fields
        # Help texts are shown on the page Help. Here, each field would refer to a description that
        # the page does not have.
        for field in self.fields.values():
            field.help_text = ""

    def clean(self):
        cleaned = super().clean()
        for first, last in (CREATED, ACTIVE, PERIOD, STEP_PERIOD):
            start, end = cleaned.get(first), cleaned.get(last)
            # If the end is a date, end[0] is the first moment after it, which is not included.
            if start and end and (start[0] > end[0] or (start[0] == end[0] and not end[1])):
                self.add_error(last, "The end is before the start.")
        return cleaned


class Filters(dict[str, django_filters.Filter]):
    """
    A set's filters by name. django-filter copies them deeply for each request, with all that they
    refer to, but a request only changes attributes and `extra`.
    """

    def __deepcopy__(self, memo):
        return Filters({name: copied(each) for name, each in self.items()})


def copied(given: django_filters.Filter) -> django_filters.Filter:
    found = copy(given)
    found.extra = {**given.extra}
    # Binds it to the copy.
    found.method = given.method
    return found


class FilterSet(django_filters.FilterSet):
    """For a DatedForm."""

    @classmethod
    def get_filters(cls):
        return Filters(super().get_filters())

    def get_form_class(self):
        # A class of these fields would copy all of them, and nothing else uses them.
        return partial(
            self._meta.form, fields={name: each.field for name, each in self.filters.items()}
        )


class ConversationFilterForm(DatedForm):
    def clean(self):
        cleaned = super().clean()
        search = cleaned.get("search")
        if search and (
            len(search.strip()) < SHORTEST_SEARCH
            or sum(len(term.strip()) for term in terms(search)) < SHORTEST_SEARCH
        ):
            self.add_error("search", "Search for at least two characters.")
        if not any(cleaned.get(name) for name in STEPS):
            for name in STEP_DETAILS:
                if cleaned.get(name):
                    self.add_error(name, "This needs a node, a tool or a model.")
        if cleaned.get("model") and not revision.has_model_call_links():
            self.add_error(
                "model", "This database does not record which conversation called a model."
            )
        return cleaned
