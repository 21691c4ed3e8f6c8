"""Rows that a search names outright: by uuid, or by a whole external id in any case."""

import uuid
from dataclasses import dataclass

from django.urls import reverse

from backoffice.databases.text import is_storable

from ..indexes import catalogue, state
from ..models import ChatMessage, Run, Session, Task
from ..selection import pasted

# More conversations with one external id than this belong in the list.
MOST = 5


@dataclass(frozen=True)
class DirectHit:
    label: str
    url: str


def direct_hits(text: str) -> list[DirectHit]:
    """Every conversation, run, task or message that the text names; at most MOST by external id."""
    if not text.strip() or not is_storable(text):
        return []
    found = [hit for row_id in pasted.ids(text) for hit in by_id(row_id)]
    named = by_external_id(pasted.spellings(text)).newest_first()
    for pk, external_id, agent in named.values_list("pk", "external_id", "agent__name")[:MOST]:
        url = reverse("conversations:detail", args=[pk])
        if all(hit.url != url for hit in found):
            label = f"{external_id}, a conversation with {agent or '(no name)'}"
            found.append(DirectHit(label, url))
    return found


def by_external_id(spellings: list[str]):
    if state.is_ready(catalogue.EXTERNAL_IDS.name):
        return Session.objects.named(*spellings)
    # The runtime's own index has them as they are stored.
    cases = {case for each in spellings for case in (each, each.lower(), each.upper())}
    return Session.objects.with_external_id(*sorted(cases))


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
