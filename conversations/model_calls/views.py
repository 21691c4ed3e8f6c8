"""The page Model calls: each call with its figures, and what those under its filters add up to."""

from django.conf import settings
from django.http import HttpResponseRedirect
from django.utils import timezone
from django.utils.functional import cached_property
from django.views.generic import TemplateView

from backoffice.fragments import FragmentMixin

from ..access.conversation_access import ConversationAccess, audit_search
from ..agentdb import revision
from ..models import PAYLOAD_LABELS, PAYLOADS
from ..prices import price_list
from ..selection.filtered_page import FilteredPageMixin
from ..selection.find import SHARE_OF_TIMEOUT
from ..selection.model_calls import ModelCallFilter
from ..selection.pagination import Cursor
from .filtered_totals import UP_TO, filtered_totals
from .find import find, newer_page
from .rows import rows


class FilteredView(ConversationAccess, TemplateView):
    @cached_property
    def filters(self) -> ModelCallFilter:
        return ModelCallFilter(self.request.GET)

    def get(self, request, *args, **kwargs):
        # If the URL names a time zone, everyone who opens it sees the same dates.
        timezone.activate(self.filters.form.zone)
        return super().get(request, *args, **kwargs)


class ModelCallsView(FilteredPageMixin, FilteredView):
    template_name = "conversations/model_calls/model_calls.html"
    fragment_name = "conversations/model_calls/_page.html"
    page_size = 50

    def get_page(self, request, *args, **kwargs):
        if before := request.GET.get("before"):
            return HttpResponseRedirect(self.newer_page(Cursor.parse(before)))
        return super().get_page(request, *args, **kwargs)

    def newer_page(self, cursor: Cursor) -> str:
        """The address of the page that ends at this cursor."""
        above = newer_page(self.filters, cursor, self.page_size + 1, self.seconds)
        after = str(above[self.page_size]) if len(above) > self.page_size else ""
        query = self.filters.query(after=after)
        return f"{self.request.path}?{query}" if query else self.request.path

    @property
    def seconds(self) -> float:
        return settings.STATEMENT_TIMEOUT_SECONDS * SHARE_OF_TIMEOUT

    def get_context_data(self, **kwargs):
        after = self.request.GET.get("after", "")
        cursor = Cursor.parse(after) if after else None
        context = self.filters_context()
        if not self.filters.is_valid():
            return context
        found, reached = find(self.filters, cursor, self.page_size + 1, self.seconds)
        shown = found[: self.page_size]
        audit_search(self.request, self.filters, again=True, shown=len(shown))
        more = len(found) > self.page_size
        return context | {
            "rows": rows([place.id for place in shown], self.filters.agent_labels),
            "reached": reached,
            "next_cursor": str((shown[-1] if more else reached) or ""),
        }

    def filters_context(self) -> dict:
        self.filters.offer_choices()
        return {
            "filter": self.filters,
            "chips": self.filters.active(),
            "query": self.filters.query(),
            "after": self.request.GET.get("after", ""),
            "has_links": revision.has_model_call_links(),
            "price_list": price_list(),
            "payload_fields": [(name, PAYLOAD_LABELS[name]) for name in PAYLOADS["model-calls"][2]],
        }

    def shown_query(self, context) -> str:
        after = context["after"]
        return self.filters.query(**{"after": after} if after else {})


class TotalsView(FragmentMixin, FilteredView):
    """Loaded after the page, or a page of its own without JavaScript."""

    template_name = "conversations/model_calls/totals.html"
    fragment_name = "conversations/model_calls/_filtered_totals.html"

    def get_context_data(self, **kwargs):
        context = {"filter": self.filters, "query": self.filters.query(), "up_to": UP_TO}
        if not self.filters.is_valid():
            return context
        audit_search(self.request, self.filters, again=False)
        return context | {"totals": filtered_totals(self.filters), "as_of": timezone.now()}
