"""
Finds the newest model calls that match, within a given time and whatever the history's size.

A Cursor's time is here when the call was made.
"""

import uuid
from functools import partial

from django.db.models import Q, QuerySet

from backoffice.databases.time_limits import TimeBudget, time_limit

from ..access import agent_limits
from ..selection.look_back import collected, widen
from ..selection.model_calls import ModelCallFilter
from ..selection.pagination import Cursor

# Comes after all calls of the same time, so none of them is left out.
NO_CALL = uuid.UUID(int=2**128 - 1)
# How many calls are looked at before all that match are collected.
FIRST_LOOK = 5_000


def find(
    filters: ModelCallFilter, cursor: Cursor | None, limit: int, seconds: float
) -> tuple[list[Cursor], Cursor | None]:
    """
    (cursors of the next matching calls, at most `limit`; how far back the search got if it ran out
    of time, else None).

    Raises OperationalError if `seconds` is too short even for the newest calls.
    """
    matching = filters.matching
    if not filters.is_valid() or filters.is_of_one:
        with time_limit(matching.db, seconds):
            return places(behind(matching, cursor), limit), None
    budget = TimeBudget(seconds)
    found: list[Cursor] = []
    reached, is_collected = cursor, False

    def look(number: int):
        # A user's limit would make this walk past all other agents' calls.
        with agent_limits.lifted():
            ends = places(behind(filters.near, reached), 1, skipped=number - 1)
        window = behind(matching, reached)
        if ends:
            window = window.filter(not_older_than(ends[0]))
        return places(window, limit - len(found)), ends

    for more, ends in widen(look, matching.db, budget, first=FIRST_LOOK, free=FIRST_LOOK):
        found += more
        if not ends or len(found) == limit:
            return found, None
        [reached] = ends
        if not is_collected:
            is_collected = True
            rest, wanted = behind(matching, reached), limit - len(found)
            # By whichever index PostgreSQL prefers.
            rows = collected(matching.db, budget, partial(places, rest, wanted))
            if rows is not None:
                return found + rows, None
    if not reached or agent_limits.agents() is None:
        return found, reached
    # The call that it ends with may be one that the user may not see, so the next page begins with
    # all calls of that time.
    at = reached.updated_at
    return [place for place in found if place.updated_at > at], Cursor(at, NO_CALL)


def newer_page(filters: ModelCallFilter, cursor: Cursor, limit: int, seconds: float):
    """Cursors of the nearest matching calls at a cursor and above it, the nearest first."""
    rows = filters.matching.filter(not_older_than(cursor)).order_by("created_at", "id")
    with time_limit(rows.db, seconds):
        return [Cursor(*key) for key in rows.values_list("created_at", "id")[:limit]]


def newest_first(rows: QuerySet) -> QuerySet:
    return rows.order_by("-created_at", "-id")


def places(rows: QuerySet, limit: int, skipped: int = 0) -> list[Cursor]:
    keys = newest_first(rows).values_list("created_at", "id")
    return [Cursor(*key) for key in keys[skipped : skipped + limit]]


def behind(rows: QuerySet, cursor: Cursor | None) -> QuerySet:
    if cursor is None:
        return rows
    # The second condition implies the first, but only the first lets an index start there.
    at = cursor.updated_at
    return rows.filter(
        Q(created_at__lte=at), Q(created_at__lt=at) | Q(created_at=at, id__lt=cursor.id)
    )


def not_older_than(cursor: Cursor) -> Q:
    at = cursor.updated_at
    return Q(created_at__gte=at) & (Q(created_at__gt=at) | Q(created_at=at, id__gte=cursor.id))
