"""Finds conversations that a search names by an id: a UUID, or the beginning of an external id."""

import uuid
from dataclasses import dataclass, field

from django.db.models import Q

from backoffice.databases.errors import timeouts_ignored
from backoffice.databases.text import is_storable
from backoffice.databases.time_limits import time_limit
from privacy import masking

from ..agentdb.search_terms import whole
from ..indexes import catalogue, state
from ..models import ChatMessage, Run, Session, Task
from . import pasted

# At most MOST are found by the beginning of an external id, if that has SHORTEST_BEGINNING letters.
MOST = 1_000
SHORTEST_BEGINNING = 3
# Without our index, or if half of all external ids begin like this, it takes longer and is stopped.
SECONDS = 0.3


@dataclass(frozen=True)
class Named:
    """
    What a search names: `by_id` is {session id: (kind of row, its id)}, `by_external_id` the ids of
    sessions. `more`: further sessions have external ids with that beginning.
    """

    by_id: dict[uuid.UUID, tuple[str, uuid.UUID]] = field(default_factory=dict)
    by_external_id: frozenset[uuid.UUID] = frozenset()
    more: bool = False

    @property
    def sessions(self) -> list[uuid.UUID]:
        return [*self.by_external_id.union(self.by_id)]


NOTHING = Named()


def named(text: str) -> Named:
    spellings = pasted.spellings(text)
    if not spellings or not is_storable(text):
        return NOTHING
    by_id = {session: hit for row_id in pasted.ids(text) for session, hit in rows_with(row_id)}
    # Not if masked: an external id could be guessed letter by letter from its beginning.
    beginnings = [each for each in spellings if len(whole(each)) >= SHORTEST_BEGINNING]
    if masking.is_active() or not beginnings:
        return Named(by_id, frozenset(whole_ids(spellings)[:MOST]))
    begin = Q(*(Q(external_id__is_named_from=each) for each in beginnings), _connector=Q.OR)
    rows = Session.objects.filter(begin).newest_first().values_list("pk", flat=True)
    with timeouts_ignored(), time_limit(rows.db, SECONDS):
        found = list(rows[: MOST + 1])
        if len(found) <= MOST:
            return Named(by_id, frozenset(found))
        return Named(by_id, frozenset([*whole_ids(spellings)[:MOST], *found]), more=True)
    return Named(by_id, frozenset(whole_ids(spellings)[:MOST]), more=True)


def whole_ids(spellings: list[str]):
    """Sessions whose external id is one of these, newest first."""
    if state.is_ready(catalogue.EXTERNAL_IDS.name):
        found = Session.objects.named(*spellings)
    else:
        # The runtime's own index has external ids only as they are stored.
        cases = {case for each in spellings for case in (each, each.lower(), each.upper())}
        found = Session.objects.with_external_id(*sorted(cases))
    return found.newest_first().values_list("pk", flat=True)


def rows_with(row_id: uuid.UUID):
    """(session id, (kind of row, id)) of each row with this id."""
    if Session.objects.filter(pk=row_id).exists():
        yield row_id, ("session", row_id)
    for kind, model in (("run", Run), ("task", Task), ("message", ChatMessage)):
        rows = model.objects.filter(pk=row_id).values_list("session_id", flat=True)
        for session in rows[:1]:
            yield session, (kind, row_id)
