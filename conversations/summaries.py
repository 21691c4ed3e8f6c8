"""Reads the list's rows, a conversation's runs, and signatures that show whether they changed."""

import uuid
from collections.abc import Iterable

from django.db.models import QuerySet

from .agentdb.compiled import by_id, tuples
from .display.readable import shown
from .display.without_markdown import without_markdown
from .models import Run, Session
from .problems import outcomes
from .querysets import PREVIEW_LENGTH


def sessions(ids) -> QuerySet:
    return Session.objects.filter(pk__in=ids).with_summary()


def runs(session_id, ids) -> QuerySet:
    of_session = Run.objects.filter(session_id=session_id, pk__in=ids)
    return of_session.without_payloads().with_summary()


def with_history(ids) -> QuerySet:
    found = Session.objects.filter(pk__in=ids).annotate(history=outcomes.whole_history("pk"))
    return found.values_list("pk", "history")


def signed(ids) -> QuerySet:
    return Session.objects.filter(pk__in=ids).only("updated_at").with_signature()


def states(ids) -> QuerySet:
    return Run.objects.filter(pk__in=ids).only("session_id").with_state()


def unfinished(session_ids) -> QuerySet:
    of_sessions = Run.objects.filter(session_id__in=session_ids).unfinished()
    return of_sessions.only("session_id").with_state()


def summaries(ids: list) -> list[Session]:
    """Sessions with_summary(), in the order of `ids`, without those that are gone by now."""
    found = by_id(sessions, ids=ids)
    for row in found.values():
        row.first_message = preview(row.first_message)
        row.last_message = preview(row.last_message)
    return [found[pk] for pk in ids if pk in found]


def preview(text: str | None) -> str | None:
    """The beginning of a message in plain words."""
    words = shown(text, PREVIEW_LENGTH)
    return words and without_markdown(words)


def histories(sessions: list[Session]) -> dict[uuid.UUID, str]:
    """
    {session id: its history, see problems/outcomes.py} for sessions read with_summary(). For those
    whose runs all have a result, their counts are enough.
    """
    found = {row.pk: outcomes.ANSWERED for row in sessions if row.runs_count}
    return found | dict(tuples(with_history, ids=[row.pk for row in sessions if row.lacks_results]))


def run_summaries(session_id: uuid.UUID, ids: Iterable) -> dict:
    """{id: Run with_summary(), without payloads}"""
    return by_id(runs, session_id=session_id, ids=list(ids))


def signature(session_id: uuid.UUID) -> str | None:
    """The current value of Session.signature; None if there is no such conversation."""
    return next((row.signature for row in by_id(signed, ids=[session_id]).values()), None)


def run_signature(run_id: uuid.UUID) -> str | None:
    """The current value of Run.signature; None if there is no such run."""
    return next((run.signature for run in by_id(states, ids=[run_id]).values()), None)


def run_states(ids: list) -> dict[uuid.UUID, str]:
    """{id: the current value of Run.state}, without runs that are gone by now."""
    return {pk: run.state for pk, run in by_id(states, ids=ids).items()}


def unfinished_runs(session_ids: list) -> dict[uuid.UUID, dict[str, str]]:
    """{session id: {run id: state}} for the runs that may still end."""
    found: dict[uuid.UUID, dict[str, str]] = {}
    for pk, run in by_id(unfinished, session_ids=session_ids).items():
        found.setdefault(run.session_id, {})[str(pk)] = run.state
    return found
