"""The conversations that match the filters."""

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
    The conversations that match the filters: those of `base`, which needs no other table, that
    meet all `conditions`. `until` is the upper bound of their created_at, if there is one.
    """

    base: SessionQuerySet
    conditions: tuple[Condition, ...] = ()
    until: datetime | None = None

    def queryset(self, probes: int = 0) -> SessionQuerySet:
        """All of them. The first `probes` conditions are probed one conversation after another;
        for the others PostgreSQL's planner chooses."""
        asked = (each.as_probe() for each in self.conditions[:probes])
        planned = (each.as_subquery() for each in self.conditions[probes:])
        return self.base.filter(*asked, *planned)

    def parts(self, cursor: Cursor | None):
        """
        Querysets that together hold the conversations after a cursor, newest first, each with the
        cursor where the one before it ended.

        If the range of created_at ends in the past, the first part is the few conversations still
        going on then, which an index finds; the others were last active before that.
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
