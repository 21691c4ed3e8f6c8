"""The large columns: read only when somebody opens one, and no further than a page shows."""

import re
from dataclasses import dataclass

from django.db.models import TextField
from django.db.models.functions import Cast, Left, Length
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.html import escape
from django.views.generic import DetailView, View

from backoffice import json_text
from backoffice.fragments import FragmentMixin
from privacy import masking

from ..access.browse import Browse
from ..agentdb import revision
from ..models import ModelCall, Run, Task

# A tree of 500 nodes fits into this many characters, whatever the payload's size.
TREE_TEXT = 262_144
TEXT_UP_TO = 20_000
# Bytes of HTML for the texts of all payloads on a page.
ROOM = 150_000

PAYLOAD_LABELS = {
    "input_data": "Input",
    "output_data": "Output",
    "context": "Context",
    "errors": "Errors",
    "inputs": "Inputs",
    "output": "Output",
    "prompt": "Prompt",
    "request_data": "Request",
    "response_data": "Response",
}
# {kind in the address: (rows, what names their conversation, columns)}
PAYLOADS = {
    "runs": (Run, "session_id", ("input_data", "output_data", "context")),
    "tasks": (Task, "run__session_id", ("errors", "inputs", "output", "prompt")),
    "model-calls": (ModelCall, "session_id", ("request_data", "response_data")),
}
PLAIN_TEXT = {"prompt"}
# A text may begin with a bracket too: [Note], or [phone] in place of one.
JSON_BEGINS = re.compile(r'\s*(?:\{\s*(?:["}]|$)|\[\s*(?:[\[{"\]\d-]|true|false|null|$))')


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
    row = get_object_or_404(
        queryset.defer(*large_columns(queryset.model)).annotate(**annotations), pk=pk
    )
    payloads = {}
    room = ROOM // len(fields)
    for field in fields:
        text = getattr(row, f"{field}_text")
        payload = payloads[field] = Payload(field, getattr(row, f"{field}_length") or 0)
        is_whole = len(masking.raw(text) or "") == payload.length
        if field in PLAIN_TEXT:
            text = masking.cut(text, TEXT_UP_TO)
            if is_whole:
                payload.length = len(text or "")
            payload.text = fitting_text(text, room)
        elif text is not None and text != "null":
            text = masking.cut_json(text, TREE_TEXT)
            payload.tree = fitting(json_text.tree(inner_json(text)), room)
    return row, payloads


def fitting_text(text, room: int):
    """As much of the text as takes no more than `room` bytes of HTML."""
    if text is None or len(escape(text).encode()) <= room:
        return text
    # An escaped letter takes up to six bytes.
    return text[: room // 6]


def fitting(tree: json_text.Tree, room: int) -> json_text.Tree:
    """The tree with its longest values cut until its texts take no more than `room` bytes."""

    def size():
        return sum(len(escape(f"{node.key or ''}{node.value}").encode()) for node in tree.nodes)

    longest = 4000
    while longest > 20 and size() > room:
        longest //= 2
        for node in tree.nodes:
            if node.key and len(node.key) > longest:
                node.key = f"{node.key[:longest]}…"
            if len(node.value) > longest:
                node.value = node.value[:longest]
                node.cut, tree.whole = True, False
    return tree


def large_columns(model) -> tuple[str, ...]:
    return next(fields for owner, _, fields in PAYLOADS.values() if owner is model)


def inner_json(text: str) -> str:
    """The runtime keeps a model call's JSON as a JSON string: show what is inside."""
    if text.startswith('"'):
        kind, source = next(json_text.tokens(text))
        inner = json_text.whole_part(source if kind == "cut" else source[:-1])
        if JSON_BEGINS.match(inner):
            return inner
    return text


def payload_rows(kwargs):
    """Rows of a conversation that have the kind and field an address names; else a 404."""
    model, conversation, fields = PAYLOADS.get(kwargs["kind"], (None, None, ()))
    if kwargs["field"] not in fields:
        raise Http404
    if model is ModelCall and not revision.has_model_call_links():
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
        elif is_json:
            text = masking.cut_json(text)
        response = HttpResponse(text, content_type="text/plain; charset=utf-8")
        if "download" in request.GET:
            name = f"{kwargs['kind']}-{row_id}-{field}.{'json' if is_json else 'txt'}"
            response["Content-Disposition"] = f'attachment; filename="{name}"'
            if is_json:
                response["Content-Type"] = "application/json"
        return response
