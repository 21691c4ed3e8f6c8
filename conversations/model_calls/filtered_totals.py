"""What the calls under the page's filters add up to."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db import connections

from backoffice.databases.errors import timeouts_ignored
from backoffice.databases.time_limits import time_limit
from backoffice.databases.work_slots import WorkSlot, wait_for_slot
from privacy import masking

from ..agentdb import revision, tokens
from ..models import ModelCall
from ..prices import Cost, by_model, price_list, used, values_sql
from ..selection.model_calls import ModelCallFilter
from .costs import LIKELY
from .find import newest_first

# Of more calls, only the newest are added up.
UP_TO = 10_000
# The share of the time limit of a query that it may take.
SHARE_OF_TIMEOUT = 0.4


@dataclass
class FilteredTotals:
    calls: int = 0
    # Seconds of all calls whose duration is known, and how many these are.
    seconds: float = 0
    timed: int = 0
    tokens: int = 0
    amount: Decimal = Decimal(0)
    # Calls whose cost is not known, and whether those of the others may have cost more.
    unpriced: int = 0
    is_cache_unclear: bool = False
    # When the oldest of these calls was made, if older ones were left out.
    since: datetime | None = None

    @property
    def price_list(self) -> str:
        return price_list()

    @property
    def cost(self) -> Cost:
        return Cost(self.amount, bool(self.unpriced or self.is_cache_unclear))

    def add(self, model: str, calls: list[tuple]):
        """`calls` as in prices.Calls."""
        of_model = used({model: calls})
        self.tokens += of_model.tokens
        self.is_cache_unclear |= of_model.is_cache_unclear
        if of_model.cost and not of_model.uncounted:
            self.amount += of_model.cost.amount
        elif self.price_list:
            self.add_one_by_one(model, calls)

    def add_one_by_one(self, model: str, calls: list[tuple]):
        for call in calls:
            of_call = used({model: [call]})
            if of_call.cost and not of_call.uncounted:
                self.amount += of_call.cost.amount
            else:
                self.unpriced += 1


def filtered_totals(filters: ModelCallFilter) -> FilteredTotals | None:
    """Of the newest UP_TO calls that match; None if that takes too long."""
    rows: list[tuple] | None = None
    seconds = settings.STATEMENT_TIMEOUT_SECONDS * SHARE_OF_TIMEOUT
    alias = filters.matching.db
    with timeouts_ignored(), time_limit(alias, seconds), wait_for_slot(alias, WorkSlot.COUNT):
        rows = read(filters)
    if rows is None:
        return None
    found = FilteredTotals()
    if len(rows) > UP_TO:
        rows = rows[:UP_TO]
        found.since = rows[-1][0]
    found.calls = len(rows)
    known = [took for _, took, *_ in rows if took is not None]
    found.timed, found.seconds = len(known), float(sum(known))
    for model, calls in by_model(call for _, _, *call in rows).items():
        found.add(masking.raw(model), list(calls))
    return found


def read(filters: ModelCallFilter) -> list[tuple]:
    """(when, seconds, model, values as in prices.Calls) of one more call than are added up."""
    missing = revision.missing_fields(ModelCall)
    columns = ["model", "call_type", "created_at", "response_code", "duration_seconds"]
    columns += [name for name in tokens.COLUMNS if name not in missing]
    newest = newest_first(filters.matching).values(*columns)[: UP_TO + 1]
    sql, params = newest.query.get_compiler(newest.db).as_sql()
    statement = f"""
        SELECT created_at, CASE WHEN {LIKELY} THEN duration_seconds END, model,
            {", ".join(values_sql())}
        FROM ({sql}) AS call ORDER BY created_at DESC
    """  # noqa: S608
    with connections[newest.db].cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall()
