"""Fields and forms that read URL parameters, and explain invalid ones."""

import re
import uuid
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta

import django_filters
from django import forms
from django.http import QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from .widgets import (
    MomentInput,
)

# Parameters that are not filters: cursor, search sent by hand, newest row seen.
OTHER_PARAMETERS = frozenset({"after", "go", "since"})
SHORTEST_SEARCH = 2


class MomentField(forms.Field):
    """
    A date, or a date and time, in the viewer's time zone unless it names its own offset.

    Cleans to (aware datetime, whether it is included): a date's first moment or, for `end`, the
    first moment after it.
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
                midnight = timezone.make_aware(datetime.combine(day, time.min))
                return midnight.astimezone(UTC), not self.end
            # A plus sign in a pasted address arrives as a space.
            moment = parse_datetime(re.sub(r" (\d\d:?\d\d)$", r"+\1", text))
            if moment is None:
                raise ValueError
            if timezone.is_naive(moment):
                moment = timezone.make_aware(moment)
            # At the calendar's ends a moment may not exist in UTC.
            moment = moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise forms.ValidationError(
                "Write a date like 2026-11-23, or a date and time like 2026-11-23T14:30."
            ) from None
        return moment, True


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


def query_string(values: dict[str, str]) -> str:
    """Leaves out empty values."""
    query = QueryDict(mutable=True)
    query.update({name: value for name, value in values.items() if value})
    return query.urlencode()


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

    def clean(self):
        cleaned = super().clean()
        start, end = cleaned.get("start_date"), cleaned.get("end_date")
        search = cleaned.get("search")
        if search and len(search.strip()) < SHORTEST_SEARCH:
            self.add_error("search", "Search for at least two characters.")
        # A date as end is the first moment after it, which is not included.
        if start and end and (start[0] > end[0] or (start[0] == end[0] and not end[1])):
            self.add_error("end_date", "The end is before the start.")
        return cleaned
