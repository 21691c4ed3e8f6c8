"""The runs of a conversation, newest first, each with its status and first message."""

from django.http import Http404
from django.views.generic import DetailView

from backoffice.fragments import FragmentMixin

from ..access.conversation_access import ConversationAccess
from ..agentdb.sql import cut_text
from ..models import ChatMessage, Run
from ..summaries import run_summaries
from .titles import of_session
from .views import position

RUNS_PER_PAGE = 100
# Characters of a run's first message.
FIRST_WORDS = 80


class OutlineView(ConversationAccess, FragmentMixin, DetailView):
    template_name = "conversations/detail/runs.html"
    fragment_name = "conversations/detail/_runs.html"
    context_object_name = "conversation"

    def get_object(self):
        if session := of_session(self.kwargs["session_id"]):
            return session
        raise Http404

    def get_context_data(self, **kwargs):
        session_id = self.kwargs["session_id"]
        start = position(self.request.GET.get("from", "0"))
        runs = Run.objects.filter(session_id=session_id).order_by("-created_at", "-pk")
        ids = list(runs.values_list("pk", flat=True))
        shown = ids[start : start + RUNS_PER_PAGE]
        if start and not shown:
            raise Http404
        found = run_summaries(session_id, shown)
        state = self.request.GET.copy()
        state.pop("from", None)
        said = first_words(session_id, shown)
        end = start + len(shown)
        return super().get_context_data(
            # A run that was erased between the two queries has no row.
            runs=[(found[pk], said.get(pk)) for pk in shown if pk in found],
            state=state.urlencode(),
            next_from=end if end < len(ids) else None,
            left=len(ids) - end,
            **kwargs,
        )


def first_words(session_id, run_ids: list) -> dict:
    """{id of run: beginning of its first message}"""
    messages = ChatMessage.objects.filter(session_id=session_id, run_id__in=run_ids)
    first = messages.order_by("run_id", "created_at", "pk").distinct("run_id")
    words = first.annotate(words=cut_text("content", FIRST_WORDS))
    return dict(words.values_list("run_id", "words"))
