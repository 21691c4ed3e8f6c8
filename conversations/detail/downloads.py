"""Downloads of a conversation: its messages as text or Markdown, or everything as JSON."""

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice

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
from ..templatetags.desk import status_kind
from .reasons import Entry
from .transcript import outline, transcript

ROWS_AT_ONCE = 100
# Messages and ends of runs.
ITEMS_AT_ONCE = 1_000
# Characters. Gunicorn sends each piece of a download on its own.
BLOCK = 65_536
SPEAKERS = {"user": "User", "assistant": "Agent"}


def in_blocks(texts: Iterable[str]) -> Iterator[str]:
    """The first text at once, so that the download begins; then larger pieces."""
    block, size, enough = [], 0, 0
    for text in texts:
        block.append(text)
        size += len(text)
        if size >= enough:
            yield "".join(block)
            block, size, enough = [], 0, BLOCK
    yield "".join(block)


def batched(keys: list) -> Iterator[list]:
    for place in range(0, len(keys), ROWS_AT_ONCE):
        yield keys[place : place + ROWS_AT_ONCE]


def in_batches(queryset) -> Iterator:
    """The rows in order, fetched a few at a time because payloads can take up megabytes."""
    for batch in batched(list(queryset.values_list("pk", flat=True))):
        rows = queryset.order_by().filter(pk__in=batch).in_bulk()
        yield from (rows[key] for key in batch if key in rows)


def whole_messages(session_id, keys: list) -> Iterator[ChatMessage | None]:
    """The messages in this order; None for one that was erased since."""
    for batch in batched(keys):
        rows = ChatMessage.objects.filter(session_id=session_id).in_bulk(batch)
        yield from (rows.get(key) for key in batch)


class TranscriptView(ConversationAccess, View):
    """The messages as plain text or Markdown."""

    forms = ("txt", "md")

    def get(self, request, session_id, form):
        if form not in self.forms:
            raise Http404
        session = get_object_or_404(Session, pk=session_id)
        response = StreamingHttpResponse(
            in_blocks(self.lines(session, form, timezone.get_current_timezone())),
            content_type="text/plain; charset=utf-8",
        )
        response["Content-Disposition"] = f'inline; filename="conversation-{session_id}.{form}"'
        return response

    def lines(self, session, form, zone):
        # The response streams after the middleware that sets the viewer's time zone has ended.
        with timezone.override(zone):
            yield from self.lines_in_zone(session, form)

    def lines_in_zone(self, session, form):
        mark = "# " if form == "md" else ""
        yield f"{mark}{session.external_id or 'Conversation'} ({session.pk})\n"
        # Read once: positions change if somebody erases a message meanwhile.
        places = outline(session.pk)
        for start in range(0, len(places), ITEMS_AT_ONCE):
            page = transcript(session.pk, places, start=start, items=ITEMS_AT_ONCE, fold=1)
            messages = whole_messages(
                session.pk, [each.pk for entry in page.entries for each in entry.messages]
            )
            for entry in page.entries:
                for message in islice(messages, len(entry.messages)):
                    yield from self.said(message, form)
                if entry.ends:
                    yield from self.outcome(entry, form)

    def said(self, message: ChatMessage | None, form):
        if message is None:  # Erased since.
            return
        who, when = SPEAKERS.get(message.role, message.role), exact(message.created_at)
        yield f"\n**{who}**, {when}\n\n" if form == "md" else f"\n{who}, {when}\n"
        yield f"{shown(message.content, role=message.role)}\n"

    def outcome(self, entry: Entry, form):
        """Says what came in place of an answer."""
        if status := status_kind(entry.run.status):
            words = " ".join([status.outcome, *entry.reasons])
            yield f"\n> {words}\n" if form == "md" else f"\n[{words}]\n"


class ConversationJsonView(ConversationAccess, View):
    """The contract's SessionDetails as streamed JSON, with payloads exactly as they are stored."""

    def get(self, request, session_id):
        get_object_or_404(Session.objects.only("pk"), pk=session_id)
        response = StreamingHttpResponse(
            in_blocks(self.parts(session_id)), content_type="application/json"
        )
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
    """Read payloads as text, unparsed: they may be nested deeper than a parser allows."""
    names = payload_names(queryset.model)
    texts = {f"{name}_text": payload_json(name) for name in names}
    return queryset.defer(*names).annotate(**texts)


def plain(value):
    """Ids and times as text; NaN and infinite durations, which JSON does not allow, as null."""
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
