"""The filters of the page Model calls, as URL parameters, which its export shares."""

import django_filters
from django import forms
from django.db.models import Q, QuerySet
from django.utils.functional import cached_property

from backoffice.databases.errors import timeouts_ignored
from backoffice.databases.time_limits import time_limit
from privacy import masking

from ..agentdb import revision
from ..models import Agent, ModelCall
from ..problems import kinds
from .forms import (
    CREATED,
    DatedForm,
    FilterSet,
    MomentFilter,
    TimeZoneFilter,
    moment_words,
    query_string,
    with_agent_as_stored,
    with_zone_of_dates,
)
from .widgets import AgentSelect, QuickInput, QuickSelect

FAILED, SUCCEEDED, NO_STATUS = "failed", "ok", "none"
STATUSES = {FAILED: "Failed", SUCCEEDED: "Succeeded", NO_STATUS: "No status"}
# A duration that can be: PostgreSQL takes NaN for the largest number.
LONGEST = 1e9
# The choices of models, types and statuses are those of the newest calls. Any others can be asked
# for in the address.
NEWEST = 1_000
NEWEST_SECONDS = 0.2
# The longest choice offered.
LONGEST_CHOICE = 200


class StatusField(forms.CharField):
    """One of STATUSES, or an HTTP status."""

    def clean(self, value):
        text = super().clean(value)
        is_code = text.isascii() and text.isdigit() and len(text) <= 3
        if text and text not in STATUSES and not is_code:
            raise forms.ValidationError("There is no such status.")
        return text


class StatusFilter(django_filters.Filter):
    field_class = StatusField

    def filter(self, queryset, value):
        return queryset.filter(status_is(value)) if value else queryset


def status_is(status: str) -> Q:
    failed = kinds.MODEL_ERROR.by_predicate()
    if status == FAILED:
        return failed
    if status == SUCCEEDED:
        return ~failed
    if status == NO_STATUS:
        return Q(response_code__isnull=True)
    return Q(response_code=int(status))


class OfferingSelect(QuickSelect):
    """Offers `offered` besides what is chosen; the view sets it."""

    offered: list[tuple[str, str]] = []
    empty_label = ""

    def pairs(self):
        return [("", self.empty_label), *self.offered]

    def render(self, name, value, attrs=None, renderer=None):
        if value and value not in dict(self.offered):
            self.offered = [*self.offered, (value, STATUSES.get(value, value))]
        return super().render(name, value, attrs, renderer)


def offering(empty_label: str) -> OfferingSelect:
    widget = OfferingSelect()
    widget.empty_label = empty_label
    return widget


class ModelCallFilter(FilterSet):
    agent = django_filters.ModelChoiceFilter(
        queryset=Agent.objects.none(),
        field_name="agent_id",
        label="Agent",
        empty_label="All agents",
        widget=AgentSelect,
        error_messages={"invalid_choice": "There is no such agent."},
    )
    model = django_filters.CharFilter(label="Model", strip=False, widget=offering("All models"))
    type = django_filters.CharFilter(
        field_name="call_type", label="Type", strip=False, widget=offering("All types")
    )
    status = StatusFilter(label="Status", widget=offering("Any status"))
    slow = django_filters.NumberFilter(
        method="filter_slow",
        label="Seconds, at least",
        min_value=0,
        max_value=LONGEST,
        widget=QuickInput(attrs={"inputmode": "decimal"}),
        error_messages={"invalid": "Enter a number of seconds, such as 2.5."},
    )
    start_date = MomentFilter(field_name="created_at", label="From", end=False)
    end_date = MomentFilter(field_name="created_at", label="Until", end=True)
    conversation = django_filters.UUIDFilter(
        field_name="session_id",
        label="Conversation",
        widget=QuickInput(attrs={"placeholder": "Its id"}),
        error_messages={"invalid": "Enter the whole id of a conversation."},
    )
    run = django_filters.UUIDFilter(
        field_name="run_id",
        label="Run",
        widget=QuickInput(attrs={"placeholder": "Its id"}),
        error_messages={"invalid": "Enter the whole id of a run."},
    )
    tz = TimeZoneFilter(method="filter_nothing", label="Time zone")

    class Meta:
        model = ModelCall
        fields = []
        form = DatedForm

    def __init__(self, data):
        data = with_zone_of_dates(with_agent_as_stored(data))
        super().__init__(data, queryset=ModelCall.objects.all())
        self.filters["agent"].queryset = Agent.objects.only("name").order_by("name", "id")
        if not revision.has_model_call_links():
            del self.filters["conversation"], self.filters["run"]

    def filter_queryset(self, queryset):
        # An agent is a foreign key of other models, but not of this one.
        agent = self.form.cleaned_data["agent"]
        for name, value in self.form.cleaned_data.items():
            if name != "agent":
                queryset = self.filters[name].filter(queryset, value)
        return queryset.filter(agent_id=agent.pk) if agent else queryset

    def filter_slow(self, queryset, name, value):
        return queryset.filter(duration_seconds__gte=value, duration_seconds__lte=LONGEST)

    def filter_nothing(self, queryset, name, value):
        return queryset

    @cached_property
    def matching(self) -> QuerySet:
        """The calls that match, or none if a filter is invalid."""
        if not self.is_valid():
            return self.queryset.none()
        return self.filter_queryset(self.queryset.all())

    @cached_property
    def near(self) -> QuerySet:
        """A larger set of calls, which an index gives newest first."""
        found = self.queryset.all()
        for name in CREATED:
            found = self.filters[name].filter(found, self.form.cleaned_data[name])
        agent = self.form.cleaned_data["agent"]
        return found.filter(agent_id=agent.pk) if agent else found

    @property
    def is_of_one(self) -> bool:
        """Whether only calls of one conversation or run match, which an index finds."""
        return any(self.form.cleaned_data.get(name) for name in ("conversation", "run"))

    @property
    def agent_labels(self) -> dict:
        return self.form.fields["agent"].widget.labels

    def offer_choices(self):
        """Fill the selects with what the newest calls have."""
        newest = ModelCall.objects.order_by("-created_at").values_list(
            "model", "call_type", "response_code"
        )
        found: list[tuple] = []
        with timeouts_ignored(), time_limit(newest.db, NEWEST_SECONDS):
            found = list(newest[:NEWEST])
        # A masked name would find nothing.
        for place, name in enumerate(("model", "type")):
            names = {row[place] for row in found if row[place] == masking.raw(row[place])}
            self.form.fields[name].widget.offered = [
                (each, each) for each in sorted(names) if 0 < len(each) <= LONGEST_CHOICE
            ]
        codes = sorted({str(code) for *_, code in found if code is not None and 0 <= code < 1_000})
        self.form.fields["status"].widget.offered = [
            *STATUSES.items(),
            *((code, code) for code in codes),
        ]

    def active(self) -> list[dict]:
        """The active filters, each with the query string of the list without it."""
        self.is_valid()
        chips = []
        for name, field in self.form.fields.items():
            value = self.form.cleaned_data.get(name)
            if value in (None, "") or name == "tz":
                continue
            text = self.data[name]
            if name == "agent":
                text = self.agent_labels.get(value.pk, str(value))
            elif name == "status":
                text = STATUSES.get(value, value)
            elif name in CREATED:
                text = moment_words(text, value[0])
            chips.append({"label": field.label, "text": text, "without": self.query(name)})
        return chips

    def zone_of_dates(self) -> str:
        """The time zone of the dates; empty without dates."""
        return self.data.get("tz", "") if any(self.data.get(name) for name in CREATED) else ""

    def query(self, *left_out: str, keep_cursor: bool = False, **others: str) -> str:
        """The filters as a query string: without empty ones and `left_out`, but with `others`."""
        names = set(self.filters) - set(left_out)
        if keep_cursor:
            names.add("after")
        values = {name: self.data[name] for name in self.data if name in names} | others
        if not any(values.get(name) for name in CREATED):
            values.pop("tz", None)
        return query_string(values)
