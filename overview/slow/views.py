"""The page Slow and failing, and its tables as files."""

from django import forms
from django.http import Http404

from backoffice.error_pages import error_response
from conversations.exports.tables import TABLE_FORMS, table_response
from conversations.models import Agent
from conversations.selection.forms import with_agent_as_stored
from conversations.selection.widgets import AgentSelect

from .. import figures, periods
from ..page import OverviewPage, PeriodForm
from . import files, reading, tables

SORTS = tuple(kind.name for kind in tables.KINDS)


class SlowForm(PeriodForm):
    agent = forms.ModelChoiceField(
        Agent.objects.none(), required=False, empty_label="All agents", widget=AgentSelect
    )

    def __init__(self, data):
        super().__init__(with_agent_as_stored(data))
        self.fields["agent"].queryset = Agent.objects.only("name").order_by("name", "id")
        # Set by links: what each table is sorted by.
        for kind in tables.KINDS:
            self.fields[kind.name] = forms.ChoiceField(
                required=False, choices=kind.sorts, widget=forms.HiddenInput
            )


class SlowPage(OverviewPage):
    form_class = SlowForm

    def get(self, request, *args, **kwargs):
        if self.form.has_error("agent", "invalid_choice"):
            raise Http404("There is no such agent.")
        return super().get(request, *args, **kwargs)

    @property
    def agent_id(self):
        agent = self.form.cleaned_data["agent"]
        return agent and agent.pk

    @property
    def span(self) -> periods.Span:
        slices = periods.slices(self.period, self.known.until)
        return periods.Span(slices[0].since, slices[-1].until)

    def query(self, **others: str) -> str:
        kept = {name: self.form.data.get(name, "") for name in ("agent", *SORTS)}
        return super().query(**kept | others)

    def sort(self, kind: tables.Kind) -> str:
        return self.form.cleaned_data[kind.name] or tables.DEFAULT


class SlowView(SlowPage):
    template_name = fragment_name = "overview/slow/slow.html"

    def part(self):
        if not self.known:
            return self.as_of()
        sorts = {kind.name: self.sort(kind) for kind in tables.KINDS}
        found = tables.tables(self.span, self.period, self.agent_id, sorts)
        return self.as_of() | {
            "periods": self.period_links(),
            "span_label": periods.label(periods.DAYS[self.period], self.span.until),
            "tables": [(table, self.columns(table.kind)) for table in found],
            "endings": TABLE_FORMS,
        }

    def columns(self, kind: tables.Kind) -> list[dict]:
        sort = self.sort(kind)
        labels = [(tables.NAME, kind.one.capitalize())]
        labels += [(column.name, column.label) for column in kind.columns]
        return [
            {
                "label": label,
                "sorted": sort.removeprefix("-") == name and direction(name, sort),
                "query": self.query(**{kind.name: f"-{name}" if sort == name else name}),
            }
            for name, label in labels
        ]


def direction(name: str, sort: str) -> str:
    """Of aria-sort: the alphabet ascends, numbers descend."""
    ascends = (name == tables.NAME) != sort.startswith("-")
    return "ascending" if ascends else "descending"


class SlowFileView(SlowPage):
    permission_required = ("conversations.view_session", "conversations.export_session")
    http_method_names = ["get"]

    def render_to_response(self, context, **kwargs):
        kind, ending = tables.BY_NAME.get(self.kwargs["table"]), self.kwargs["ending"]
        if kind is None or ending not in TABLE_FORMS:
            raise Http404
        if not self.form.is_valid():
            errors = [error for each in self.form.errors.values() for error in each]
            return error_response(self.request, 400, "No file was created", " ".join(errors))
        if not self.known:
            return error_response(self.request, 503, "No file was created", figures.NONE_YET)
        found = reading.calls(self.span, self.agent_id)[kind.what]
        names = tables.ranked(kind, found, self.sort(kind))
        rows = [files.values(kind, name, found[name]) for name in names]
        return table_response(
            self.request,
            f"slow-{kind.name}",
            ending,
            files.columns(kind),
            rows,
            query=self.query(),
        )

    def part(self):
        return {}
