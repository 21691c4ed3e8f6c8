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


class ConversationView(Browse, DetailView):
    template_name = "conversations/detail.html"
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
            payload_fields=[(name, PAYLOAD_LABELS[name]) for name in PAYLOADS["runs"][1]],
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
}
PAYLOADS = {
    "runs": (Run, ("input_data", "output_data", "context")),
    "tasks": (Task, ("errors", "inputs", "output")),
}


@dataclass
class Payload:
    """One jsonb column, as much of it as a page shows."""

    name: str
    tree: json_text.Tree | None
    # In characters; nearly bytes.
    length: int

    @property
    def label(self) -> str:
        return PAYLOAD_LABELS[self.name]


def read_payloads(queryset, pk, fields: tuple[str, ...]):
    """(row, {field: Payload}); payloads are cut in SQL, since they run to megabytes."""
    annotations = {}
    for field in fields:
        text = Cast(field, TextField())
        annotations[f"{field}_text"] = Left(text, TREE_TEXT)
        annotations[f"{field}_length"] = Length(text)
    row = get_object_or_404(queryset.without_payloads().annotate(**annotations), pk=pk)
    payloads = {}
    for field in fields:
        text = getattr(row, f"{field}_text")
        has_value = text is not None and text != "null"
        tree = json_text.tree(text) if has_value else None
        payloads[field] = Payload(field, tree, getattr(row, f"{field}_length") or 0)
    return row, payloads


class TaskView(Browse, FragmentMixin, DetailView):
    template_name = "conversations/task.html"
    fragment_name = "conversations/_task.html"
    context_object_name = "task"

    def get_object(self):
        tasks = Task.objects.filter(session_id=self.kwargs["session_id"]).with_problems()
        task, self.payloads = read_payloads(tasks, self.kwargs["task_id"], PAYLOADS["tasks"][1])
        return task

    def get_context_data(self, **kwargs):
        return super().get_context_data(payloads=self.payloads, **kwargs)


class PayloadMixin(Browse):
    def rows(self):
        model, fields = PAYLOADS.get(self.kwargs["kind"], (None, ()))
        if self.kwargs["field"] not in fields:
            raise Http404
        return model.objects.filter(session_id=self.kwargs["session_id"])


class PayloadView(PayloadMixin, FragmentMixin, DetailView):
    template_name = "conversations/payload.html"
    fragment_name = "conversations/_payload.html"

    def get_object(self):
        field = self.kwargs["field"]
        row, payloads = read_payloads(self.rows(), self.kwargs["row_id"], (field,))
        self.payload = payloads[field]
        return row

    def get_context_data(self, **kwargs):
        return super().get_context_data(
            payload=self.payload, kind=self.kwargs["kind"], row=self.object, **kwargs
        )


class PayloadFileView(PayloadMixin, View):
    """The whole payload as JSON text: to read in the browser, or as a file with `?download`."""

    def get(self, request, row_id, field, **kwargs):
        rows = self.rows().annotate(text=Cast(field, TextField())).values_list("text", flat=True)
        text = get_object_or_404(rows, pk=row_id)
        download = "download" in request.GET
        response = HttpResponse(
            text if text is not None else "null",
            content_type="application/json" if download else "text/plain; charset=utf-8",
        )
        if download:
            name = f"{kwargs['kind']}-{row_id}-{field}.json"
            response["Content-Disposition"] = f'attachment; filename="{name}"'
        return response
