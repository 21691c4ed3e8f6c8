"""
The newest conversations that match, found within a given time whatever the history's size.

An index yields conversations in (updated_at, id) order. Conditions on other tables are probed on
the newest conversations first. If too few meet them, an index of ours collects all that do. Without
one, or if it takes too long, the search looks back as far as time allows, and says how far.
"""

import uuid

from django.db import OperationalError

from backoffice.databases.errors import is_timeout, timeouts_ignored
from backoffice.databases.time_limits import TimeBudget, time_limit
from backoffice.databases.work_slots import WorkSlot, wait_for_slot

from .conditions import is_one_of
from .look_back import widen
from .matching import Matching
from .pagination import Cursor

# Finding a page's rows may take this share of a query's time limit.
SHARE_OF_TIMEOUT = 0.6
# At most this many conversations in the first look.
FIRST_LOOK = 1_000
# If this many more conversations should fill the page, they are walked, not collected.
WORTH_WALKING = 5_000
# The share of the time left that collecting may take before looking back goes on.
COLLECT_SHARE = 0.5


def find(
    matching: Matching, cursor: Cursor | None, limit: int, seconds: float
) -> tuple[list[Cursor], Cursor | None]:
    """
    (cursors of the next conversations that match, at most `limit`; how far back it looked if time
    ran out first, else None).

    Conversations that a search names are found at once, however far back they are.

    Raises OperationalError if not even the newest can be looked at within that many seconds.
    Without conditions it is a single query under the connection's own time limit.
    """
    found, reached = search(matching, cursor, limit, seconds)
    if named := named_places(matching, cursor, limit):
        both = sorted({*found, *named}, key=lambda place: (place.updated_at, place.id))
        # Whoever looks further back goes on where the search ended: that must not be a row's place.
        found = both[::-1][: max(limit - 1, 1) if reached else limit]
    return found, reached


def named_places(matching: Matching, cursor: Cursor | None, limit: int) -> list[Cursor]:
    """The next conversations that match since they are named."""
    ids = [pk for condition in matching.conditions for pk in condition.named]
    if not ids:
        return []
    others = (each.as_probe() for each in matching.conditions if not each.named)
    named = Matching.behind(matching.base, cursor).filter(is_one_of(tuple(ids)), *others)
    return places(named, limit)


def search(matching: Matching, cursor: Cursor | None, limit: int, seconds: float):
    """find() without what is far back and named."""
    budget = TimeBudget(seconds)
    found: list[Cursor] = []
    for part, begins in matching.parts(cursor):
        wanted = limit - len(found)
        try:
            if matching.conditions:
                more, reached = look_back(part, matching.conditions, wanted, budget)
            else:
                more, reached = places(part, wanted), None
        except OperationalError as error:
            if begins is None or not is_timeout(error):
                raise
            return found, begins
        found += more
        if len(found) == limit:
            return found, None
        if reached:
            return found, reached
    return found, None


def next_newer(matching: Matching, cursor: Cursor, seconds: float) -> uuid.UUID | None:
    """
    The nearest matching conversation above a cursor. The nearest are probed one by one, so that
    common matches are not collected from the whole history.

    Raises OperationalError if it is not found within that many seconds.
    """
    upwards = ("updated_at", "id")
    newer = matching.base.newer_than(cursor.updated_at, cursor.id).order_by(*upwards)
    quick = min((condition.probes for condition in matching.conditions), default=0)
    ends = newer.values_list(*upwards)[quick - 1 : quick] if quick else ()
    near = newer.filter(*(condition.as_probe() for condition in matching.conditions))
    with time_limit(newer.db, TimeBudget(seconds)):
        for updated_at, _ in ends:
            near = near.filter(updated_at__lte=updated_at)
        found = near.values_list("pk", flat=True).first()
        for end in ends if found is None else ():
            further = matching.queryset().newer_than(*end).order_by(*upwards)
            found = further.values_list("pk", flat=True).first()
    return found


def places(queryset, limit: int, skipped: int = 0) -> list[Cursor]:
    keys = queryset.newest_first().values_list("updated_at", "pk")
    return [Cursor(*key) for key in keys[skipped : skipped + limit]]


def look_back(part, conditions, limit: int, budget: TimeBudget):
    """find() in one part, with conditions."""
    probes = [condition.as_probe() for condition in conditions]
    collect_after = [condition.probes for condition in conditions if condition.indexed]
    quick = min(condition.probes for condition in conditions)
    found: list[Cursor] = []
    reached: Cursor | None = None
    looked_at = 0

    def look(number: int):
        rest = Matching.behind(part, reached)
        ends = places(rest, 1, skipped=number - 1)
        window = rest.not_older_than(ends[0].updated_at, ends[0].id) if ends else rest
        return number, places(window.filter(*probes), limit - len(found)), ends

    for number, more, ends in widen(
        look, part.db, budget, first=min(FIRST_LOOK, quick), free=quick
    ):
        found += more
        if not ends or len(found) == limit:
            return found, None
        [reached] = ends
        looked_at += number
        to_walk = (limit - len(found)) * looked_at / (len(found) or 0.1)
        if collect_after and looked_at >= min(collect_after) and to_walk > WORTH_WALKING:
            collect_after = []
            more = collect(part, conditions, reached, limit - len(found), budget)
            if more is not None:
                return found + more, None
    return found, reached


def collect(part, conditions, cursor, limit, budget: TimeBudget) -> list[Cursor] | None:
    """The rest of the page, from all rows that meet the conditions; None if that takes too long."""
    chosen = (each.as_collected() if each.indexed else each.as_probe() for each in conditions)
    rest = Matching.behind(part, cursor).filter(*chosen)
    seconds = budget.left() * COLLECT_SHARE
    with (
        timeouts_ignored(),
        time_limit(part.db, seconds),
        wait_for_slot(part.db, WorkSlot.COLLECT),
    ):
        return places(rest, limit)
    return None
