"""The thresholds of agents in the admin panel: when `manage.py notify` tells something of them."""

from uuid import UUID

from django import forms
from django.contrib import admin

from audit.panel import RecordedEdits, RecordedViews
from backoffice.admin import KnownFilters
from conversations.models import Agent
from conversations.selection.agents import labels

from .models import Threshold


def agent_labels() -> dict[UUID, str]:
    return labels(list(Agent.objects.order_by("name", "id").values_list("pk", "name")))


def gone(pk: UUID) -> str:
    return f"{pk} (no longer exists)"


class ThresholdForm(forms.ModelForm):
    agent_id = forms.TypedChoiceField(label="Agent", coerce=UUID)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        pk = self.instance.agent_id
        if self.instance.pk:
            names = {pk: agent_labels().get(pk, gone(pk))}
            self.fields["agent_id"].disabled = True
        else:
            taken = set(Threshold.objects.values_list("agent_id", flat=True))
            names = {pk: name for pk, name in agent_labels().items() if pk not in taken}
        self.fields["agent_id"].choices = names.items()


@admin.register(Threshold)
class ThresholdAdmin(RecordedViews, RecordedEdits, KnownFilters, admin.ModelAdmin):
    form = ThresholdForm
    list_display = ["agent", "problem_percent", "minimum_conversations", "silent_hours"]
    ordering = ["agent_id"]
    fields = ["agent_id", *list_display[1:]]

    def get_changelist_instance(self, request):
        changelist = super().get_changelist_instance(request)
        names = agent_labels()
        for row in changelist.result_list:
            row.agent_label = names.get(row.agent_id, gone(row.agent_id))
        return changelist

    @admin.display(description="Agent")
    def agent(self, threshold):
        return threshold.agent_label

    def audit_details(self, threshold):
        return {
            "name": str(threshold.agent_id),
            "problem_percent": threshold.problem_percent,
            "minimum_conversations": threshold.minimum_conversations,
            "silent_hours": threshold.silent_hours,
        }
