"""One run: its steps, model calls, waterfall and payloads."""

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
from .steps import STEPS_TOLD, explain, read
from .tasks import nested
from .titles import of_session
from .tries import done_in, tries
from .views import position
from .waterfall import waterfall


class RunView(ConversationAccess, FragmentMixin, DetailView):
    """A run's tasks, in pages of 200 so that a run of thousands opens at once."""

    template_name = "conversations/detail/run.html"
    fragment_name = "conversations/detail/_run_tasks.html"
    context_object_name = "run"
    page_size = 200

    def get_template_names(self):
        # The page asks for all of itself; a conversation and "More tasks" for tasks alone.
        if wants_fragment(self.request) and self.request.htmx.target == LIST_TARGET:
            return ["conversations/detail/_run_page.html"]
        return super().get_template_names()

    def get_object(self):
        session_id, run_id = self.kwargs["session_id"], self.kwargs["run_id"]
        if run := run_summaries(session_id, [run_id]).get(run_id):
            return run
        raise Http404

    def get_context_data(self, **kwargs):
        start = position(self.request.GET.get("from", "0"))
        of_run = Task.objects.filter(session_id=self.object.session_id, run_id=self.object.pk)
        tasks = nested(list(of_run.without_payloads().in_order()))
        if start and start >= len(tasks):
            raise Http404
        shown = tasks[start : start + self.page_size]
        flags = {
            task.pk: task
            for task in of_run.filter(pk__in=[task.pk for task in shown])
            .without_payloads()
            .with_problems()
        }
        for task in shown:
            task.failed = flags[task.pk].is_problem
        end = start + len(shown)
        if not wants_fragment(self.request):
            kwargs["conversation"] = of_session(self.object.session_id)
        return super().get_context_data(
            tasks=shown,
            start=start,
            **({} if start else self.overview(tasks)),
            next_from=end if end < len(tasks) else None,
            left=len(tasks) - end,
            **kwargs,
        )

    def overview(self, tasks):
        """What the first page shows above the tasks."""
        run = self.object
        entry = Entry(run)
        add_reasons(run.session_id, [entry])
        calls = entry.failed_calls
        before = None
        if run.status not in ("completed", "running"):
            before = tries(run.session_id).until(run.pk)
        elif any(kind == kinds.MODEL_ERROR.name for kind, _ in run.problems):
            calls = failed_calls(run.session_id, [run.pk])
        rows = read(run, [*tasks[:STEPS_TOLD], *tasks[STEPS_TOLD:][-LAST:]])
        steps = explain(run, tasks, rows)
        failed = failed_steps(run, tasks, rows, calls, unanswered=bool(before))
        return {
            "reasons": entry.reasons,
            "done": done_in(run.session_id, before or []),
            "steps": with_failed(steps, failed),
            "left_out": len(tasks) - len(steps),
            "waterfall": waterfall(tasks, run, failed),
            "model_calls": model_calls(run.session_id, run.pk),
            "model_call_totals": totals(run.session_id, run.pk),
            "call_fields": [(name, PAYLOAD_LABELS[name]) for name in PAYLOADS["model-calls"][2]],
            "payload_fields": [(name, PAYLOAD_LABELS[name]) for name in PAYLOADS["runs"][2]],
            "session_id": run.session_id,
        }
