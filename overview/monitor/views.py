"""The page Monitor, which keeps itself up to date."""

from django.http import JsonResponse
from django.utils import timezone
from django.views.generic import View

from conversations.access.conversation_access import ConversationAccess
from conversations.problems import kinds
from conversations.selection.forms import StrictForm, TimeZoneField

from ..page import OverviewPage
from .runs import AGENTS, COMPLETED, RUNS, monitor


class MonitorForm(StrictForm):
    tz = TimeZoneField(required=False)


class MonitorView(OverviewPage):
    template_name = "overview/monitor/monitor.html"
    fragment_name = "overview/monitor/_monitor.html"
    form_class = MonitorForm

    def part(self):
        return {
            "monitor": monitor(),
            "statuses": [COMPLETED, *(kind.name for kind in kinds.known("Run"))],
            "most_agents": AGENTS,
            "most_runs": RUNS,
            "as_of": timezone.now(),
        }


class StateView(ConversationAccess, View):
    """Tells an open page whether anything has changed, without any content."""

    def get(self, request):
        return JsonResponse({"signature": monitor().signature})
