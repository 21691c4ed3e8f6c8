"""The list's URL parameters. One that makes no sense is explained and matches nothing."""

import re
import uuid
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import django_filters
from django import forms
from django.http import QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.functional import cached_property

from backoffice.databases.text import is_storable
from privacy import masking

from ..models import Agent, Session
from ..problems.messages import shown_message
from ..querysets import problem_kinds
from .conditions import Condition, failed_with, folded_message, has_problem, says
from .find import Matching
from .widgets import (
    DATE,
    AgentSelect,
    HiddenInput,
    MomentInput,
    QuickInput,
    QuickSelect,
    SearchInput,
)

PROBLEM_LABELS = {
    "any": "Any problem",
    "failed": "Run failed",
    "running": "Run still running",
    "interrupted": "Run interrupted",
    "incomplete": "Run incomplete",
    "task_error": "Task error",
    "tool_error": "Tool call failed",
    "model_error": "Model call failed",
}
# Parameters that are not filters: a place in the list, a search sent by hand, what was seen.
OTHER_PARAMETERS = frozenset({"after", "go", "since"})
SHORTEST_SEARCH = 2


def problem_choices() -> list[tuple[str, str]]:
    kinds = list(problem_kinds())
    if "failed" in kinds:
        kinds.insert(1, "running")
    return [(kind, PROBLEM_LABELS[kind]) for kind in ("any", *kinds)]


class MomentField(forms.Field):
    """
    A date, or a date and time, in the viewer's time zone unless it names its own offset.

    Cleans to the aware datetime that bounds it: a date's first moment, or for `end` the first
    one after it, and whether the bound itself is included.
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
            # At the calendar's ends a moment may have no place in UTC.
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
    """A form shows an agent as chosen only where its id is spelt as the database does."""
    with suppress(ValueError):
        if len(data.getlist("agent")) == 1:
            agent = str(uuid.UUID(data["agent"]))
            data = data.copy()
            data["agent"] = agent
    return data


def query_string(values: dict[str, str]) -> str:
    """Without those that are empty."""
    query = QueryDict(mutable=True)
    query.update({name: value for name, value in values.items() if value})
    return query.urlencode()


class StrictForm(forms.Form):
    """A misspelt or doubled parameter would widen what is shown in silence."""

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
        # An end that is a date is the first moment behind it, and not included.
        if start and end and (start[0] > end[0] or (start[0] == end[0] and not end[1])):
            self.add_error("end_date", "The end is before the start.")
        return cleaned


class ConversationFilter(django_filters.FilterSet):
    search = django_filters.CharFilter(
        method="filter_search",
        label="Search",
        widget=SearchInput(attrs={"placeholder": "Search, or paste an id", "maxlength": 200}),
        max_length=200,
        strip=False,
    )
    scope = django_filters.ChoiceFilter(
        method="filter_nothing",
        label="Search in",
        empty_label="Messages",
        choices=[("all", "Errors and tools too")],
        widget=QuickSelect,
    )
    agent = django_filters.ModelChoiceFilter(
        queryset=Agent.objects.none(),
        label="Agent",
        empty_label="All agents",
        widget=AgentSelect,
        error_messages={"invalid_choice": "There is no such agent."},
    )
    external_id = django_filters.CharFilter(
        method="filter_external_id",
        label="External id starts with",
        widget=QuickInput,
        max_length=200,
        strip=False,
    )
    start_date = MomentFilter(field_name="created_at", label="Created from", end=False)
    end_date = MomentFilter(field_name="created_at", label="Created until", end=True)
    # Chosen by links.
    problem = django_filters.ChoiceFilter(
        method="filter_problem", label="Problem", choices=(), widget=HiddenInput
    )
    error = django_filters.CharFilter(
        method="filter_error",
        label="Error",
        max_length=400,
        strip=False,
        widget=HiddenInput,
    )
    evals = django_filters.ChoiceFilter(
        method="filter_evals",
        label="Evaluations",
        choices=[("hidden", "hidden")],
        widget=HiddenInput,
    )

    class Meta:
        model = Session
        fields = []
        form = ConversationFilterForm

    def __init__(self, data, **kwargs):
        super().__init__(with_agent_as_stored(data), **kwargs)
        self.filters["agent"].queryset = Agent.objects.only("name").order_by("name", "id")
        self.filters["problem"].extra["choices"] = problem_choices()

    def filter_search(self, queryset, name, value):
        everywhere = self.form.cleaned_data["scope"] == "all"
        return self.meeting(queryset, name, value, lambda: says(value, everywhere))

    def filter_problem(self, queryset, name, value):
        return self.meeting(queryset, name, value, lambda: has_problem(value))

    def filter_error(self, queryset, name, value):
        problem = self.form.cleaned_data["problem"]
        message = masking.raw(self.message)
        if message is None:
            return queryset.none()
        return self.meeting(queryset, name, message, lambda: failed_with(message, problem))

    def meeting(self, queryset, name, value, condition):
        if not is_storable(value):
            return queryset.none()
        self.conditions[name] = condition()
        return queryset

    @cached_property
    def message(self) -> str | None:
        """The error that is looked for, as folded_message() has it."""
        return folded_message(self.form.cleaned_data["error"])

    def filter_external_id(self, queryset, name, value):
        return queryset.with_external_id_prefix(value)

    def filter_evals(self, queryset, name, value):
        return queryset.without_evaluations()

    def filter_nothing(self, queryset, name, value):
        return queryset

    @cached_property
    def matching(self) -> Matching:
        """What the filters leave; nothing where one of them makes no sense."""
        self.conditions: dict[str, Condition] = {}
        if not self.is_valid():
            return Matching(self.queryset.none())
        base = self.filter_queryset(self.queryset.all())
        end = self.form.cleaned_data["end_date"]
        return Matching(base, tuple(self.conditions.values()), until=end and end[0])

    def matching_problem(self, kind: str) -> Matching:
        """What the other filters leave of the conversations with that problem."""
        matching = self.matching
        search = [self.conditions["search"]] if "search" in self.conditions else []
        return replace(matching, conditions=(*search, has_problem(kind)))

    @property
    def qs(self):
        return self.matching.queryset()

    def with_time(self) -> dict[str, str]:
        """{name: query string} that gives each date among the filters a time to edit."""
        found = {}
        for name, added in (("start_date", "T00:00"), ("end_date", "T23:59")):
            if DATE.fullmatch(self.data.get(name, "")):
                query = QueryDict(self.query(), mutable=True)
                query[name] += added
                found[name] = query.urlencode()
        return found

    def active(self) -> list[dict]:
        """What is filtered by, each with the query string of the list without it."""
        self.is_valid()
        chips = []
        for name, form_field in self.form.fields.items():
            # Those that make sense stay removable beside one that does not.
            value = self.form.cleaned_data.get(name)
            if value in (None, "") or (name == "scope" and not self.data.get("search")):
                continue
            text = self.data.get(name)
            if name == "agent":
                text = str(value)
            elif name == "problem":
                text = PROBLEM_LABELS[value]
            elif name == "scope":
                text = dict(form_field.choices)[value]
            elif name == "error" and self.message is not None:
                text = shown_message(self.message)
            chips.append({"label": form_field.label, "text": text, "without": self.query(name)})
        return chips

    def query(self, *left_out: str, keep_cursor: bool = False, **others: str) -> str:
        """The filters as a query string: without empty ones and those left out, with others."""
        names = set(self.filters) - set(left_out)
        if keep_cursor:
            names.add("after")
        if self.data.get("go") == "0":
            names.add("go")
        return query_string({name: self.data[name] for name in self.data if name in names} | others)
