"""The page Errors: recent problems, each linked to its conversations in the list."""

from django import forms
from django.conf import settings
from django.utils.functional import cached_property
from django.views.generic import TemplateView

from ..access.conversation_access import ConversationAccess
from ..models import Agent
from ..problems import kinds
from ..problems.kinds import Kind
from ..selection.filtered_page import FilteredPageMixin
from ..selection.find import SHARE_OF_TIMEOUT
from ..selection.forms import StrictForm, query_string, with_agent_as_stored
from ..selection.widgets import AgentSelect
from . import collect, groups, periods

SORTS = [
    ("count", "Most frequent"),
    ("rising", "Rising"),
    ("new", "Newest"),
    ("last", "Last seen"),
]


def kind_label(kind: Kind) -> str:
    """A run with a recorded reason is counted under that; here, only those without one are left."""
    return kind.label if kind.words else f"{kind.label}, no reason"


class ErrorFilterForm(StrictForm):
    """An invalid filter is explained and matches nothing, as in the list."""

    agent = forms.ModelChoiceField(
        Agent.objects.none(),
        required=False,
        empty_label="All agents",
        widget=AgentSelect,
        error_messages={"invalid_choice": "There is no such agent."},
    )
    # Set by links only.
    period = forms.ChoiceField(required=False, choices=periods.CHOICES, widget=forms.HiddenInput)
    sort = forms.ChoiceField(required=False, choices=SORTS, widget=forms.HiddenInput)
    kind = forms.ChoiceField(required=False, widget=forms.HiddenInput)

    def __init__(self, data):
        super().__init__(with_agent_as_stored(data))
        self.fields["agent"].queryset = Agent.objects.only("name").order_by("name", "id")
        self.fields["kind"].choices = [(kind.name, kind_label(kind)) for kind in kinds.problems()]

    def query(self, *left_out: str, **others: str) -> str:
        """The filters as a query string: without empty ones and `left_out`, with `others`."""
        return query_string(
            {name: self.data.get(name, "") for name in self.fields if name not in left_out} | others
        )


class ErrorsView(ConversationAccess, FilteredPageMixin, TemplateView):
    template_name = "conversations/errors/errors.html"
    fragment_name = "conversations/errors/_errors.html"

    @cached_property
    def form(self):
        return ErrorFilterForm(self.request.GET)

    def get_context_data(self, **kwargs):
        context = self.filters_context()
        if not self.form.is_valid():
            return context
        seconds = settings.STATEMENT_TIMEOUT_SECONDS * SHARE_OF_TIMEOUT
        agent = self.form.cleaned_data["agent"]
        shown = self.shown
        found = groups.errors(
            seconds,
            self.form.cleaned_data["kind"],
            agent,
            shown,
            self.form.cleaned_data["sort"] or "count",
        )
        return context | {
            "found": found,
            "as_of": shown.now,
            "axis": shown.axis,
            "rows": [group_row(group, agent, shown) for group in found.groups],
            "capped": [
                {"label": kinds.label(kind), "oldest": oldest}
                for kind, oldest in found.capped.items()
            ],
        }

    @cached_property
    def shown(self) -> periods.Shown:
        return periods.named(self.form.cleaned_data.get("period") or periods.DEFAULT)

    def filters_context(self) -> dict:
        self.form.is_valid()
        return {
            "form": self.form,
            "kinds": self.links("kind", [("", "All"), *self.form.fields["kind"].choices]),
            "periods": self.links("period", periods.CHOICES, periods.DEFAULT),
            "sorts": self.links("sort", SORTS, "count"),
            "shown": self.shown,
            "newest": collect.NEWEST,
            "of_kind": self.of_kind(),
        }

    def of_kind(self) -> dict | None:
        """For a kind that is counted here only without a reason: the list of all of them."""
        name = self.form.is_valid() and self.form.cleaned_data["kind"]
        if not name or kinds.named(name).words:
            return None
        agent = self.form.cleaned_data["agent"]
        since_until = periods.parameters(self.shown.since, self.shown.until)
        query = {"problem": name} | since_until | ({"agent": str(agent.pk)} if agent else {})
        return {"kind": kinds.named(name), "query": query_string(query)}

    def links(self, name: str, choices: list, default: str = "") -> list[dict]:
        chosen = self.form.data.get(name, "") or default
        return [
            {
                "label": label,
                "chosen": value == chosen,
                "query": self.form.query(name, **{name: "" if value == default else value}),
            }
            for value, label in choices
        ]

    def shown_query(self, context) -> str:
        return self.form.query()


def group_row(group: groups.Group, agent: Agent | None, shown: periods.Shown) -> dict:
    def query(error: str) -> str:
        """The query string of the list that shows the conversations with an error."""
        of_agent = {"agent": str(agent.pk)} if agent else {}
        since_until = periods.parameters(group.since, shown.until)
        return query_string({"problem": group.kind, "error": error} | since_until | of_agent)

    return {
        "group": group,
        "kind": kinds.named(group.kind),
        "query": query(group.link),
        "names": [{"name": name, "query": query(name.link)} for name in group.names],
    }
