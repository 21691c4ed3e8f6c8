"""The list's filters, as URL parameters. An invalid one is explained and matches nothing."""

import uuid
from dataclasses import replace

import django_filters
from django.http import QueryDict
from django.utils.functional import cached_property

from backoffice.databases.text import is_storable
from backoffice.words import external_id_label
from privacy import masking

from ..agentdb.step_names import NAME_LENGTH
from ..models import LONGEST_IN_ADDRESS, Agent, Session
from ..problems import kinds, outcomes
from . import pasted
from .conditions import (
    Condition,
    Period,
    got_outcome,
    has_problem,
    has_step,
    is_active,
    normalised_message,
    problem_is,
)
from .forms import (
    ACTIVE,
    CREATED,
    DATES,
    PERIOD,
    STEP_DETAILS,
    STEP_PERIOD,
    STEPS,
    ConversationFilterForm,
    FilterSet,
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
from .words import message_contains

# The filters that small screens fold away.
FOLDED = ("scope", "agent", "outcome", *CREATED, *ACTIVE)

PLACEHOLDER = "Words, {}, or any id"


class StepFilter(django_filters.CharFilter):
    def __init__(self, label: str, what_happened: str):
        super().__init__(
            method="filter_step",
            label=label,
            help_text=f"Conversations in which {what_happened}. Links on the page Slow and failing "
            "set this.",
            max_length=NAME_LENGTH,
            strip=False,
            widget=HiddenInput,
        )


class ConversationFilter(FilterSet):
    search = django_filters.CharFilter(
        method="filter_search",
        label="Search",
        help_text="Conversations with all of these words in their messages, in any order and in "
        "upper or lower case. Put a phrase in quotes. An id of any kind finds its conversation.",
        max_length=200,
        strip=False,
    )
    scope = django_filters.ChoiceFilter(
        method="filter_nothing",
        label="Search in",
        help_text="“Errors and tools too” also searches the error messages of failed calls and "
        "tasks, and the names of tools.",
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
        help_text="Conversations whose external id begins with this text, in upper or lower case. "
        "The external id is what your own systems call the person or ticket.",
        max_length=200,
        strip=False,
        widget=HiddenInput,
    )
    # Set by links to one person: exactly this external id.
    external_id_is = django_filters.CharFilter(
        method="filter_external_id_is",
        help_text="All conversations of one person or ticket. Links to a person’s page set this.",
        max_length=LONGEST_IN_ADDRESS,
        strip=False,
        widget=HiddenInput,
    )
    # The same through one of their conversations, if the URL must not reveal the external id.
    external_id_of = django_filters.UUIDFilter(
        method="filter_external_id_is",
        help_text="All conversations of the person or ticket in this conversation.",
        widget=HiddenInput,
    )
    outcome = django_filters.ChoiceFilter(
        method="filter_outcome",
        label="Customer got",
        help_text="What the customer got in the end, whatever went wrong on the way.",
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
        help_text="The time zone for dates: your own, unless the link you opened names another.",
    )
    # Set by links.
    problem = django_filters.ChoiceFilter(
        method="filter_problem",
        label="Problem",
        help_text="Conversations with this kind of problem. The tabs above the list set this.",
        choices=(),
        widget=HiddenInput,
    )
    error = django_filters.CharFilter(
        method="filter_error",
        label="Error",
        help_text="Conversations in which something failed with this message. Links on the Errors "
        "page set this.",
        max_length=400,
        strip=False,
        widget=HiddenInput,
    )
    problem_from = MomentFilter(
        method="filter_problem",
        label="Problem from",
        help_text="Conversations in which something went wrong at or after this time. Links on the "
        "Errors page set this.",
        end=False,
        widget=HiddenInput,
    )
    problem_until = MomentFilter(
        method="filter_problem",
        label="Problem before",
        help_text="Conversations in which something went wrong before this time. Links on the "
        "Errors page set this.",
        end=True,
        widget=HiddenInput,
    )
    node = StepFilter("Node", "this node of a workflow ran")
    tool = StepFilter("Tool", "the agent called this tool")
    model = StepFilter("Model", "the agent called this model")
    step = django_filters.ChoiceFilter(
        method="filter_nothing",
        label="Step",
        help_text="With a node, tool or model: conversations in which it failed.",
        choices=[("failed", "failed")],
        widget=HiddenInput,
    )
    step_from = MomentFilter(
        method="filter_nothing",
        label="Step from",
        help_text="With a node, tool or model: conversations that used it at or after this time.",
        end=False,
        widget=HiddenInput,
    )
    step_until = MomentFilter(
        method="filter_nothing",
        label="Step before",
        help_text="With a node, tool or model: conversations that used it before this time.",
        end=True,
        widget=HiddenInput,
    )
    evals = django_filters.ChoiceFilter(
        method="filter_evals",
        label="Evaluations",
        help_text="Leaves out conversations whose external id begins with “eval:”. They are tests "
        "of an agent, without a real person.",
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
        placeholder = PLACEHOLDER.format(external_id_label(inside=True))
        self.filters["search"].extra["widget"] = SearchInput({"placeholder": placeholder})

    def filter_search(self, queryset, name, value):
        everywhere = self.form.cleaned_data["scope"] == "all"
        named = tuple(self.named.sessions)
        return self.meeting(
            queryset, name, value, lambda: message_contains(value, everywhere, named)
        )

    @cached_property
    def named(self) -> Named:
        """The conversations whose ids the search contains."""
        return named(self.form.cleaned_data.get("search") or "")

    def filter_problem(self, queryset, name, value):
        """Filter by kind and time. If only the time is given, any kind of problem matches."""
        problem = self.form.cleaned_data["problem"] or "any"
        self.conditions["problem"] = has_problem(problem, self.period)
        return queryset

    def filter_outcome(self, queryset, name, value):
        return self.meeting(queryset, name, value, lambda: got_outcome(value))

    def filter_error(self, queryset, name, value):
        problem = self.form.cleaned_data["problem"]
        # The message of a row that is gone matches nothing, but other kinds of problem may match.
        message = masking.raw(self.message) or ""
        return self.meeting(
            queryset, name, message, lambda: problem_is(message, problem, self.period)
        )

    def filter_active(self, queryset, name, value):
        self.conditions["active"] = is_active(self.between(ACTIVE))
        return queryset

    def filter_step(self, queryset, name, value):
        period, failed = self.between(STEP_PERIOD), self.form.cleaned_data["step"] == "failed"
        return self.meeting(
            queryset, name, value, lambda: has_step(name, value, period, failed=failed)
        )

    def meeting(self, queryset, name, value, condition):
        if not is_storable(value):
            return queryset.none()
        self.conditions[name] = condition()
        return queryset

    @property
    def period(self) -> Period:
        """When the problem must have happened."""
        return self.between(PERIOD)

    def between(self, dates: tuple[str, str]) -> Period:
        start, end = (self.form.cleaned_data[date] for date in dates)
        return Period(start and start[0], end and end[0])

    @cached_property
    def message(self) -> str | None:
        """The normalised message in the filter `error`."""
        return normalised_message(self.form.cleaned_data["error"])

    def filter_external_id(self, queryset, name, value):
        spellings = pasted.spellings(value)
        if not spellings or not is_storable(value):
            return queryset.none()
        # A prefix search would let users guess a masked external id letter by letter.
        if masking.is_active():
            return queryset.named(*spellings)
        # Use the first spelling that any external id begins with, else the last one, which is
        # cleaned up most.
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
        """The external id in the filter for one person, as pages show it, or an empty string."""
        given = self.form.cleaned_data if self.is_valid() else {}
        if session_id := given.get("external_id_of"):
            named = Session.objects.filter(pk=session_id).values_list("external_id", flat=True)
            return named.first() or ""
        # Not masked, since a stand-in would reveal whose it is.
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
        """The conversations that match, or none if a filter is invalid."""
        self.conditions: dict[str, Condition] = {}
        if not self.is_valid():
            return Matching(self.queryset.none())
        base = self.filter_queryset(self.queryset.all())
        given = self.form.cleaned_data
        return Matching(
            base,
            tuple(self.conditions.values()),
            until=given["end_date"] and given["end_date"][0],
            by_beginning=bool(given["external_id"]),
        )

    def matching_problem(self, kind: str) -> Matching:
        """
        Conversations with this problem that match the other filters. The filter by error only
        applies if this is the chosen problem.
        """
        matching = self.matching
        names = ["search", "active", "outcome", *STEPS]
        if kind == self.form.cleaned_data["problem"]:
            names.append("error")
        others = [self.conditions[name] for name in names if name in self.conditions]
        return replace(matching, conditions=(*others, has_problem(kind, self.period)))

    def with_time(self) -> dict[str, str]:
        """{name of a date filter: query string that adds a time to it, which the user can edit}."""
        found = {}
        for name in (*CREATED, *ACTIVE):
            if DATE.fullmatch(self.data.get(name, "")):
                query = QueryDict(self.query(), mutable=True)
                query[name] += "T23:59:59" if self.filters[name].extra["end"] else "T00:00"
                found[name] = query.urlencode()
        return found

    def has_dates(self) -> bool:
        return any(self.data.get(name) for name in DATES)

    def folded_number(self) -> int:
        """How many of the filters that small screens fold away are set."""
        names = [name for name in FOLDED if name != "scope" or self.data.get("search")]
        return sum(bool(self.data.get(name)) for name in names)

    def folded_errors(self) -> bool:
        """Whether a folded filter is invalid. Then the page must unfold them to show why."""
        return any(name in self.errors for name in FOLDED)

    def zone_of_dates(self) -> dict | None:
        """The dates' time zone and, if that is not the viewer's, a link that uses the viewer's."""
        name, viewer = str(self.form.zone), str(self.form.viewer_zone)
        if self.data.get("tz") != name:
            return None
        other = {"name": viewer, "query": self.query("tz", tz=viewer)} if name != viewer else None
        return {"name": name, "other": other}

    def query(self, *left_out: str, keep_cursor: bool = False, **others: str) -> str:
        """The filters as a query string: without empty ones and `left_out`, but with `others`."""
        names = set(self.filters) - set(left_out)
        if keep_cursor:
            names.add("after")
        if self.data.get("go") == "0":
            names.add("go")
        values = {name: self.data[name] for name in self.data if name in names} | others
        if not any(values.get(name) for name in STEPS):
            values = {name: value for name, value in values.items() if name not in STEP_DETAILS}
        if not any(values.get(name) for name in DATES):
            values.pop("tz", None)
        return query_string(values)
