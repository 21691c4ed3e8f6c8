"""Downloads of a conversation: as text, as Markdown, or all of it as JSON."""

import dataclasses
import json
import math
from collections.abc import Iterator
from datetime import datetime

from django.http import Http404, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.generic import View

from backoffice.words import exact

from .. import sessions
from ..access.conversation_access import ConversationAccess
from ..agentdb.fields import PayloadField
from ..agentdb.sql import payload_json
from ..display.readable import shown
from ..models import ChatMessage, Run, Session, Task

ROWS_AT_ONCE = 100
SPEAKERS = {"user": "User", "assistant": "Agent"}


def in_batches(queryset) -> Iterator:
    """Rows in the queryset's order, few at a time: payloads run to megabytes."""
    keys = list(queryset.values_list("pk", flat=True))
    for place in range(0, len(keys), ROWS_AT_ONCE):
        batch = keys[place : place + ROWS_AT_ONCE]
        rows = queryset.order_by().filter(pk__in=batch).in_bulk()
        yield from (rows[key] for key in batch if key in rows)


class TranscriptView(ConversationAccess, View):
    """What was said, as plain text or Markdown."""

    forms = ("txt", "md")

    def get(self, request, session_id, form):
        if form not in self.forms:
            raise Http404
        session = get_object_or_404(Session, pk=session_id)
        response = StreamingHttpResponse(
            self.lines(session, form, timezone.get_current_timezone()),
            content_type="text/plain; charset=utf-8",
        )
        response["Content-Disposition"] = f'inline; filename="conversation-{session_id}.{form}"'
        return response

    def lines(self, session, form, zone):
        # The middleware that sets the viewer's zone ends before the stream begins.
        with timezone.override(zone):
            yield from self.lines_in_zone(session, form)

    def lines_in_zone(self, session, form):
        mark = "# " if form == "md" else ""
        yield f"{mark}{session.external_id or 'Conversation'} ({session.pk})\n"
        for message in in_batches(ChatMessage.objects.filter(session=session).oldest_first()):
            who = SPEAKERS.get(message.role, message.role)
            when = exact(message.created_at)
            yield f"\n**{who}**, {when}\n\n" if form == "md" else f"\n{who}, {when}\n"
            yield f"{shown(message.content, role=message.role)}\n"


class ConversationJsonView(ConversationAccess, View):
    """The contract's SessionDetails as JSON, streamed; payloads as they are in the database."""

    def get(self, request, session_id):
        get_object_or_404(Session.objects.only("pk"), pk=session_id)
        response = StreamingHttpResponse(self.parts(session_id), content_type="application/json")
        name = f"conversation-{session_id}.json"
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        return response

    def parts(self, session_id):
        of_session = {"session_id": session_id}
        runs = Run.objects.filter(**of_session).with_summary().oldest_first()
        tasks = Task.objects.filter(**of_session).by_run()
        messages = ChatMessage.objects.filter(**of_session).oldest_first()
        yield f'{{"session_id": {json.dumps(str(session_id))}'
        for name, summary, rows in (
            ("messages", sessions.ChatMessageSummary, messages),
            ("runs", sessions.RunSummary, runs),
            ("tasks", sessions.TaskSummary, tasks),
        ):
            yield f',\n"{name}": ['
            for number, row in enumerate(in_batches(with_payload_texts(rows))):
                yield (",\n" if number else "\n") + as_json(summary, row)
            yield "]"
        yield "}\n"


def payload_names(model) -> list[str]:
    return [field.name for field in model._meta.fields if isinstance(field, PayloadField)]


def with_payload_texts(queryset):
    """Payloads as text: never parsed, however deep."""
    names = payload_names(queryset.model)
    texts = {f"{name}_text": payload_json(name) for name in names}
    return queryset.defer(*names).annotate(**texts)


def plain(value):
    """Ids and times as text; a duration that JSON cannot hold as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, str | int) else str(value)


def as_json(summary, row) -> str:
    payloads = payload_names(type(row))
    members = []
    for field in dataclasses.fields(summary):
        if field.name in payloads:
            value = getattr(row, f"{field.name}_text") or "null"
        else:
            value = json.dumps(plain(getattr(row, field.name)), ensure_ascii=False)
        members.append(f'"{field.name}": {value}')
    return "{" + ", ".join(members) + "}"
