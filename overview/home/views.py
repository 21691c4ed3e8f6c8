"""Home, and its parts that come after it: each is also a page of its own."""

from django.urls import reverse

from .. import charts, periods, tiles
from ..page import OverviewPage
from ..periods import UNITS
from ..rollup import lately
from . import live
from .problems_by_agent import SHOWN, problems_by_agent

# Of the form for summaries.
SUMMED = [
    (name, name.replace("-", " ").capitalize())
    for name in (
        "last-30-days", "last-7-days", "this-week", "last-week", "this-month", "last-month",
        "last-90-days",
    )
]  # fmt: skip


class HomePage(OverviewPage):
    template_name = "overview/home/part.html"

    def get_context_data(self, **kwargs):
        return super().get_context_data(part=self.fragment_name, **kwargs)


class HomeView(HomePage):
    """The page alone: it reads nothing but how old the figures are."""

    template_name = "overview/home/home.html"
    fragment_name = "overview/home/home.html"

    def part(self):
        return self.as_of()


class FiguresView(HomePage):
    fragment_name = "overview/_figures.html"

    def part(self):
        return {"overview": tiles.overview(self.known.until) if self.known else None}


class ChartsView(HomePage):
    """Over a period that links choose, with problems by agent in it."""

    fragment_name = "overview/home/_charts.html"

    def part(self):
        if not self.known:
            return {}
        found = periods.slices(self.period, self.known.until)
        span = periods.Span(found[0].since, found[-1].until)
        return {
            "periods": self.period_links(),
            "charts_url": reverse("home_charts"),
            "page_url": reverse("home"),
            "charts": charts.charts(self.period, self.known.until),
            "agents": problems_by_agent(span),
            "most_agents": SHOWN,
            "summaries": {"units": UNITS, "periods": SUMMED},
            "span_label": periods.label(periods.DAYS[self.period], span.until),
        }


class RisingView(HomePage):
    fragment_name = "overview/home/_rising.html"

    def part(self):
        return {"rising": live.rising()}


class NowView(HomePage):
    fragment_name = "overview/home/_now.html"

    def part(self):
        found = lately.since(self.known.until) if self.known else None
        return {
            "lately": found,
            "lately_numbers": tiles.numbers(found.span, found.figures) if found else None,
            "running": live.running(),
            "troubled": live.newest("any"),
        }
