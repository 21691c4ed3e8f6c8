"""The list of agents, and one agent with its parts, which come after the page as on Home."""

from django import forms
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.functional import cached_property

from conversations.agentdb.sql import payload_json
from conversations.models import Agent

from .. import charts, periods, tiles
from ..models import Fact
from ..page import OverviewPage, PeriodForm
from . import changes, nodes, ranking
from .schemas import LENGTH, schema


class AgentsForm(PeriodForm):
    # Set by links.
    sort = forms.ChoiceField(required=False, choices=ranking.SORTS, widget=forms.HiddenInput)
    page = forms.IntegerField(required=False, min_value=1, widget=forms.HiddenInput)


class AgentsView(OverviewPage):
    template_name = fragment_name = "overview/agents/agents.html"
    form_class = AgentsForm

    def part(self):
        if not self.known:
            return {**self.as_of(), "names": ranking.names().items()}
        found = periods.slices(self.period, self.known.until)
        span = periods.Span(found[0].since, found[-1].until)
        page = self.form.cleaned_data["page"] or 1
        ranked = ranking.ranking(span, self.period, self.sort, page)
        return {
            **self.as_of(),
            "periods": self.period_links(),
            "span_label": periods.label(periods.DAYS[self.period], span.until),
            "ranking": ranked,
            "columns": self.columns(),
            "previous": ranked.page > 1 and self.query(page=str(ranked.page - 1)),
            "next": ranked.page < ranked.pages and self.query(page=str(ranked.page + 1)),
        }

    @property
    def sort(self) -> str:
        return self.form.cleaned_data["sort"] or ranking.DEFAULT

    def columns(self) -> list[dict]:
        labels = [
            (ranking.NAME, "Agent"),
            *((column.name, column.label) for column in ranking.COLUMNS),
            (ranking.LAST, "Last activity"),
        ]
        return [
            {
                "label": label,
                "sorted": self.sort.removeprefix("-") == name and self.direction(name),
                "query": self.query(sort=f"-{name}" if self.sort == name else name),
            }
            for name, label in labels
        ]

    def direction(self, name: str) -> str:
        """Of aria-sort: the alphabet ascends, numbers and times descend."""
        ascends = (name == ranking.NAME) != self.sort.startswith("-")
        return "ascending" if ascends else "descending"

    def query(self, **others: str) -> str:
        return super().query(**{"sort": self.request.GET.get("sort", "")} | others)


class AgentPage(OverviewPage):
    template_name = "overview/agents/part.html"

    @cached_property
    def agent(self) -> Agent:
        return get_object_or_404(Agent.objects.only("name"), pk=self.kwargs["agent_id"])

    def get_context_data(self, **kwargs):
        return super().get_context_data(agent=self.agent, part=self.fragment_name, **kwargs)


class AgentView(AgentPage):
    """The page alone, with what the agent is: it reads no figures."""

    template_name = fragment_name = "overview/agents/agent.html"

    @cached_property
    def agent(self):
        schemas = {
            f"{name}_text": payload_json(name, LENGTH) for name in ("input_schema", "output_schema")
        }
        agents = Agent.objects.only("name", "description").annotate(**schemas)
        return get_object_or_404(agents, pk=self.kwargs["agent_id"])

    def part(self):
        agent = self.agent
        return {
            **self.as_of(),
            "last_activity": Fact.objects.last_activities([agent.pk]).get(agent.pk),
            "schemas": [
                ("Input", schema(agent.input_schema_text)),
                ("Output", schema(agent.output_schema_text)),
            ],
        }


class FiguresView(AgentPage):
    fragment_name = "overview/_figures.html"

    def part(self):
        until = self.known and self.known.until
        return {"overview": tiles.overview(until, self.agent.pk) if until else None}


class WorkflowView(AgentPage):
    """Drawn, with figures of its nodes over a period that links choose."""

    fragment_name = "overview/agents/_workflow.html"

    @cached_property
    def agent(self):
        agents = Agent.objects.only("name").annotate(workflow_bytes=nodes.WORKFLOW)
        return get_object_or_404(agents, pk=self.kwargs["agent_id"])

    def part(self):
        found = {
            "workflow_url": reverse("agent_workflow", args=[self.agent.pk]),
            "page_url": reverse("agent", args=[self.agent.pk]),
        }
        if not self.known:
            return found | {"workflow": nodes.workflow(self.agent, None)}
        slices = periods.slices(self.period, self.known.until)
        span = periods.Span(slices[0].since, slices[-1].until)
        return found | {
            "periods": self.period_links(),
            "span_label": periods.label(periods.DAYS[self.period], span.until),
            "workflow": nodes.workflow(self.agent, span),
        }


class ChangesView(AgentPage):
    """When the workflow changed, and the figures before and after."""

    fragment_name = "overview/agents/_changes.html"

    def part(self):
        return {"history": changes.history(self.agent.pk, self.known and self.known.until)}


class ChartsView(AgentPage):
    """Over a period that links choose."""

    fragment_name = "overview/_charts.html"

    def part(self):
        if not self.known:
            return {}
        return {
            "periods": self.period_links(),
            "charts_url": reverse("agent_charts", args=[self.agent.pk]),
            "page_url": reverse("agent", args=[self.agent.pk]),
            "charts": charts.charts(
                self.period,
                self.known.until,
                self.agent.pk,
                marks=changes.moments(self.agent.pk),
                mark_words="workflow changed",
            ),
        }
