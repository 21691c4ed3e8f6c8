"""The conversations that filters leave."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from ..indexes import state
from ..querysets import SessionQuerySet
from .conditions import Condition
from .pagination import Cursor

HIGHEST_ID = uuid.UUID(int=2**128 - 1)


@dataclass(frozen=True)
class Matching:
    """
    The conversations that filters leave: those of `base`, which need no other table, that meet
    all `conditions`. `until` bounds their created_at, where there is such a bound.
    """

    base: SessionQuerySet
    conditions: tuple[Condition, ...] = ()
    until: datetime | None = None

    def queryset(self, probes: int = 0) -> SessionQuerySet:
        """All of them. The first `probes` conditions are asked of one conversation after another,
        for the others PostgreSQL's planner chooses."""
        asked = (each.as_probe() for each in self.conditions[:probes])
        planned = (each.as_subquery() for each in self.conditions[probes:])
        return self.base.filter(*asked, *planned)

    def parts(self, cursor: Cursor | None):
        """
        Querysets that hold the conversations behind a cursor one after the other, newest first,
        each with the place where the one before it ended.

        A range of created_at that ends in the past begins with the few that were still going on
        then: an index finds these, and where in the order the others begin.
        """
        if self.until is None or (cursor and cursor.updated_at <= self.until):
            yield self.behind(self.base, cursor), None
            return
        late = self.base.filter(updated_at__gt=self.until)
        if state.is_ready("desk_sessions_lifetime"):
            late = late.alive_at(self.until)
        yield self.behind(late, cursor), None
        yield self.base.filter(updated_at__lte=self.until), Cursor(self.until, HIGHEST_ID)

    @staticmethod
    def behind(queryset, cursor):
        return queryset.older_than(cursor.updated_at, cursor.id) if cursor else queryset
