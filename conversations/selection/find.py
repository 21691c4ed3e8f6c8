"""
Finds the newest conversations that match, within a given time and whatever the history's size.

An index yields conversations in (updated_at, id) order. Conditions on other tables are probed on
the newest conversations first. If too few meet them, our indexes collect all that meet the rarest
conditions, and the others are probed for these. What was over long ago is found around the time
when it was over. If there is no index, or it takes too long, the search looks back as far as time
allows and says how far.
"""

import uuid
from datetime import datetime

from django.db import OperationalError
from django.db.models import Q

from backoffice.databases.errors import is_timeout
from backoffice.databases.time_limits import TimeBudget, time_limit

from .conditions import MOST_ROWS, are_candidates_of, is_one_of
from .estimates import expected_rows
from .look_back import COLLECT_SHARE, collected, widen
from .matching import WORTH_SORTING, Matching, Part, are_few_alive_at
from .pagination import Cursor

# The share of the time limit of a query that finding a page's rows may take.
SHARE_OF_TIMEOUT = 0.6
# At most this many conversations in the first look.
FIRST_LOOK = 1_000
# If filling the page needs no more than about this many conversations, they are probed one by one.
WORTH_WALKING = 5_000
# So many rows of a condition are collected fast enough.
WORTH_COLLECTING = 50_000
# In the time that it takes to probe a conversation, an index yields about so many rows. A condition
# with more times as many rows as the rarest one is not collected, but probed. If an index has only
# its rows, a probe takes no longer than collecting a row.
READ_AT_ONCE = 20
# If the planner expects no more rows than this, it may be far off, and read those of the other
# conditions again for each row.
HARDLY_ANY = 1_000


def find(
    matching: Matching, cursor: Cursor | None, limit: int, seconds: float
) -> tuple[list[Cursor], Cursor | None]:
    """
    (cursors of the next matching conversations, at most `limit`; how far back the search got if it
    ran out of time, else None).

    Conversations whose ids were searched for are found at once, however far back they are: the
    newest page shows them, and so does the page on which the search gets there.

    Raises OperationalError if `seconds` is too short even for the newest conversations. Without
    conditions, this is a single query under the connection's own time limit.
    """
    found, reached = search(matching, cursor, limit, seconds)
    if reached and cursor:
        return found, reached
    if named := named_places(matching, cursor, limit):
        both = sorted({*found, *named}, key=lambda place: (place.updated_at, place.id))
        # With `limit` rows, the next page would begin after the last of them, which may be further
        # back than the search got. With one row less, it begins where the search ended.
        found = both[::-1][: max(limit - 1, 1) if reached else limit]
    return found, reached


def named_places(matching: Matching, cursor: Cursor | None, limit: int) -> list[Cursor]:
    """The next conversations that match because their ids were searched for."""
    ids = [pk for condition in matching.conditions for pk in condition.named]
    if not ids:
        return []
    others = (each.as_probe() for each in matching.conditions if not each.named)
    named = matching.part(matching.base).behind(cursor).filter(is_one_of(tuple(ids)), *others)
    return places(named, limit)


def search(matching: Matching, cursor: Cursor | None, limit: int, seconds: float):
    """find() without the conversations whose ids were searched for."""
    budget = TimeBudget(seconds)
    found: list[Cursor] = []
    for part in matching.parts(cursor):
        wanted = limit - len(found)
        try:
            if matching.conditions:
                more, reached = look_back(part, matching.conditions, wanted, budget)
            else:
                more, reached = places(part, wanted), None
        except OperationalError as error:
            if part.begins is None or not is_timeout(error):
                raise
            return found, part.begins
        found += more
        if len(found) == limit:
            return found, None
        if reached:
            return found, reached
    return found, None


def next_newer(matching: Matching, cursor: Cursor, seconds: float) -> uuid.UUID | None:
    """
    The nearest matching conversation above a cursor.

    Raises OperationalError if that takes longer than `seconds`.
    """
    above = matching.base.newer_than(cursor.updated_at, cursor.id)
    found = climb(matching.part(above), matching.conditions, 1, TimeBudget(seconds))
    return found[0].id if found else None


def newer_page(matching: Matching, cursor: Cursor, limit: int, seconds: float) -> list[Cursor]:
    """
    Cursors of the nearest matching conversations at a cursor and above it, the nearest first.

    Raises OperationalError if that takes longer than `seconds`.
    """
    budget = TimeBudget(seconds)
    found: list[Cursor] = []
    for part in matching.parts_above(cursor):
        if len(found) < limit:
            found += climb(part, matching.conditions, limit - len(found), budget)
    return found


def climb(part: Part, conditions, limit: int, budget: TimeBudget) -> list[Cursor]:
    """
    The oldest of these rows that meet the conditions. The nearest rows are probed first, so common
    matches need not be collected from the whole history.
    """
    quick = min((condition.probes for condition in conditions), default=0)
    near = part.filter(*(condition.as_probe() for condition in conditions))
    with time_limit(part.rows.db, budget):
        ends = keys(part.oldest_first(), 1, quick - 1) if quick else []
        if not ends:
            return keys(near.oldest_first(), limit)
        [end] = ends
        near = near.filter(Q(updated_at__lte=end.updated_at))
        found = keys(near.oldest_first(), limit)
        if len(found) < limit:
            further = part.filter(*(condition.as_subquery() for condition in conditions))
            further = further.filter(Q(updated_at__gt=end.updated_at))
            found += keys(further.oldest_first(), limit - len(found))
    return found


def places(part: Part, limit: int, skipped: int = 0) -> list[Cursor]:
    return keys(part.newest_first(), limit, skipped)


def keys(queryset, limit: int, skipped: int = 0) -> list[Cursor]:
    rows = queryset.values_list("updated_at", "pk")
    return [Cursor(*key) for key in rows[skipped : skipped + limit]]


def look_back(part: Part, conditions, limit: int, budget: TimeBudget):
    """search() in one part of the history, with conditions."""
    probes = [condition.as_probe() for condition in conditions]
    collect_after = [condition.probes for condition in conditions if condition.indexed]
    quick = min(condition.probes for condition in conditions)
    found: list[Cursor] = []
    reached: Cursor | None = None
    looked_at = 0

    def look(number: int):
        rest = part.behind(reached)
        ends = places(rest, 1, skipped=number - 1)
        window = rest.not_behind(ends[0]) if ends else rest
        return number, places(window.filter(*probes), limit - len(found)), ends

    for number, more, ends in widen(
        look, part.rows.db, budget, first=min(FIRST_LOOK, quick), free=quick
    ):
        found += more
        if not ends or len(found) == limit:
            return found, None
        [reached] = ends
        looked_at += number
        to_walk = (limit - len(found)) * looked_at / (len(found) or 0.1)
        is_rare = not found or looked_at >= min(collect_after, default=0)
        if collect_after and (part.is_few or (is_rare and to_walk > WORTH_WALKING)):
            collect_after = []
            rest, wanted = part.behind(reached), limit - len(found)
            if until := over_by(part, conditions, reached):
                answer = look_around(rest, conditions, until, wanted, budget)
            else:
                answer = collect(rest, conditions, wanted, budget)
            if answer is not None:
                more, end = answer
                return found + more, end
    return found, reached


def over_by(part: Part, conditions, reached: Cursor) -> datetime | None:
    """
    The time before which everything happened that the conditions look for, if look_around() is
    faster than collecting it: the search has not reached that time, there is a lot to collect, and
    few conversations were going on then.
    """
    until = min((each.until for each in conditions if each.until), default=None)
    if until is None or part.is_few or reached.updated_at <= until:
        return None
    if not all(each.is_quick for each in conditions if each.indexed):
        return None
    if any(each.expected_rows() <= WORTH_COLLECTING for each in conditions if each.until):
        return None
    # Not if another filter wants the conversations to have begun later.
    if are_few_alive_at(until) and part.rows.filter(created_at__lte=until).exists():
        return until
    return None


def look_around(part: Part, conditions, until: datetime, limit: int, budget: TimeBudget):
    """
    look_back() where everything that the conditions look for is from before `until`. Conversations
    that were going on at that time come first, then those that had ended. Those that began later
    only match if they were imported: they are collected, as far back as the page goes. None if that
    takes too long.
    """
    straddling, ended = part.around(until)
    time_for_most = TimeBudget(budget.left() * COLLECT_SHARE)
    probes = [each.as_probe() for each in conditions]
    found = collected(
        part.rows.db, time_for_most, lambda: places(straddling.filter(*probes), limit)
    )
    if found is None:
        return None
    reached = None
    if len(found) < limit:
        try:
            more, reached = look_back(ended, conditions, limit - len(found), time_for_most)
        except OperationalError as error:
            if not is_timeout(error):
                raise
            return None
        found += more
    end = found[-1] if len(found) == limit else reached
    # A single bound, because with each the planner expects fewer rows.
    is_later = Q(updated_at__gt=until)
    if end and end.updated_at > until:
        is_later = Q(updated_at__gte=end.updated_at)
    imported = part.filter(is_later, Q(created_at__gt=until))
    chosen = finding_hardly_any(imported, conditions)
    more = collected(part.rows.db, budget, lambda: places(imported.filter(*chosen), limit))
    if more is None:
        return None
    both = sorted(found + more, key=lambda place: (place.updated_at, place.id), reverse=True)
    if end:
        both = [place for place in both if (place.updated_at, place.id) >= (end.updated_at, end.id)]
    return both[:limit], reached


def finding_hardly_any(part: Part, conditions) -> list[Q]:
    """The conditions in the form that is probably fastest where few conversations meet them."""
    probes = [each.as_probe() for each in conditions]
    numbers = {each: each.expected_rows() for each in conditions if each.indexed}
    rarest = min(numbers, key=numbers.__getitem__)
    everything = expected_rows(part.rows)
    if numbers[rarest] > everything * READ_AT_ONCE:
        return probes
    return [rarest.as_candidate(part.rows if numbers[rarest] > everything else None), *probes]


def collect(part: Part, conditions, limit: int, budget: TimeBudget):
    """look_back() from all rows that meet the rarest conditions. None if that takes too long."""
    rare = rarest(part, conditions)

    def read() -> list[Cursor]:
        found, rest = [], part
        if len(rare) == len(conditions) and any(each.candidates for each in rare):
            found, rest = of_newest_candidates(part, rare, limit)
        if rest is None or len(found) == limit:
            return found
        chosen = collecting(rest, conditions, rare)
        return found + places(rest.filter(*chosen), limit - len(found))

    found = collected(part.rows.db, budget, read)
    return None if found is None else (found, None)


def of_newest_candidates(
    part: Part, conditions: dict, limit: int
) -> tuple[list[Cursor], Part | None]:
    """
    (cursors of those that match, what is left to search). Most candidates match, and to check all
    of them may take much longer than to find them.
    """
    newest = places(with_candidates(part, conditions), FIRST_LOOK)
    if not newest:
        return [], None
    among = Part(part.rows.filter(is_one_of([place.id for place in newest])), is_few=True)
    checks = (each.as_probe() for each in conditions if each.candidates)
    rest = part.behind(newest[-1]) if len(newest) == FIRST_LOOK else None
    return places(among.filter(*checks), limit), rest


def rarest(part: Part, conditions) -> dict:
    """
    {condition: number of rows to expect} for those that are rare enough to be collected. The others
    are probed.
    """
    numbers = {each: each.expected_rows() for each in conditions if each.indexed}
    everything = expected_rows(part.rows)
    few = [everything] if everything <= WORTH_SORTING else []
    least = min([*few, *numbers.values()], default=0)

    def is_rare(condition) -> bool:
        times = 1 if condition.covered_by else READ_AT_ONCE
        return condition in numbers and numbers[condition] <= least * times

    return {each: numbers[each] for each in conditions if is_rare(each)}


def collecting(part: Part, conditions, rare: dict) -> list[Q]:
    """The rare conditions in a form that collects all their rows, the others as probes."""
    if len(rare) < 2:
        return [each.as_collected() if each in rare else each.as_probe() for each in conditions]
    # The LIMIT keeps the planner from probing conversations that are not among all of them.
    in_all = with_candidates(part, rare).rows.order_by()
    probed = [each.as_probe() for each in conditions if each not in rare or each.candidates]
    return [Q(pk__in=in_all.values("pk")[:MOST_ROWS]), *probed]


def with_candidates(part: Part, rare: dict) -> Part:
    """Those that have candidates of all these conditions."""
    if min(rare.values()) <= HARDLY_ANY:
        return part.filter(are_candidates_of(rare))
    return part.filter(*(are_candidates_of([each]) for each in rare))
