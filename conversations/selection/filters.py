"""The list's URL parameters. An invalid one is explained and matches nothing."""

import uuid
from dataclasses import replace
from datetime import timedelta

import django_filters
from django.http import QueryDict
from django.utils import timezone
from django.utils.functional import cached_property

from backoffice.databases.text import is_storable
from backoffice.words import exact, external_id_label
from privacy import masking

from ..models import LONGEST_IN_ADDRESS, Agent, Session
from ..problems import kinds, outcomes
from ..problems.messages import shown_message
from . import pasted
from .conditions import (
    Condition,
    Period,
    got_outcome,
    has_problem,
    is_active,
    message_contains,
    normalised_message,
    problem_is,
)
from .forms import (
    ACTIVE,
    CREATED,
    DATES,
    PERIOD,
    ConversationFilterForm,
    MomentFilter,
    TimeZoneFilter,
    query_string,
    with_agent_as_stored,
    with_zone_of_dates,
)
from .matching import Matching
from .named import Named, named
from .widgets import (
    DATE,
    AgentSelect,
    HiddenInput,
    QuickSelect,
    SearchInput,
)

# Links to activity in the last days: label, and how many days ago the first and the last were.
ACTIVITY = (("Today", 0, 0), ("Yesterday", 1, 1), ("Last 7 days", 6, 0), ("Last 30 days", 29, 0))


PLACEHOLDER = "Words, {}, or any id"


class ConversationFilter(django_filters.FilterSet):
    search = django_filters.CharFilter(
        method="filter_search",
        label="Search",
        help_text="Conversations with all of these words in their messages, in any order and in "
        "upper or lower case. Put a phrase in quotes. An id of any kind finds its conversation.",
        widget=SearchInput(attrs={"maxlength": 200}),
        max_length=200,
        strip=False,
    )
    scope = django_filters.ChoiceFilter(
        method="filter_nothing",
        label="Search in",
        help_text="“Errors and tools too” also searches what failed calls and tasks said, and the "
        "names of tools.",
        empty_label="Messages",
        choices=[("all", "Errors and tools too")],
        widget=QuickSelect,
    )
    agent = django_filters.ModelChoiceFilter(
        queryset=Agent.objects.none(),
        label="Agent",
        help_text="Conversations of this agent.",
        empty_label="All agents",
        widget=AgentSelect,
        error_messages={"invalid_choice": "There is no such agent."},
    )
    external_id = django_filters.CharFilter(
        method="filter_external_id",
        help_text="Conversations whose external id begins like this, in upper or lower case. It is "
        "what your own systems call the person or the ticket.",
        max_length=200,
        strip=False,
        widget=HiddenInput,
    )
    # Set by links: everything of one external id, to the letter.
    external_id_is = django_filters.CharFilter(
        method="filter_external_id_is",
        help_text="Everything of one person or ticket. Links to a person's page set it.",
        max_length=LONGEST_IN_ADDRESS,
        strip=False,
        widget=HiddenInput,
    )
    # The same for that of a conversation, where the address must not tell it.
    external_id_of = django_filters.UUIDFilter(
        method="filter_external_id_is",
        help_text="The same, for the person of a conversation.",
        widget=HiddenInput,
    )
    outcome = django_filters.ChoiceFilter(
        method="filter_outcome",
        label="Customer got",
        help_text="Conversations by what the customer got in the end, whatever went wrong before.",
        empty_label="Anything",
        choices=(),
        widget=QuickSelect,
    )
    start_date = MomentFilter(
        field_name="created_at",
        label="Created from",
        help_text="Conversations that began on this day or later.",
        end=False,
    )
    end_date = MomentFilter(
        field_name="created_at",
        label="Created until",
        help_text="Conversations that began on this day or earlier.",
        end=True,
    )
    active_from = MomentFilter(
        method="filter_active",
        label="Active from",
        help_text="Conversations with a message or a run on this day or later.",
        end=False,
    )
    active_until = MomentFilter(
        method="filter_active",
        label="Active until",
        help_text="Conversations with a message or a run on this day or earlier.",
        end=True,
    )
    tz = TimeZoneFilter(
        method="filter_nothing",
        label="Time zone",
        help_text="What dates are read in: your own time zone, unless a link names another one.",
    )
    # Set by links.
    problem = django_filters.ChoiceFilter(
        method="filter_problem",
        label="Problem",
        help_text="Conversations with this kind of problem. The tabs above the list choose it.",
        choices=(),
        widget=HiddenInput,
    )
    error = django_filters.CharFilter(
        method="filter_error",
        label="Error",
        help_text="Conversations in which something failed with this message. Links of the page "
        "Errors set it.",
        max_length=400,
        strip=False,
        widget=HiddenInput,
    )
    problem_from = MomentFilter(
        method="filter_problem",
        label="Problem from",
        help_text="Conversations in which something went wrong then or later. Errors sets it.",
        end=False,
        widget=HiddenInput,
    )
    problem_until = MomentFilter(
        method="filter_problem",
        label="Problem before",
        help_text="Conversations in which something went wrong before then. Errors sets it.",
        end=True,
        widget=HiddenInput,
    )
    evals = django_filters.ChoiceFilter(
        method="filter_evals",
        label="Evaluations",
        help_text="Leaves out conversations whose external id begins with “eval:”: tests of an "
        "agent, not people.",
        choices=[("hidden", "hidden")],
        widget=HiddenInput,
    )

    class Meta:
        model = Session
        fields = []
        form = ConversationFilterForm

    def __init__(self, data, **kwargs):
        super().__init__(with_zone_of_dates(with_agent_as_stored(data)), **kwargs)
        self.filters["agent"].queryset = Agent.objects.only("name").order_by("name", "id")
        self.filters["problem"].extra["choices"] = kinds.choices()
        self.filters["outcome"].extra["choices"] = outcomes.choices()
        label = external_id_label()
        external_id = self.filters["external_id"]
        external_id.label = f"{label} starts with"
        if masking.is_active():
            external_id.label = label
            external_id.extra["help_text"] = (
                "Conversations with exactly this external id, in upper or lower case."
            )
        self.filters["external_id_is"].label = self.filters["external_id_of"].label = label
        self.filters["search"].extra["widget"].attrs["placeholder"] = PLACEHOLDER.format(
            external_id_label(inside=True)
        )

    def filter_search(self, queryset, name, value):
        everywhere = self.form.cleaned_data["scope"] == "all"
        named = tuple(self.named.sessions)
        return self.meeting(
            queryset, name, value, lambda: message_contains(value, everywhere, named)
        )

    @cached_property
    def named(self) -> Named:
        """What the search names by an id."""
        return named(self.form.cleaned_data.get("search") or "")

    def filter_problem(self, queryset, name, value):
        """Dates of a problem alone ask for any problem."""
        problem = self.form.cleaned_data["problem"] or "any"
        self.conditions["problem"] = has_problem(problem, self.period)
        return queryset

    def filter_outcome(self, queryset, name, value):
        return self.meeting(queryset, name, value, lambda: got_outcome(value))

    def filter_error(self, queryset, name, value):
        problem = self.form.cleaned_data["problem"]
        message = masking.raw(self.message)
        if message is None:
            return queryset.none()
        return self.meeting(
            queryset, name, message, lambda: problem_is(message, problem, self.period)
        )

    def filter_active(self, queryset, name, value):
        start, end = (self.form.cleaned_data[date] for date in ("active_from", "active_until"))
        self.conditions["active"] = is_active(start and start[0], end and end[0])
        return queryset

    def meeting(self, queryset, name, value, condition):
        if not is_storable(value):
            return queryset.none()
        self.conditions[name] = condition()
        return queryset

    @property
    def period(self) -> Period:
        """When the problem that the filters ask for happened."""
        start, end = (self.form.cleaned_data[date] for date in PERIOD)
        return Period(start and start[0], end and end[0])

    @cached_property
    def message(self) -> str | None:
        """The normalised message that the filter `error` asks for."""
        return normalised_message(self.form.cleaned_data["error"])

    def filter_external_id(self, queryset, name, value):
        if not is_storable(value):
            return queryset.none()
        spellings = pasted.spellings(value)
        # By its beginning, one that is masked could be guessed letter by letter.
        if masking.is_active():
            return queryset.named(*spellings)
        # What was typed counts if anything begins so, else what is left of it without dirt.
        for spelling in spellings[:-1]:
            if Session.objects.named_from(spelling).exists():
                return queryset.named_from(spelling)
        return queryset.named_from(spellings[-1])

    def filter_external_id_is(self, queryset, name, value):
        external_id = masking.raw(value if name == "external_id_is" else self.person)
        if not external_id or not is_storable(external_id):
            return queryset.none()
        return queryset.with_external_id(external_id)

    @cached_property
    def person(self) -> str:
        """The external id that all conversations have, as it is shown; empty if there is none."""
        given = self.form.cleaned_data if self.is_valid() else {}
        if session_id := given.get("external_id_of"):
            named = Session.objects.filter(pk=session_id).values_list("external_id", flat=True)
            return named.first() or ""
        # As it was typed: a stand-in would tell whose it is.
        return given.get("external_id_is") or ""

    def filter_evals(self, queryset, name, value):
        return queryset.without_evaluations()

    def filter_nothing(self, queryset, name, value):
        return queryset

    @property
    def agent_labels(self) -> dict[uuid.UUID, str]:
        return self.form.fields["agent"].widget.labels

    @cached_property
    def matching(self) -> Matching:
        """The conversations that match; none if a filter is invalid."""
        self.conditions: dict[str, Condition] = {}
        if not self.is_valid():
            return Matching(self.queryset.none())
        base = self.filter_queryset(self.queryset.all())
        end = self.form.cleaned_data["end_date"]
        return Matching(base, tuple(self.conditions.values()), until=end and end[0])

    def matching_problem(self, kind: str) -> Matching:
        """
        Conversations with this problem that match the other filters; an error is one of the
        problem that is chosen.
        """
        matching = self.matching
        names = ["search", "active", "outcome"]
        if kind == self.form.cleaned_data["problem"]:
            names.append("error")
        others = [self.conditions[name] for name in names if name in self.conditions]
        return replace(matching, conditions=(*others, has_problem(kind, self.period)))

    def with_time(self) -> dict[str, str]:
        """{name: query string} that adds a time to edit to each date filter."""
        found = {}
        for name in DATES:
            if DATE.fullmatch(self.data.get(name, "")):
                query = QueryDict(self.query(), mutable=True)
                query[name] += "T23:59:59" if self.filters[name].extra["end"] else "T00:00"
                found[name] = query.urlencode()
        return found

    def has_rare(self) -> bool:
        """Whether a filter is set that small screens fold away."""
        return any(self.data.get(name) for name in ("outcome", *DATES))

    def zone_of_dates(self) -> dict | None:
        """What dates are read in and, if that is not the viewer's zone, how to read them there."""
        name, viewer = str(self.form.zone), str(self.form.viewer_zone)
        if self.data.get("tz") != name:
            return None
        other = {"name": viewer, "query": self.query("tz", tz=viewer)} if name != viewer else None
        return {"name": name, "other": other}

    def activity_links(self) -> list[dict]:
        """Days that are often asked for, in the zone of the other dates or else the viewer's."""
        form = self.form
        zone = form.zone if any(self.data.get(name) for name in CREATED) else form.viewer_zone
        today = timezone.localdate(timezone=zone)
        chosen = [self.data.get(name, "") for name in ACTIVE]
        links = []
        for label, first, last in ACTIVITY:
            days = [str(today - timedelta(days=back)) for back in (first, last)]
            query = self.query(*ACTIVE, "tz", **dict(zip(ACTIVE, days, strict=True)), tz=str(zone))
            links.append(
                {
                    "label": label,
                    "chosen": days == chosen and str(zone) == self.data.get("tz"),
                    "query": query,
                }
            )
        return links

    def active(self) -> list[dict]:
        """The active filters, each with the query string of the list without it."""
        self.is_valid()
        chips = []
        for name, form_field in self.form.fields.items():
            # Valid filters stay removable beside an invalid one.
            value = self.form.cleaned_data.get(name)
            if value in (None, "") or (name == "scope" and not self.data.get("search")):
                continue
            if name == "tz":
                continue
            text = self.data.get(name)
            if name in ("external_id_is", "external_id_of"):
                text = self.person or text
            elif name == "agent":
                text = self.agent_labels.get(value.pk, str(value))
            elif name == "problem":
                text = kinds.label(value)
            elif name in ("scope", "outcome"):
                text = dict(form_field.choices)[value]
            elif name in PERIOD:
                text = exact(value[0])
            elif name == "error" and self.message not in (None, text):
                # Of what somebody typed, a stand-in would tell whose it is.
                text = shown_message(self.message)
            chips.append({"label": form_field.label, "text": text, "without": self.query(name)})
        return chips

    def query(self, *left_out: str, keep_cursor: bool = False, **others: str) -> str:
        """The filters as a query string, without empty ones and `left_out`, plus `others`."""
        names = set(self.filters) - set(left_out)
        if keep_cursor:
            names.add("after")
        if self.data.get("go") == "0":
            names.add("go")
        values = {name: self.data[name] for name in self.data if name in names} | others
        if not any(values.get(name) for name in DATES):
            values.pop("tz", None)
        return query_string(values)
