"""
How an open list finds out what has changed.

When a run ends, no indexed column of the runtime changes. So a page keeps the ids of the runs that
were unfinished when it was made, and asks for their states.
"""

import uuid
from datetime import datetime

from django.core.exceptions import BadRequest
from django.db.models import OuterRef, Subquery
from django.utils import timezone

from backoffice.databases.errors import timeouts_ignored
from backoffice.databases.time_limits import time_limit

from ..agentdb import compiled
from ..indexes import state
from ..models import Run, Session
from ..problems import kinds
from ..querysets import SessionQuerySet
from ..selection.conditions import MOST_ROWS
from ..selection.matching import Matching
from ..selection.pagination import Cursor

MOST_RUNS = 200
UP_TO = 99
SECONDS = 0.3
# Ids are sent in headers. A URL with 200 of them would be longer than gunicorn and proxies accept,
# and a form would need a CSRF token, which becomes invalid when the user signs in again.
SHOWN_RUNS, AWAITED_RUNS, ROWS = "X-Shown-Runs", "X-Awaited-Runs", "X-Rows"


def now() -> Cursor:
    """A cursor above every conversation so far."""
    return Cursor(timezone.now(), uuid.UUID(int=0))


def parsed(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise BadRequest("Malformed id.") from None


def ids_in(request, header: str) -> list[uuid.UUID]:
    """The ids in one of the headers above. BadRequest if one is malformed or there are too many."""
    found = [parsed(part) for part in request.headers.get(header, "").split(",") if part]
    if len(found) > MOST_RUNS:
        raise BadRequest("Too many ids.")
    return found


def note_runs(rows: list[Session], states: dict[uuid.UUID, dict[str, str]] | None = None) -> int:
    """
    Set `unfinished`, {run id: state}, on each row, and return the number of these runs. The list
    does not know the `states`, so they are empty, and the page soon fetches these rows again.
    """
    room = MOST_RUNS
    for row in rows:
        found = dict.fromkeys(row.unfinished_runs, "") if states is None else states.get(row.pk, {})
        row.unfinished = dict(list(found.items())[:room])
        room -= len(row.unfinished)
    return MOST_RUNS - room


def awaited_runs(matching: Matching, most: int) -> tuple[list[uuid.UUID], bool]:
    """
    (at most `most` unfinished runs, whether they could be looked for).

    These are runs of the newest conversations that do not meet the conditions yet, but may do so
    when the run has ended.
    """
    if not matching.conditions:
        return [], True
    if not state.is_ready(kinds.unfinished().index_name):
        return [], False
    sessions = matching.base.filter(compiled.condition(with_unfinished_runs))
    left_out = sessions.exclude(*(condition.as_probe() for condition in matching.conditions))
    found = left_out.annotate(**compiled.subqueries(newest_unfinished_run)).newest_first()
    with timeouts_ignored(), time_limit(found.db, SECONDS):
        return [pk for pk in found.values_list("unfinished_run", flat=True)[:most] if pk], True
    return [], False


def with_unfinished_runs() -> SessionQuerySet:
    # The LIMIT makes the planner read the index once instead of probing it for each conversation.
    runs = Run.objects.unfinished().order_by()
    return Session.objects.filter(pk__in=runs.values("session_id")[:MOST_ROWS])


def newest_unfinished_run() -> SessionQuerySet:
    runs = Run.objects.unfinished().filter(session_id=OuterRef("pk"))
    newest = runs.order_by("-created_at", "-pk").values("pk")
    return Session.objects.annotate(unfinished_run=Subquery(newest[:1]))


def came_to_match(matching: Matching, runs: list[uuid.UUID]) -> set[uuid.UUID]:
    """The conversations of these awaited runs that match now."""
    if not runs or not matching.conditions:
        return set()
    sessions = Run.objects.filter(pk__in=runs).order_by().values("session_id")
    found = matching.base.filter(pk__in=sessions[:MOST_ROWS])
    found = found.filter(*(condition.as_probe() for condition in matching.conditions))
    with timeouts_ignored(), time_limit(found.db, SECONDS):
        return set(found.order_by().values_list("pk", flat=True))
    return set()


def newer(matching: Matching, since: Cursor) -> dict[uuid.UUID, datetime]:
    """{id: updated_at} of matching conversations above a cursor, at most UP_TO + 1."""
    found = matching.base.newer_than(since.updated_at, since.id)
    # There are few of them, so probing each is quicker than collecting all matches.
    found = found.filter(*(condition.as_probe() for condition in matching.conditions))
    with timeouts_ignored(), time_limit(found.db, SECONDS):
        return dict(found.newest_first().values_list("pk", "updated_at")[: UP_TO + 1])
    return {}
