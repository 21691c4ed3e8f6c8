"""The rows of the list, the runs of a conversation, and what tells whether they have changed."""

import uuid
from collections.abc import Iterable

from django.db.models import QuerySet

from .agentdb.compiled import by_id, tuples
from .display.readable import shown
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
    """Sessions with_summary(), in the order of `ids`, without those gone by now."""
    found = by_id(sessions, ids=ids)
    for row in found.values():
        row.first_message = shown(row.first_message, PREVIEW_LENGTH)
        row.last_message = shown(row.last_message, PREVIEW_LENGTH)
    return [found[pk] for pk in ids if pk in found]


def histories(sessions: list[Session]) -> dict[uuid.UUID, str]:
    """
    {session id: how its runs went, see problems/outcomes.py} of sessions with_summary(). Their
    counts tell those whose runs all have a result.
    """
    found = {row.pk: outcomes.ANSWERED for row in sessions if row.runs_count}
    return found | dict(tuples(with_history, ids=[row.pk for row in sessions if row.lacks_results]))


def run_summaries(session_id: uuid.UUID, ids: Iterable) -> dict:
    """{id: the Run with_summary(), without its payloads}."""
    return by_id(runs, session_id=session_id, ids=list(ids))


def signature(session_id: uuid.UUID) -> str | None:
    """What Session.signature is now; None if there is no such conversation."""
    return next((row.signature for row in by_id(signed, ids=[session_id]).values()), None)


def run_signature(run_id: uuid.UUID) -> str | None:
    """What Run.signature is now; None if there is no such run."""
    return next((run.signature for run in by_id(states, ids=[run_id]).values()), None)


def run_states(ids: list) -> dict[uuid.UUID, str]:
    """{id: what Run.state is now}, without runs gone by now."""
    return {pk: run.state for pk, run in by_id(states, ids=ids).items()}


def unfinished_runs(session_ids: list) -> dict[uuid.UUID, dict[str, str]]:
    """{session id: {run id: state}} of the runs that may still end."""
    found: dict[uuid.UUID, dict[str, str]] = {}
    for pk, run in by_id(unfinished, session_ids=session_ids).items():
        found.setdefault(run.session_id, {})[str(pk)] = run.state
    return found
