"""The rows of the list, and the runs of a conversation."""

import uuid
from collections.abc import Iterable

from django.db.models import QuerySet

from .agentdb.compiled import by_id
from .display.readable import shown
from .models import Run, Session
from .querysets import PREVIEW_LENGTH


def sessions(ids) -> QuerySet:
    return Session.objects.filter(pk__in=ids).with_summary()


def runs(session_id, ids) -> QuerySet:
    of_session = Run.objects.filter(session_id=session_id, pk__in=ids)
    return of_session.without_payloads().with_summary()


def summaries(ids: list) -> list[Session]:
    """Sessions with_summary(), in the order of `ids`, without those gone by now."""
    found = by_id(sessions, ids=ids)
    for row in found.values():
        row.first_message = shown(row.first_message, PREVIEW_LENGTH)
        row.last_message = shown(row.last_message, PREVIEW_LENGTH)
    return [found[pk] for pk in ids if pk in found]


def run_summaries(session_id: uuid.UUID, ids: Iterable) -> dict:
    """{id: the Run with_summary(), without its payloads}."""
    return by_id(runs, session_id=session_id, ids=list(ids))
