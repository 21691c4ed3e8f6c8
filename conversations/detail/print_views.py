"""A whole conversation on one page, for printing."""

from django.http import Http404
from django.views.generic import DetailView

from ..access.conversation_access import ConversationAccess
from .titles import with_summary
from .transcript import outline, transcript
from .tries import done_in, tries
from .views import position, render_messages

# Messages and ends of runs in one part; more of them go into further parts.
ITEMS = 500
# Longer messages are cut.
FOLD = 20_000
# Bytes of HTML; once they are used up, the remaining messages are cut.
ROOM = 1_000_000


class PrintView(ConversationAccess, DetailView):
    template_name = "conversations/detail/print.html"
    context_object_name = "conversation"

    def get_object(self):
        return with_summary(self.kwargs["session_id"])

    def get_context_data(self, **kwargs):
        start = position(self.request.GET.get("from", "0"))
        found = tries(self.object.pk) if self.object.problems else None
        places = outline(self.object.pk, found and found.runs)
        page = transcript(self.object.pk, places, start=start, items=ITEMS, fold=FOLD)
        if start and not page.entries:
            raise Http404
        render_messages(page, None, "", False, ROOM, on_paper=True)
        messages = [message for entry in page.entries for message in entry.messages]
        return super().get_context_data(
            transcript=page,
            first=start + 1,
            tries=found,
            done=found and done_in(self.object.pk, found.last()),
            cut=sum(message.length > len(message.text) for message in messages),
            **kwargs,
        )
