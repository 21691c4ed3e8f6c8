"""The list of conversations, and what it loads after it is shown."""

from django.conf import settings
from django.core.exceptions import BadRequest
from django.http import JsonResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.functional import cached_property
from django.views.generic import TemplateView
from django_htmx.http import HttpResponseClientRedirect

from backoffice.fragments import wants_fragment
from privacy.stand_ins import is_asked_for

from ..access.conversation_access import ConversationAccess, audit_search
from ..models import Session, labelled
from ..problems import kinds, outcomes
from ..selection.filtered_page import FilteredPageMixin
from ..selection.filters import ConversationFilter
from ..selection.find import SHARE_OF_TIMEOUT, find
from ..selection.forms import PERIOD
from ..selection.named import MOST
from ..selection.pagination import Cursor
from ..summaries import (
    histories,
    run_signature,
    run_states,
    signature,
    summaries,
    unfinished_runs,
)
from . import counts, open_page
from .newest_problems import newest_problems
from .offers import offers
from .snippets import named_address, named_by, snippets
from .title import title

# Filters in which somebody may look for a masked person.
TYPED = ("search", "external_id")


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

    def get(self, request, *args, **kwargs):
        # Where dates name a zone, the page is the same to whoever opens its link.
        timezone.activate(self.filterset.form.zone)
        return super().get(request, *args, **kwargs)

    def add_texts(self, rows):
        words = newest_problems(rows, self.filterset)
        runs = histories([row for row in rows if row.problems])
        filters, query = self.filterset, self.filterset.query()
        text, found = filters.form.cleaned_data.get("search") or "", {}
        if rows and text:
            everywhere = filters.form.cleaned_data["scope"] == "all"
            found = snippets([row.pk for row in rows], text, everywhere, query)
        labels = filters.agent_labels if rows else {}
        for row in rows:
            # The filter has read all agents anyway.
            named = labelled(row.agent_name, None)
            row.has_namesake = labels.get(row.agent_id, named) != named
            row.newest_problem = words.get(row.pk, "")
            row.outcome = outcomes.outcome_of(runs.get(row.pk, ""))
            row.snippets = [*named_by(row, filters.named, text, query), *found.get(row.pk, [])]


class ConversationListView(FilteredPageMixin, FilteredView):
    template_name = "conversations/listing/list.html"
    fragment_name = "conversations/listing/_list.html"
    page_size = 50

    def get_page(self, request, *args, **kwargs):
        # Nothing opens by itself while a user types, nor when Back leads to what was typed.
        if request.GET.get("go") == "1" and (url := self.only_match()):
            return HttpResponseClientRedirect(url) if request.htmx else redirect(url)
        return super().get_page(request, *args, **kwargs)

    def only_match(self) -> str | None:
        """The address of what the search names, if no other conversation matches."""
        named = self.filterset.is_valid() and self.filterset.named
        if not named or len(named.sessions) != 1:
            return None
        places, _ = self.find(None, 2)
        if [place.id for place in places] != named.sessions:
            return None
        [session_id] = named.sessions
        kind, row_id = named.by_id.get(session_id, ("session", session_id))
        return named_address(session_id, kind, row_id, self.filterset.query())

    def find(self, cursor, limit):
        seconds = settings.STATEMENT_TIMEOUT_SECONDS * SHARE_OF_TIMEOUT
        return find(self.filterset.matching, cursor, limit, seconds)

    def get_context_data(self, **kwargs):
        query = self.request.GET
        after = query.get("after", "")
        cursor = Cursor.parse(after) if after else None
        matching = self.filterset.matching
        places, reached = self.find(cursor, self.page_size + 1)
        more = len(places) > self.page_size
        places = places[: self.page_size]
        next_cursor = places[-1] if more else reached
        rows = summaries([place.id for place in places])
        self.add_texts(rows)
        shown_runs = open_page.note_runs(rows)
        awaited, awaits = [], True
        # An older page announces nothing.
        if not after:
            most = open_page.MOST_RUNS - shown_runs
            awaited, awaits = open_page.awaited_runs(matching, most)
        stand_in = not rows and any(is_asked_for(query.get(name, "")) for name in TYPED)
        finds_nothing = not (rows or reached or after or stand_in)
        audit_search(self.request, self.filterset, again=True, shown=len(rows))
        self.is_told = True
        total = self.total(len(rows), bool(next_cursor or after))
        return self.filters_context() | {
            "title": title(self.filterset, total),
            # htmx takes the title from a fragment too.
            "as_fragment": wants_fragment(self.request),
            "more_named": self.more_named(),
            "facts": facts(rows) if rows and not (next_cursor or after) else None,
            "rows": rows,
            "stand_in": stand_in,
            "offers": offers(self.filterset) if finds_nothing else [],
            "next_cursor": str(next_cursor or ""),
            "reached": reached,
            "newest": str(places[0] if places and not after else open_page.now()),
            "awaited": ",".join(run.hex for run in awaited),
            "awaits": awaits,
            # After a click on "1 new", the counts must not be those of before.
            "counts_anew": "X-New" in self.request.headers,
            "total": total,
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
            "person": filters.person,
            "without_evals": filters.query("evals", evals="hidden"),
        }

    def total(self, shown: int, more: bool) -> dict:
        """As far as it is known at once; CountsView counts the rest."""
        if not more:
            return {"exact": shown}
        return counts.quick_total(self.filterset.matching) or {"at_least": shown}

    def more_named(self) -> dict | None:
        """What leads to all external ids that begin as the search does, if some are left out."""
        filters = self.filterset
        if not filters.is_valid() or not filters.named.more:
            return None
        text = filters.form.cleaned_data["search"].strip()
        query = filters.query("search", "scope", external_id=text)
        return {"text": text, "query": query, "most": MOST}

    def shown_query(self, context) -> str:
        return context["place"]


def facts(rows: list[Session]) -> dict:
    """What the page of a person says of all conversations, where it shows them all."""
    return {
        "agents": len({row.agent_id for row in rows}),
        "first": min(row.created_at for row in rows),
        "last": max(row.updated_at for row in rows),
        "problems": sum(bool(row.problems) for row in rows),
    }


def problem_links(filters) -> list[dict]:
    """
    The kinds of problems to choose from, each with the query string that chooses it. Only the one
    that is chosen keeps the error: its number is that of what the list shows.
    """
    chosen = filters.data.get("problem", "")

    def query(kind: str) -> str:
        if not kind:
            return filters.query("problem", "error", *PERIOD)
        return filters.query(*() if kind == chosen else ("error",), problem=kind)

    return [
        {"kind": kind, "label": label, "chosen": kind == chosen, "query": query(kind)}
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
        counted = counts.of_list(filters, anew="X-New" in self.request.headers)
        for problem in context["problems"]:
            problem["number"] = counted["numbers"].get(problem["kind"])
        as_of = counted["as_of"]
        context["title"] = title(filters, counted["total"])
        return context | {"total": counted["total"], "up_to": counts.PROBLEM_UP_TO, "as_of": as_of}


class NewArrivalsView(FilteredView):
    """
    What an open page asks for by itself. As JSON, and without any content: how many conversations
    are new since the list was made ("2", "99+" or ""), where those above it are now, the states of
    the runs that the page shows, and the signature of the conversation or the run that it shows.
    """

    @cached_property
    def filterset(self):
        filters = self.request.GET.copy()
        for name in ("run", "session"):
            filters.pop(name, None)
        return ConversationFilter(filters, queryset=Session.objects.all())

    def get(self, request, *args, **kwargs):
        query = request.GET
        answer: dict = {}
        if "run" in query:
            answer["signature"] = run_signature(open_page.parsed(query["run"]))
        elif "session" in query:
            answer["signature"] = signature(open_page.parsed(query["session"]))
        if "since" in query or not answer:
            matching = self.filterset.matching
            moved = open_page.newer(matching, Cursor.parse(query.get("since", "")))
            awaited = open_page.ids_in(request, open_page.AWAITED_RUNS)
            number = len(moved.keys() | open_page.came_to_match(matching, awaited))
            answer["new"] = f"{open_page.UP_TO}+" if number > open_page.UP_TO else str(number or "")
            answer["moved"] = {str(pk): at.timestamp() for pk, at in moved.items()}
        states = run_states(open_page.ids_in(request, open_page.SHOWN_RUNS))
        return JsonResponse(answer | {"states": {str(pk): each for pk, each in states.items()}})


class RowsView(FilteredView):
    """Rows of the list as they are now, for those that an open page found to have changed."""

    template_name = "conversations/listing/_rows.html"

    def get_context_data(self, **kwargs):
        ids = open_page.ids_in(self.request, open_page.ROWS)
        if not self.filterset.is_valid():
            raise BadRequest("Invalid filters.")
        # Before the rows: whatever is written in between changes the states once more.
        states = unfinished_runs(ids)
        rows = summaries(ids)
        self.add_texts(rows)
        open_page.note_runs(rows, states)
        gone = set(ids) - {row.pk for row in rows}
        place = self.filterset.query(keep_cursor=True)
        return {"rows": rows, "gone": gone, "place": place, "filter": self.filterset}
