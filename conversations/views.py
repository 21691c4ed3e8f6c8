from dataclasses import dataclass
from functools import cached_property

from django.contrib.auth.mixins import PermissionRequiredMixin
from django.db import OperationalError, connections, transaction
from django.db.models import TextField
from django.db.models.functions import Cast, Left, Length
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.generic import DetailView, ListView, View

from backoffice.errors import is_timeout
from backoffice.fragments import FragmentMixin, wants_fragment

from . import json_text
from .filters import ConversationFilter
from .models import Run, Session, Task
from .pagination import page_after
from .transcript import nested, transcript

# What htmx names as its target when the list replaces itself.
LIST_TARGET = "main#browse"
COUNT_UP_TO = 10_000
COUNT_SECONDS = 1
# A tree of 500 nodes fits into this many characters, whatever the payload's size.
TREE_TEXT = 262_144
TEXT_UP_TO = 20_000


def bounded_count(queryset, at_least: int) -> tuple[int, bool]:
    """
    (number of rows, whether that is all), counted no further and no longer than is worth it.

    A count that takes too long must not take the page with it.
    """
    try:
        with transaction.atomic(using=queryset.db):
            with connections[queryset.db].cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = '{COUNT_SECONDS}s'")
            count = queryset.order_by()[: COUNT_UP_TO + 1].count()
    except OperationalError as error:
        if not is_timeout(error):
            raise
        return at_least, False
    return min(count, COUNT_UP_TO), count <= COUNT_UP_TO


class Browse(PermissionRequiredMixin):
    permission_required = "conversations.view_session"


class ConversationListView(Browse, FragmentMixin, ListView):
    template_name = "conversations/list.html"
    fragment_name = "conversations/_list.html"
    page_size = 50

    @cached_property
    def filterset(self):
        return ConversationFilter(self.request.GET, queryset=Session.objects.all())

    def get_queryset(self):
        return self.filterset.qs

    def get_context_data(self, **kwargs):
        after = self.request.GET.get("after", "")
        matching = self.object_list
        rows, next_cursor = page_after(matching.with_summary(), after, self.page_size)
        total, exact = len(rows), True
        if next_cursor or after:
            total, exact = bounded_count(matching, at_least=total)
        return {
            "filter": self.filterset,
            "rows": rows,
            "total": total,
            "more_than_total": not exact,
            "chips": self.filterset.active(),
            "query": self.filterset.query(),
            "place": self.filterset.query(keep_cursor=True),
            "after": after,
            "next_cursor": next_cursor,
        }

    def render_to_response(self, context, **kwargs):
        response = super().render_to_response(context, **kwargs)
        if wants_fragment(self.request) and self.request.htmx.target == LIST_TARGET:
            # The form sends its empty fields too; the address shown leaves them out.
            place = context["place"]
            response["HX-Push-Url"] = f"{self.request.path}?{place}" if place else self.request.path
        return response


class ConversationView(Browse, FragmentMixin, DetailView):
    template_name = "conversations/detail.html"
    fragment_name = "conversations/_conversation.html"
    pk_url_kwarg = "session_id"
    context_object_name = "conversation"

    def get_queryset(self):
        return Session.objects.with_summary()

    def get_context_data(self, **kwargs):
        # What leads back to the list, or shows it beside: its filters and place.
        came_from = ConversationFilter(self.request.GET)
        return super().get_context_data(
            entries=transcript(self.object.pk),
            query=came_from.query(keep_cursor=True),
            **kwargs,
        )


class RunView(Browse, FragmentMixin, DetailView):
    """A run's tasks, in pages of 200 so that a run of thousands opens at once."""

    template_name = "conversations/run.html"
    fragment_name = "conversations/_run_tasks.html"
    pk_url_kwarg = "run_id"
    context_object_name = "run"
    page_size = 200

    def get_queryset(self):
        runs = Run.objects.filter(session_id=self.kwargs["session_id"])
        return runs.without_payloads().with_summary()

    def get_context_data(self, **kwargs):
        start = self.request.GET.get("from", "0")
        if not (start.isascii() and start.isdigit() and len(start) < 10):
            raise Http404
        start = int(start)
        of_run = Task.objects.filter(run_id=self.object.pk)
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
            task.failed = flags[task.pk].has_task_error or flags[task.pk].has_tool_error
        end = start + len(shown)
        return super().get_context_data(
            tasks=shown,
            start=start,
            fragment=wants_fragment(self.request),
            payload_fields=[(name, PAYLOAD_LABELS[name]) for name in PAYLOADS["runs"][2]],
            next_from=end if end < len(tasks) else None,
            left=len(tasks) - end,
            **kwargs,
        )


PAYLOAD_LABELS = {
    "input_data": "Input",
    "output_data": "Output",
    "context": "Context",
    "errors": "Errors",
    "inputs": "Inputs",
    "output": "Output",
    "prompt": "Prompt",
}
# {kind in the address: (rows, what names their conversation, columns)}
PAYLOADS = {
    "runs": (Run, "session_id", ("input_data", "output_data", "context")),
    "tasks": (Task, "run__session_id", ("errors", "inputs", "output", "prompt")),
}
PLAIN_TEXT = {"prompt"}


@dataclass
class Payload:
    """One large column, as much of it as a page shows: a tree of JSON, or plain text."""

    name: str
    # In characters; nearly bytes.
    length: int
    tree: json_text.Tree | None = None
    text: str | None = None

    @property
    def label(self) -> str:
        return PAYLOAD_LABELS[self.name]

    @property
    def whole(self) -> bool:
        return self.tree.whole if self.tree else len(self.text) == self.length


def read_payloads(queryset, pk, fields: tuple[str, ...]):
    """(row, {field: Payload}); payloads are cut in SQL, since they run to megabytes."""
    annotations = {}
    for field in fields:
        text = Cast(field, TextField())
        annotations[f"{field}_text"] = Left(text, TEXT_UP_TO if field in PLAIN_TEXT else TREE_TEXT)
        annotations[f"{field}_length"] = Length(text)
    row = get_object_or_404(queryset.without_payloads().annotate(**annotations), pk=pk)
    payloads = {}
    for field in fields:
        text = getattr(row, f"{field}_text")
        payload = payloads[field] = Payload(field, getattr(row, f"{field}_length") or 0)
        if field in PLAIN_TEXT:
            payload.text = text
        elif text is not None and text != "null":
            payload.tree = json_text.tree(text)
    return row, payloads


def payload_rows(kwargs):
    """Rows of a conversation that have the kind and field an address names; else a 404."""
    model, conversation, fields = PAYLOADS.get(kwargs["kind"], (None, None, ()))
    if kwargs["field"] not in fields:
        raise Http404
    return model.objects.filter(**{conversation: kwargs["session_id"]})


class TaskView(Browse, FragmentMixin, DetailView):
    template_name = "conversations/task.html"
    fragment_name = "conversations/_task.html"
    context_object_name = "task"

    def get_object(self):
        model, conversation, fields = PAYLOADS["tasks"]
        tasks = model.objects.filter(**{conversation: self.kwargs["session_id"]})
        task, self.payloads = read_payloads(tasks.with_problems(), self.kwargs["task_id"], fields)
        return task

    def get_context_data(self, **kwargs):
        session_id = self.kwargs["session_id"]
        return super().get_context_data(payloads=self.payloads, session_id=session_id, **kwargs)


class PayloadView(Browse, FragmentMixin, DetailView):
    template_name = "conversations/payload.html"
    fragment_name = "conversations/_payload.html"

    def get_object(self):
        field = self.kwargs["field"]
        row, payloads = read_payloads(payload_rows(self.kwargs), self.kwargs["row_id"], (field,))
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


class PayloadFileView(Browse, View):
    """The whole payload as text: to read in the browser, or as a file with `?download`."""

    def get(self, request, row_id, field, **kwargs):
        rows = payload_rows(self.kwargs).annotate(text=Cast(field, TextField()))
        text = get_object_or_404(rows.values_list("text", flat=True), pk=row_id)
        is_json = field not in PLAIN_TEXT
        if text is None:
            text = "null" if is_json else ""
        response = HttpResponse(text, content_type="text/plain; charset=utf-8")
        if "download" in request.GET:
            name = f"{kwargs['kind']}-{row_id}-{field}.{'json' if is_json else 'txt'}"
            response["Content-Disposition"] = f'attachment; filename="{name}"'
            if is_json:
                response["Content-Type"] = "application/json"
        return response
