"""Rows that a search names outright: by uuid, or by a whole external id."""

import uuid
from contextlib import suppress
from dataclasses import dataclass

from django.urls import reverse

from backoffice.databases.text import is_storable

from ..models import ChatMessage, Run, Session, Task

# More conversations with one external id than this belong in the list.
MOST = 5


@dataclass(frozen=True)
class DirectHit:
    label: str
    url: str


def direct_hits(text: str) -> list[DirectHit]:
    """Every conversation, run, task or message that the text names; at most MOST by external id."""
    text = text.strip()
    if not text or not is_storable(text):
        return []
    found = []
    with suppress(ValueError):
        found += by_id(uuid.UUID(text))
    named = Session.objects.with_external_id(text).newest_first().values_list("pk", "agent__name")
    for pk, agent in named[:MOST]:
        url = reverse("conversations:detail", args=[pk])
        if all(hit.url != url for hit in found):
            found.append(DirectHit(f"{text}, a conversation with {agent or '(no name)'}", url))
    return found


def by_id(row_id: uuid.UUID):
    if Session.objects.filter(pk=row_id).exists():
        yield DirectHit("The conversation with this id", detail(row_id))
    if session := session_of(Run, row_id):
        yield DirectHit("The run with this id", f"{detail(session)}?run={row_id}")
    if session := session_of(Task, row_id):
        url = reverse("conversations:task", args=[session, row_id])
        yield DirectHit("The task with this id", url)
    if session := session_of(ChatMessage, row_id):
        yield DirectHit("The message with this id", f"{detail(session)}?m={row_id}")


def session_of(model, row_id: uuid.UUID) -> uuid.UUID | None:
    return model.objects.filter(pk=row_id).values_list("session_id", flat=True).first()


def detail(session_id: uuid.UUID) -> str:
    return reverse("conversations:detail", args=[session_id])
