"""The page Errors: recent problems, each linked to its conversations in the list."""

from django import forms
from django.conf import settings
from django.utils import timezone
from django.utils.functional import cached_property
from django.views.generic import TemplateView

from ..access.conversation_access import ConversationAccess
from ..models import Agent
from ..problems import kinds
from ..selection.filtered_page import FilteredPageMixin
from ..selection.find import SHARE_OF_TIMEOUT
from ..selection.forms import StrictForm, query_string, with_agent_as_stored
from ..selection.widgets import AgentSelect
from . import collect, groups


class ErrorFilterForm(StrictForm):
    """An invalid filter is explained and matches nothing, as in the list."""

    agent = forms.ModelChoiceField(
        Agent.objects.none(),
        required=False,
        empty_label="All agents",
        widget=AgentSelect,
        error_messages={"invalid_choice": "There is no such agent."},
    )
    # Set by links.
    kind = forms.ChoiceField(required=False, widget=forms.HiddenInput)

    def __init__(self, data):
        super().__init__(with_agent_as_stored(data))
        self.fields["agent"].queryset = Agent.objects.only("name").order_by("name", "id")
        self.fields["kind"].choices = [(kind.name, kind.label) for kind in kinds.problems()]

    def query(self, *left_out: str, **others: str) -> str:
        """The filters as a query string, without empty ones and `left_out`, plus `others`."""
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
        as_of = timezone.now()
        found = groups.errors(seconds, self.form.cleaned_data["kind"], agent)
        return context | {
            "found": found,
            "as_of": as_of,
            "rows": [
                {
                    "group": group,
                    "kind": kinds.named(group.kind),
                    "query": list_query(group, agent),
                }
                for group in found.groups
            ],
            "capped": [
                {"label": kinds.label(kind), "oldest": oldest}
                for kind, oldest in found.capped.items()
            ],
        }

    def filters_context(self) -> dict:
        chosen = self.form.data.get("kind", "")
        return {
            "form": self.form,
            "kinds": [
                {
                    "label": label,
                    "chosen": kind == chosen,
                    "query": self.form.query("kind", kind=kind),
                }
                for kind, label in [("", "All"), *self.form.fields["kind"].choices]
            ],
            "days": collect.DAYS,
            "newest": collect.NEWEST,
        }

    def shown_query(self, context) -> str:
        return self.form.query()


def list_query(group: groups.Group, agent: Agent | None) -> str:
    """The list's query string that shows a group's conversations."""
    return query_string(
        {"problem": group.kind, "error": group.link, "agent": str(agent.pk) if agent else ""}
    )
