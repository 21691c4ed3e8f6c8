"""What the pages of the overview have in common."""

from datetime import timedelta

from django import forms
from django.utils import timezone
from django.utils.functional import cached_property
from django.views.generic import TemplateView

from backoffice import time_zones
from backoffice.fragments import FragmentMixin
from conversations.access.conversation_access import ConversationAccess
from conversations.selection.forms import StrictForm, TimeZoneField, query_string

from . import figures, periods

# Older figures are said to be old.
OLD = timedelta(hours=1)


class PeriodForm(StrictForm):
    # Set by links.
    period = forms.ChoiceField(required=False, choices=periods.CHOICES, widget=forms.HiddenInput)
    tz = TimeZoneField(required=False)


class OverviewPage(ConversationAccess, FragmentMixin, TemplateView):
    """Everything is in the time zone of the address, or else in the viewer's."""

    form_class = PeriodForm

    @cached_property
    def form(self):
        return self.form_class(self.request.GET)

    def get(self, request, *args, **kwargs):
        self.viewer_zone = str(timezone.get_current_timezone())
        if self.form.is_valid() and (zone := time_zones.named(self.form.cleaned_data["tz"])):
            timezone.activate(zone)
        return super().get(request, *args, **kwargs)

    def get_context_data(self, **kwargs):
        zone = str(timezone.get_current_timezone())
        context = super().get_context_data(form=self.form, zone=zone, query=self.query(), **kwargs)
        return context | self.part() if self.form.is_valid() else context

    def part(self) -> dict:
        """What is shown under a valid address."""
        raise NotImplementedError

    @property
    def period(self) -> str:
        return self.form.cleaned_data["period"] or periods.DEFAULT

    def as_of(self) -> dict:
        """What _as_of.html says: until when the figures are complete, and in which time zone."""
        return {
            "known": self.known,
            "until": self.known and periods.clock(self.known.until),
            "is_old": self.known and timezone.now() - self.known.as_of > OLD,
            "other_zone": self.other_zone(),
        }

    def other_zone(self) -> dict | None:
        if self.viewer_zone == str(timezone.get_current_timezone()):
            return None
        return {"name": self.viewer_zone, "query": self.query(tz=self.viewer_zone)}

    def period_links(self) -> list[dict]:
        return [
            {
                "label": label,
                "chosen": name == self.period,
                "query": self.query(period="" if name == periods.DEFAULT else name),
            }
            for name, label in periods.CHOICES
        ]

    def query(self, **others: str) -> str:
        zone = str(timezone.get_current_timezone())
        return query_string({"period": self.request.GET.get("period", ""), "tz": zone} | others)

    @cached_property
    def known(self) -> figures.Known | None:
        return figures.known()
