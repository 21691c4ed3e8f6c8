"""The list of conversations, and what it loads later: counts, new arrivals and changed rows."""

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
from ..models import Session
from ..problems import kinds
from ..selection.filtered_page import FilteredPageMixin
from ..selection.filters import ConversationFilter
from ..selection.find import SHARE_OF_TIMEOUT, find, newer_page
from ..selection.forms import PERIOD
from ..selection.named import MOST
from ..selection.pagination import Cursor
from ..summaries import run_signature, run_states, signature, summaries, unfinished_runs
from . import counts, open_page, pages
from .filter_links import activity_links, chips
from .offers import offers
from .row_texts import add_texts
from .snippets import named_address
from .title import title

# What asks for the rows alone: the list beside a conversation.
BESIDE_TARGET = "div#beside"
ROWS_TEMPLATE = "conversations/listing/_row_list.html"
# Filters in which users may type a stand-in, which finds nothing.
TYPED = ("search", "external_id")


class FilteredView(ConversationAccess, TemplateView):
    # Whether the audit log already has this search.
    is_audited = False

    @cached_property
    def filterset(self):
        return ConversationFilter(self.request.GET, queryset=Session.objects.all())

    def dispatch(self, request, *args, **kwargs):
        response = super().dispatch(request, *args, **kwargs)
        # Any answer, even a count or a redirect, reveals whether guessed words occur.
        if response.status_code != 403 and not self.is_audited:
            audit_search(request, self.filterset, again=False)
        return response

    def get(self, request, *args, **kwargs):
        # If the URL names a time zone, everyone who opens it sees the same dates.
        timezone.activate(self.filterset.form.zone)
        return super().get(request, *args, **kwargs)


class ConversationListView(FilteredPageMixin, FilteredView):
    template_name = "conversations/listing/list.html"
    fragment_name = "conversations/listing/_list.html"
    page_size = 50

    @property
    def only_rows(self) -> bool:
        """Whether they are for the page of a conversation, which shows no filters beside it."""
        return wants_fragment(self.request) and self.request.htmx.target == BESIDE_TARGET

    def get_template_names(self):
        return [ROWS_TEMPLATE] if self.only_rows else super().get_template_names()

    def get_page(self, request, *args, **kwargs):
        # The only match opens on Enter alone: not while the user types, nor when they come back.
        if request.GET.get("go") == "1" and (url := self.only_match()):
            return HttpResponseClientRedirect(url) if request.htmx else redirect(url)
        if before := request.GET.get("before"):
            return redirect(self.newer_page(Cursor.parse(before)))
        return super().get_page(request, *args, **kwargs)

    def only_match(self) -> str | None:
        """The address of the row whose id was searched for, if no other conversation matches."""
        named = self.filterset.is_valid() and self.filterset.named
        if not named or len(named.sessions) != 1:
            return None
        places, _ = self.find(None, 2)
        if [place.id for place in places] != named.sessions:
            return None
        [session_id] = named.sessions
        kind, row_id = named.by_id.get(session_id, ("session", session_id))
        return named_address(session_id, kind, row_id, self.filterset.query())

    def newer_page(self, cursor: Cursor) -> str:
        """The address of the page that ends at this cursor."""
        above = newer_page(self.filterset.matching, cursor, self.page_size + 1, self.seconds)
        after = pages.newer_cursor(cursor, above, self.page_size)
        query = self.filterset.query(after=str(after or ""))
        return f"{self.request.path}?{query}" if query else self.request.path

    @property
    def seconds(self) -> float:
        return settings.STATEMENT_TIMEOUT_SECONDS * SHARE_OF_TIMEOUT

    def find(self, cursor, limit):
        return find(self.filterset.matching, cursor, limit, self.seconds)

    def get_context_data(self, **kwargs):
        query = self.request.GET
        after = query.get("after", "")
        cursor = Cursor.parse(after) if after else None
        matching = self.filterset.matching
        places, reached = self.find(cursor, self.page_size + 1)
        more = len(places) > self.page_size
        places = places[: self.page_size]
        next_cursor = pages.next_cursor(cursor, places[-1] if more else reached, places)
        position = pages.position(cursor, len(places))
        rows = summaries([place.id for place in places])
        add_texts(rows, self.filterset)
        shown_runs = open_page.note_runs(rows)
        audit_search(self.request, self.filterset, again=True, shown=len(rows))
        self.is_audited = True
        context = {
            "rows": rows,
            "filter": self.filterset,
            "place": self.filterset.query(keep_cursor=True),
            "newest": str(places[0] if places and not after else open_page.now()),
        }
        if self.only_rows:
            return context
        awaited, awaits = [], True
        # Older pages do not announce new conversations.
        if not after:
            most = open_page.MOST_RUNS - shown_runs
            awaited, awaits = open_page.awaited_runs(matching, most)
        stand_in = not rows and any(is_asked_for(query.get(name, "")) for name in TYPED)
        finds_nothing = not (rows or reached or after or stand_in)
        least = position.last if position else len(rows)
        total = self.total(least, bool(next_cursor or after))
        context |= self.filters_context()
        return context | {
            "title": title(self.filterset, total),
            # Fragments have a <title> too: htmx takes the page's title from it.
            "as_fragment": wants_fragment(self.request),
            "more_named": self.more_named(),
            "facts": facts(rows) if rows and not (next_cursor or after) else None,
            "stand_in": stand_in,
            "offers": offers(self.filterset) if finds_nothing else [],
            "next_cursor": str(next_cursor or ""),
            "position": position,
            "moved": pages.moved(matching, cursor),
            "most_moved": open_page.UP_TO,
            "reached": reached,
            "awaited": ",".join(run.hex for run in awaited),
            "awaits": awaits,
            # After a click on "1 new", cached counts would be too old.
            "counts_anew": "X-New" in self.request.headers,
            "total": total,
        }

    def filters_context(self) -> dict:
        filters = self.filterset
        return {
            "filter": filters,
            "chips": chips(filters),
            "query": filters.query(),
            "place": filters.query(keep_cursor=True),
            "after": self.request.GET.get("after", ""),
            "problems": problem_links(filters),
            "activity": activity_links(filters),
            "zone": filters.zone_of_dates(),
            "person": filters.person,
            "without_evals": filters.query("evals", evals="hidden"),
        }

    def total(self, shown: int, more: bool) -> dict:
        """The total as far as it is quick to find. CountsView counts the rest."""
        if not more:
            return {"exact": shown}
        return counts.quick_total(self.filterset.matching) or {"at_least": shown}

    def more_named(self) -> dict | None:
        """A link to all external ids that begin with the search, if this list leaves some out."""
        filters = self.filterset
        if not filters.is_valid() or not filters.named.more:
            return None
        text = filters.form.cleaned_data["search"].strip()
        query = filters.query("search", "scope", external_id=text)
        return {"text": text, "query": query, "most": MOST}

    def shown_query(self, context) -> str:
        return context["place"]


def facts(rows: list[Session]) -> dict:
    """What the heading of a person's page says, if the page shows all their conversations."""
    return {
        "agents": len({row.agent_id for row in rows}),
        "first": min(row.created_at for row in rows),
        "last": max(row.updated_at for row in rows),
        "problems": sum(bool(row.problems) for row in rows),
    }


def problem_links(filters) -> list[dict]:
    """
    The kinds of problem to choose from, each with the query string that chooses it. Only the chosen
    one keeps the filter by error, so its number is the number of the list.
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
    """The exact total, and how many matches of the other filters have each kind of problem."""

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
    Tells an open page what has changed, as JSON without any content: how many conversations are new
    since the list was made ("2", "99+" or ""), when those above its first row were last active, the
    states of the runs that the page shows, and the signature of the conversation or run that it
    shows.
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
        answer["states"] = {str(pk): each for pk, each in sorted(states.items())}
        return JsonResponse(answer)


class RowsView(FilteredView):
    """The current rows of conversations that an open page has found to have changed."""

    template_name = "conversations/listing/_rows.html"

    def get_context_data(self, **kwargs):
        ids = open_page.ids_in(self.request, open_page.ROWS)
        if not self.filterset.is_valid():
            raise BadRequest("Invalid filters.")
        # States are read before rows. A write in between changes the state again, so the page will
        # fetch the row again.
        states = unfinished_runs(ids)
        rows = summaries(ids)
        add_texts(rows, self.filterset)
        open_page.note_runs(rows, states)
        gone = set(ids) - {row.pk for row in rows}
        place = self.filterset.query(keep_cursor=True)
        return {"rows": rows, "gone": gone, "place": place, "filter": self.filterset}
