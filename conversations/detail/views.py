import uuid

from django.http import Http404
from django.views.generic import DetailView

from backoffice.databases.errors import timeouts_ignored
from backoffice.databases.text import is_storable
from backoffice.databases.time_limits import time_limit
from backoffice.fragments import FragmentMixin
from privacy import masking

from ..access.conversation_access import ConversationAccess, audit_search
from ..display.message_text import message_text
from ..display.readable import shown
from ..model_calls.costs import totals
from ..models import ChatMessage, Session
from ..selection.filters import ConversationFilter
from ..selection.find import find, next_newer
from ..selection.matching import Matching
from ..selection.pagination import Cursor
from ..selection.words import with_hits
from .reasons import SHORT
from .titles import OF_CONVERSATION, of_conversation, with_summary
from .transcript import FOLD, ROOM_FOR_MESSAGES, outline, transcript
from .tries import done_in, tries

SAME_PERSON = 8
NEIGHBOUR_SECONDS = 0.5


class ConversationView(ConversationAccess, FragmentMixin, DetailView):
    template_name = "conversations/detail/detail.html"
    fragment_name = "conversations/detail/_conversation.html"
    context_object_name = "conversation"

    def get_object(self):
        return with_summary(self.kwargs["session_id"])

    def get_context_data(self, **kwargs):
        conversation = self.object
        # The list's filters and cursor: links lead back to the list and to its other rows.
        filters = self.request.GET.copy()
        for name in ("source", "m", "run", "from", "until"):
            filters.pop(name, None)
        came_from = ConversationFilter(filters, queryset=Session.objects.all())
        # The links Newer and Older reveal other conversations that match the search.
        audit_search(self.request, came_from, again=False)
        term = self.request.GET.get("search", "")
        focus = self.focus(term)
        run_id = self.named("run")
        problem = came_from.form.cleaned_data.get("problem") if came_from.is_valid() else ""
        found = tries(conversation.pk, problem) if problem or conversation.problems else None
        places = outline(conversation.pk, found and found.runs)
        is_newest = False
        if "from" in self.request.GET:
            # An open page loads another part; the message in focus stays marked in it.
            start = position(self.request.GET["from"])
            until = position(self.request.GET["until"]) if "until" in self.request.GET else None
            if until is not None and until <= start:
                raise Http404
            page = transcript(conversation.pk, places, start=start, until=until)
        else:
            start = 0
            # From a list filtered by problem, open at the problem; search hits are marked as usual.
            place = {"message_id": focus, "run_id": run_id}
            if found and found.problem_run and not run_id and "m" not in self.request.GET:
                place = {"run_id": found.problem_run}
            page = transcript(conversation.pk, places, start=None, **place)
            is_newest = page.is_long and not any(place.values())
        if start and not page.entries:
            raise Http404
        newer, older = neighbours(came_from.matching, conversation)
        render_messages(page, focus, term, "source" in self.request.GET)
        query = came_from.query(keep_cursor=True)
        as_source = "source" in self.request.GET
        if found and conversation.problems:
            kwargs |= {"tries": found, "done": done_in(conversation.pk, found.last())}
        return super().get_context_data(
            transcript=page,
            is_newest=is_newest,
            problem_run=found and found.problem_run,
            query=query,
            # For links to this conversation: keeps the list and the choice of plain source.
            state="&".join(part for part in (query, "source" if as_source else "") if part),
            term=term,
            focus=focus,
            as_source=as_source,
            newer=newer,
            older=older,
            same_person=same_person(conversation),
            model_call_totals=totals(conversation.pk),
            **kwargs,
        )

    def named(self, parameter: str) -> uuid.UUID | None:
        try:
            return uuid.UUID(self.request.GET[parameter]) if parameter in self.request.GET else None
        except ValueError:
            raise Http404 from None

    def focus(self, term: str):
        """The message to scroll to: the one in the URL, or else the first search hit."""
        messages = ChatMessage.objects.filter(session_id=self.object.pk)
        if named := self.named("m"):
            return named
        if self.request.GET.keys() & {"run", "from"}:
            return None
        if term and is_storable(term):
            found = with_hits(messages, "content", term).oldest_first()
            return found.values_list("pk", flat=True).first()
        return None


def render_messages(page, focus, term, as_source, room=ROOM_FOR_MESSAGES, *, on_paper=False):
    """Set each message's `html`. Once the page's room is used up, the rest are cut to a line."""
    for entry in page.entries:
        for message in entry.messages:
            if room <= 0 and message.pk != focus:
                message.text = str(shown(message.text, FOLD, message.role))[:SHORT]
            message.html = message_text(
                message,
                message.text,
                term,
                as_source or room <= 0,
                message.length,
                on_paper=on_paper,
            )
            room -= len(message.html.encode())


def position(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Http404
    return int(text)


def neighbours(matching: Matching, conversation):
    """Ids of the next newer and next older match; None if there is none or it takes too long."""
    place = Cursor(conversation.updated_at, conversation.pk)
    above, below = None, []
    with timeouts_ignored():
        above = next_newer(matching, place, NEIGHBOUR_SECONDS)
    with timeouts_ignored(), time_limit(matching.base.db, NEIGHBOUR_SECONDS):
        below, _ = find(matching, place, 1, NEIGHBOUR_SECONDS)
    return above, below[0].id if below else None


def same_person(conversation):
    """A few other conversations with the same external id, newest first."""
    external_id = masking.raw(conversation.external_id)
    if not external_id:
        return []
    others = Session.objects.with_external_id(external_id)
    others = others.exclude(pk=conversation.pk).with_agent()
    return others.newest_first()[:SAME_PERSON]


class MessageView(ConversationAccess, FragmentMixin, DetailView):
    """One whole message, however long."""

    template_name = "conversations/detail/message.html"
    fragment_name = "conversations/detail/_message_text.html"
    pk_url_kwarg = "message_id"
    context_object_name = "message"

    def get_queryset(self):
        messages = ChatMessage.objects.filter(session_id=self.kwargs["session_id"])
        return messages.annotate(**OF_CONVERSATION)

    def get_context_data(self, **kwargs):
        return super().get_context_data(
            conversation=of_conversation(self.object),
            term=self.request.GET.get("search", ""),
            as_source="source" in self.request.GET,
            **kwargs,
        )
