"""What to sum up: the parameters of a summary, from the address or the command."""

from datetime import timedelta

from django import forms
from django.utils import timezone

from conversations.exports.lines import SEPARATORS
from conversations.models import Agent
from conversations.selection.forms import (
    MomentField,
    TimeZoneField,
    ZonedForm,
    query_string,
)
from conversations.selection.relative_periods import EXAMPLES, days_of

from ..periods import UNITS, Span, day_start
from ..quarters import KEPT, kept_since
from .buckets import buckets, is_of_utc_days

DEFAULT_PERIOD = "last-30-days"
MOST_BUCKETS = 400


class PeriodField(forms.CharField):
    """Cleans to (first day, day after the last) in the current time zone."""

    def clean(self, value):
        name = super().clean(value)
        if not name:
            return None
        days = days_of(name, timezone.localdate())
        if days is None:
            raise forms.ValidationError(f"Enter a period like {EXAMPLES}.")
        return days


class SummariesForm(ZonedForm):
    by = forms.ChoiceField(label="By", required=False, choices=[(unit, unit) for unit in UNITS])
    agent = forms.ModelChoiceField(
        label="Agent",
        required=False,
        queryset=Agent.objects.none(),
        error_messages={"invalid_choice": "There is no such agent."},
    )
    period = PeriodField(label="Period", required=False)
    active_from = MomentField(label="Active from", required=False, end=False)
    active_until = MomentField(label="Active until", required=False, end=True)
    tz = TimeZoneField(label="Time zone", required=False)
    separator = forms.ChoiceField(
        label="Separator", required=False, choices=[(name, name) for name in SEPARATORS]
    )

    def __init__(self, data, *, until):
        """`until`: when the figures end."""
        super().__init__(data)
        self.until = until
        self.fields["agent"].queryset = Agent.objects.only("name")

    def clean(self):
        cleaned = super().clean()
        try:
            span = None if self.errors else self.span(cleaned)
            if span:
                cleaned["buckets"] = self.bucketed(cleaned["by"] or UNITS[0], span)
        except OverflowError:
            self.add_error(None, "The calendar has no such days.")
        return cleaned

    def span(self, cleaned) -> Span | None:
        """The days asked for, until the figures end."""
        dates = {name: cleaned.get(name) for name in ("active_from", "active_until")}
        if cleaned.get("period") and any(dates.values()):
            self.add_error("period", "Give a period or dates, not both.")
            return None
        for name, given in dates.items():
            if given and given[0] != day_start(timezone.localdate(given[0])):
                self.add_error(name, "A summary has whole days: enter a date, without a time.")
        if self.errors:
            return None
        first, end = cleaned.get("period") or days_of(DEFAULT_PERIOD, timezone.localdate())
        since, until = day_start(first), day_start(end)
        if dates["active_until"]:
            until = dates["active_until"][0]
        if dates["active_from"]:
            since = dates["active_from"][0]
        elif dates["active_until"]:
            last = timezone.localdate(until) - timedelta(days=1)
            since = day_start(days_of(DEFAULT_PERIOD, last)[0])
        if since >= until:
            self.add_error("active_until", "The end is before the start.")
            return None
        return Span(since, min(until, self.until))

    def bucketed(self, unit: str, span: Span) -> list[Span]:
        # Further back, figures are kept by days of UTC.
        kept = kept_since()
        found = []
        for number, bucket in enumerate(buckets(unit, span)):
            if number == MOST_BUCKETS:
                self.add_error(None, f"That is more than {MOST_BUCKETS} {unit}s: ask for fewer.")
                break
            if bucket.since < kept and not is_of_utc_days(bucket):
                self.add_error(
                    None,
                    f"More than {KEPT.days} days back, figures are kept by days of UTC alone: ask "
                    "for them with tz=UTC.",
                )
                break
            found.append(bucket)
        return found

    def problem(self) -> str:
        """Why it is invalid, in one line."""
        return " ".join(
            f"{self.fields[name].label}: {error}" if name in self.fields else error
            for name, found in self.errors.items()
            for error in found
        )

    def query(self) -> str:
        return query_string({name: self.data.get(name, "") for name in self.fields})
