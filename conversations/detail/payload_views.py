"""One task, and one payload of a row: as a page, a fragment or plain text."""

from django.db.models import Exists, F, OuterRef
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.generic import DetailView, View

from backoffice.fragments import FragmentMixin

from ..access.conversation_access import ConversationAccess
from ..agentdb import revision
from ..agentdb.sql import payload_json
from ..models import PAYLOADS, PLAIN_TEXT, ModelCall, Session
from .payloads import read_payloads
from .titles import OF_CONVERSATION, of_conversation


def payload_rows(kwargs):
    """The conversation's rows of the kind in the URL; 404 if that kind has no such field."""
    model, conversation, fields = PAYLOADS.get(kwargs["kind"], (None, None, ()))
    if kwargs["field"] not in fields:
        raise Http404
    if model is ModelCall and not revision.has_model_call_links():
        raise Http404
    rows = model.objects.filter(**{conversation: kwargs["session_id"]})
    if model is ModelCall:
        # Without a foreign key, the runtime may write a call after its conversation was erased.
        rows = rows.filter(Exists(Session.objects.filter(pk=OuterRef("session_id"))))
    return rows


class TaskView(ConversationAccess, FragmentMixin, DetailView):
    template_name = "conversations/detail/task.html"
    fragment_name = "conversations/detail/_task.html"
    context_object_name = "task"

    def get_object(self):
        model, conversation, fields = PAYLOADS["tasks"]
        tasks = model.objects.filter(**{conversation: self.kwargs["session_id"]})
        tasks = tasks.with_problems().annotate(**OF_CONVERSATION)
        task, self.payloads = read_payloads(tasks, self.kwargs["task_id"], fields)
        return task

    def get_context_data(self, **kwargs):
        session_id = self.kwargs["session_id"]
        return super().get_context_data(
            payloads=self.payloads,
            session_id=session_id,
            conversation=of_conversation(self.object),
            **kwargs,
        )


class PayloadView(ConversationAccess, FragmentMixin, DetailView):
    template_name = "conversations/detail/payload.html"
    fragment_name = "conversations/detail/_payload.html"

    def get_object(self):
        field = self.kwargs["field"]
        rows = payload_rows(self.kwargs)
        raw = "raw" in self.request.GET
        row, payloads = read_payloads(rows, self.kwargs["row_id"], (field,), raw=raw)
        self.payload = payloads[field]
        return row

    def get_context_data(self, **kwargs):
        return super().get_context_data(
            payload=self.payload,
            kind=self.kwargs["kind"],
            session_id=self.kwargs["session_id"],
            row=self.object,
            **kwargs,
        )


class PayloadFileView(ConversationAccess, View):
    """The whole payload as text, shown in the browser or, with `?download`, saved as a file."""

    def get(self, request, row_id, field, **kwargs):
        is_json = field not in PLAIN_TEXT
        rows = payload_rows(self.kwargs).annotate(text=payload_json(field) if is_json else F(field))
        text = get_object_or_404(rows.values_list("text", flat=True), pk=row_id)
        if text is None:
            text = "null" if is_json else ""
        response = HttpResponse(text, content_type="text/plain; charset=utf-8")
        if "download" in request.GET:
            name = f"{kwargs['kind']}-{row_id}-{field}.{'json' if is_json else 'txt'}"
            response["Content-Disposition"] = f'attachment; filename="{name}"'
            if is_json:
                response["Content-Type"] = "application/json"
        return response
