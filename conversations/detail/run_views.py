"""One run: its steps, model calls and payloads."""

from django.http import Http404
from django.views.generic import DetailView

from backoffice.fragments import LIST_TARGET, FragmentMixin, wants_fragment

from ..access.conversation_access import ConversationAccess
from ..model_calls.costs import model_calls, totals
from ..models import PAYLOAD_LABELS, PAYLOADS, Task
from ..problems import kinds
from ..summaries import run_summaries
from .failed_steps import LAST, failed_steps, with_failed
from .reasons import Entry, add_reasons, failed_calls
from .step_list import step_list
from .steps import read
from .tasks import nested
from .titles import of_session
from .tries import done_in, tries
from .views import position


class RunView(ConversationAccess, FragmentMixin, DetailView):
    """A run's steps in pages of 200 tasks, so that a run with thousands of tasks opens quickly."""

    template_name = "conversations/detail/run.html"
    fragment_name = "conversations/detail/_run_steps.html"
    context_object_name = "run"
    page_size = 200

    def get_template_names(self):
        # The run's own page refreshes as a whole; a conversation and "More steps" load only steps.
        if wants_fragment(self.request) and self.request.htmx.target == LIST_TARGET:
            return ["conversations/detail/_run_page.html"]
        return super().get_template_names()

    def get_object(self):
        session_id, run_id = self.kwargs["session_id"], self.kwargs["run_id"]
        if run := run_summaries(session_id, [run_id]).get(run_id):
            return run
        raise Http404

    def get_context_data(self, **kwargs):
        run = self.object
        start = position(self.request.GET.get("from", "0"))
        of_run = Task.objects.filter(session_id=run.session_id, run_id=run.pk)
        tasks = nested(list(of_run.without_payloads().in_order()))
        if start and start >= len(tasks):
            raise Http404
        end = min(start + self.page_size, len(tasks))
        found = read(run, [*tasks[start:end], *tasks[-LAST:]])
        before = []
        if run.status not in ("completed", "running"):
            before = tries(run.session_id).until(run.pk)
        entry = self.reasons()
        failed = failed_steps(run, tasks, found, entry.failed_calls, unanswered=bool(before))
        if not start:
            kwargs |= self.overview(before)
        if not wants_fragment(self.request):
            kwargs["conversation"] = of_session(run.session_id)
        return super().get_context_data(
            list=step_list(run, tasks, with_failed(tasks, failed), found, start, end),
            reasons=entry.reasons,
            tasks_count=len(tasks),
            start=start,
            next_from=end if end < len(tasks) else None,
            left=len(tasks) - end,
            session_id=run.session_id,
            call_fields=[(name, PAYLOAD_LABELS[name]) for name in PAYLOADS["model-calls"][2]],
            payload_fields=[(name, PAYLOAD_LABELS[name]) for name in PAYLOADS["runs"][2]],
            **kwargs,
        )

    def reasons(self) -> Entry:
        """Why the run gave no answer, and its failed model calls."""
        run = self.object
        entry = Entry(run)
        add_reasons(run.session_id, [entry])
        if run.status in ("completed", "running") and any(
            kind == kinds.MODEL_ERROR.name for kind, _ in run.problems
        ):
            entry.failed_calls = failed_calls(run.session_id, [run.pk])
        return entry

    def overview(self, before) -> dict:
        """What the first page shows besides steps."""
        run = self.object
        return {
            "done": done_in(run.session_id, before),
            "model_calls": model_calls(run.session_id, run.pk),
            "model_call_totals": totals(run.session_id, run.pk),
        }
