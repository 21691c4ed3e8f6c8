"""The list of conversations, and what it loads after it is shown."""

import uuid

from django.conf import settings
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.functional import cached_property
from django.views.generic import TemplateView
from django_htmx.http import HttpResponseClientRedirect

from backoffice.databases.errors import timeouts_ignored
from backoffice.databases.time_limits import time_limit
from backoffice.fragments import wants_fragment

from ..access.conversation_access import ConversationAccess, audit_search
from ..models import Session
from ..problems import kinds
from ..selection.filtered_page import FilteredPageMixin
from ..selection.filters import ConversationFilter
from ..selection.find import SHARE_OF_TIMEOUT, find
from ..selection.pagination import Cursor
from ..summaries import summaries
from . import counts
from .direct_hits import direct_hits
from .newest_problems import newest_problems
from .snippets import snippets

NEW_UP_TO = 99
NEW_SECONDS = 0.3


class FilteredView(ConversationAccess, TemplateView):
    # Whether the audit trail already has the search.
    is_told = False

    @cached_property
    def filterset(self):
        return ConversationFilter(self.request.GET, queryset=Session.objects.all())

    def dispatch(self, request, *args, **kwargs):
        response = super().dispatch(request, *args, **kwargs)
        # Any answer, even a count or a redirect, tells a user whether guessed words occur.
        if response.status_code != 403 and not self.is_told:
            audit_search(request, self.filterset, again=False)
        return response


class ConversationListView(FilteredPageMixin, FilteredView):
    template_name = "conversations/listing/list.html"
    fragment_name = "conversations/listing/_list.html"
    page_size = 50

    def get_page(self, request, *args, **kwargs):
        # Where dates name a zone, the page is the same to whoever opens its link.
        timezone.activate(self.filterset.form.zone)
        if len(self.direct_hits) == 1 and self.sent_by_hand:
            return self.go_to(self.direct_hits[0].url)
        return super().get_page(request, *args, **kwargs)

    def go_to(self, url):
        return HttpResponseClientRedirect(url) if self.request.htmx else redirect(url)

    @cached_property
    def direct_hits(self):
        """What the search names; none with a cursor, a scope or a long text."""
        query = self.request.GET
        text = query.get("search", "")
        return (
            [] if "after" in query or query.get("scope") or len(text) > 200 else direct_hits(text)
        )

    @property
    def sent_by_hand(self) -> bool:
        """
        Nothing opens by itself while a user types, nor when Back leads to what was typed: the
        URL then says go=0.
        """
        go = self.request.GET.get("go")
        return go == "1" if wants_fragment(self.request) else go != "0"

    def get_context_data(self, **kwargs):
        after = self.request.GET.get("after", "")
        cursor = Cursor.parse(after) if after else None
        matching = self.filterset.matching
        seconds = settings.STATEMENT_TIMEOUT_SECONDS * SHARE_OF_TIMEOUT
        places, reached = find(matching, cursor, self.page_size + 1, seconds)
        more = len(places) > self.page_size
        places = places[: self.page_size]
        next_cursor = places[-1] if more else reached
        rows = summaries([place.id for place in places])
        self.add_texts(rows)
        audit_search(self.request, self.filterset, again=True, shown=len(rows))
        self.is_told = True
        return self.filters_context() | {
            "direct_hits": self.direct_hits,
            "rows": rows,
            "next_cursor": str(next_cursor or ""),
            "reached": reached,
            "newest": str(places[0] if places else Cursor(timezone.now(), uuid.UUID(int=0))),
            "total": self.total(len(rows), bool(next_cursor or after)),
        }

    def filters_context(self) -> dict:
        filters = self.filterset
        return {
            "filter": filters,
            "chips": filters.active(),
            "query": filters.query(),
            "place": filters.query(keep_cursor=True),
            "after": self.request.GET.get("after", ""),
            "problems": problem_links(filters),
            "activity": filters.activity_links(),
            "zone": filters.zone_of_dates(),
            "without_evals": filters.query("evals", evals="hidden"),
        }

    def add_texts(self, rows):
        words = newest_problems(rows)
        found = {}
        if rows and (text := self.filterset.form.cleaned_data.get("search")):
            everywhere = self.filterset.form.cleaned_data["scope"] == "all"
            found = snippets([row.pk for row in rows], text, everywhere, self.filterset.query())
        for row in rows:
            row.newest_problem = words.get(row.pk, "")
            row.snippets = found.get(row.pk, [])

    def total(self, shown: int, more: bool) -> dict:
        """As far as it is known at once; CountsView counts the rest."""
        if not more:
            return {"exact": shown}
        return counts.quick_total(self.filterset.matching) or {"at_least": shown}

    def shown_query(self, context) -> str:
        if context.get("direct_hits") and "go=0" not in context["place"]:
            return f"{context['place']}&go=0"
        return context["place"]


def problem_links(filters) -> list[dict]:
    """The kinds of problems to choose from, each with the query string that chooses it."""
    chosen = filters.data.get("problem", "")
    return [
        {
            "kind": kind,
            "label": label,
            "chosen": kind == chosen,
            "query": filters.query("problem", "error", **({"problem": kind} if kind else {})),
        }
        for kind, label in [("", "All"), *kinds.choices()]
    ]


class CountsView(FilteredView):
    """The exact total, and how many conversations have each problem under the other filters."""

    template_name = "conversations/listing/_counts.html"

    def get_context_data(self, **kwargs):
        filters = self.filterset
        context = {"filter": filters, "problems": problem_links(filters), "counted": True}
        if not filters.is_valid():
            return context
        counted = counts.of_list(filters)
        for problem in context["problems"]:
            problem["number"] = counted["numbers"].get(problem["kind"])
        return context | {"total": counted["total"], "up_to": counts.PROBLEM_UP_TO}


class NewArrivalsView(FilteredView):
    """How many conversations have come to the top of the list since it was shown."""

    template_name = "conversations/listing/_new.html"

    def get_context_data(self, **kwargs):
        since = Cursor.parse(self.request.GET.get("since", ""))
        matching = self.filterset.matching
        newer = matching.base.newer_than(since.updated_at, since.id)
        # There are few of them: probing each is quicker than collecting.
        newer = newer.filter(*(condition.as_probe() for condition in matching.conditions))
        number = 0
        with timeouts_ignored(), time_limit(newer.db, NEW_SECONDS):
            number = newer.order_by()[: NEW_UP_TO + 1].count()
        return {"number": number, "up_to": NEW_UP_TO, "query": self.filterset.query()}
