"""The conversations that match the filters."""

from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import DateTimeField, Q
from django.utils.functional import cached_property

from ..agentdb.sql import Template
from ..indexes import catalogue, state
from ..models import Session
from ..querysets import SessionQuerySet
from .conditions import Condition
from .estimates import expected_rows
from .pagination import HIGHEST_ID, Cursor

# So many conversations are found and sorted faster than the newest of them are met on the way back.
WORTH_SORTING = 20_000
# Those whose external ids begin alike, too: 33,000 take 30 ms. They are often from the same weeks,
# and walking back to these takes up to half a second in a million conversations.
WORTH_SORTING_ALIKE = 50_000
LAST_AT = Template("({updated_at} + interval '0')", DateTimeField())


@dataclass(frozen=True)
class Part:
    """
    Conversations of a stretch of the history. `begins`: the cursor at which the previous part
    ended. `is_few`: an index finds them all at once, but in another order.
    """

    rows: SessionQuerySet
    begins: Cursor | None = None
    is_few: bool = False

    def behind(self, cursor: Cursor | None) -> "Part":
        if cursor is None:
            return self
        return replace(self, rows=self.rows.older_than(cursor.updated_at, cursor.id))

    def not_behind(self, cursor: Cursor) -> "Part":
        return replace(self, rows=self.rows.not_older_than(cursor.updated_at, cursor.id))

    def filter(self, *conditions: Q) -> "Part":
        return replace(self, rows=self.rows.filter(*conditions))

    def around(self, moment: datetime) -> tuple["Part", "Part"]:
        """
        The conversations that were going on at this moment, which an index finds, and those that
        had ended by then.
        """
        had_ended = self.rows.filter(updated_at__lt=moment)
        return Part(self.rows.alive_at(moment), is_few=True), Part(had_ended)

    def newest_first(self) -> SessionQuerySet:
        """With few rows, the planner must not walk through all others for the sake of the order."""
        if not self.is_few:
            return self.rows.newest_first()
        return self.rows.order_by(LAST_AT.desc(), "-id")

    def oldest_first(self) -> SessionQuerySet:
        return self.rows.order_by(LAST_AT.asc() if self.is_few else "updated_at", "id")


@dataclass(frozen=True)
class Matching:
    """
    The conversations that match the filters: those in `base`, which needs no other table, that also
    meet all `conditions`. `until` is the upper bound of created_at, if any. `by_beginning`: the
    external ids of those in `base` begin alike.
    """

    base: SessionQuerySet
    conditions: tuple[Condition, ...] = ()
    until: datetime | None = None
    by_beginning: bool = False

    @cached_property
    def is_few(self) -> bool:
        """
        Whether our index finds all of `base` at once. External ids that begin alike may all be from
        the same weeks, far behind the newest conversations.
        """
        has_index = self.by_beginning and state.is_ready(catalogue.EXTERNAL_IDS.name)
        return has_index and expected_rows(self.base) <= WORTH_SORTING_ALIKE

    def part(self, rows: SessionQuerySet, begins: Cursor | None = None) -> Part:
        return Part(rows, begins, self.is_few)

    def queryset(self, probes: int = 0) -> SessionQuerySet:
        """All matching conversations. The first `probes` conditions are checked for one
        conversation at a time; for the others, PostgreSQL's planner decides."""
        asked = (each.as_probe() for each in self.conditions[:probes])
        planned = (each.as_subquery() for each in self.conditions[probes:])
        return self.base.filter(*asked, *planned)

    def parts(self, cursor: Cursor | None):
        """
        Parts that together contain the conversations after a cursor, newest first.

        If the range of created_at ends in the past, the first part has the few conversations that
        were still active after its end, which an index finds; the others ended before that.
        """
        if self.until is None or (cursor and cursor.updated_at <= self.until):
            yield self.part(self.base).behind(cursor)
            return
        yield self.late().behind(cursor)
        rest = self.base.filter(updated_at__lte=self.until)
        yield self.part(rest, begins=Cursor(self.until, HIGHEST_ID))

    def parts_above(self, cursor: Cursor):
        """The same for the conversations at a cursor and newer ones, the oldest part first."""
        if self.until is None:
            yield self.part(self.base).not_behind(cursor)
        elif cursor.updated_at > self.until:
            yield self.late().not_behind(cursor)
        else:
            yield self.part(self.base.filter(updated_at__lte=self.until)).not_behind(cursor)
            yield self.late()

    def late(self) -> Part:
        """Conversations that were still active after the upper bound of created_at."""
        late = self.base.filter(updated_at__gt=self.until)
        if self.is_few or not state.is_ready("desk_sessions_lifetime"):
            return self.part(late)
        return Part(late.alive_at(self.until), is_few=are_few_alive_at(self.until))


def are_few_alive_at(moment: datetime) -> bool:
    """Whether our index finds the conversations that were going on at this moment at once."""
    if not state.is_ready("desk_sessions_lifetime"):
        return False
    return expected_rows(Session.objects.alive_at(moment)) <= WORTH_SORTING
