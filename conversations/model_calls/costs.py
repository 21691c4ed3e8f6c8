"""The model calls of a run or conversation, without payloads, and their totals."""

import uuid
from dataclasses import dataclass

from django.db import connections
from django.db.models import Case, QuerySet, Value, When

from privacy import masking

from ..agentdb import revision
from ..models import ModelCall
from ..prices import Used, cost, price_list, used, values_of, values_sql
from ..problems import kinds

SHOWN = 200
# A plausible duration in seconds: not negative, infinite, or NaN (which PostgreSQL sorts last).
LIKELY = "duration_seconds BETWEEN 0 AND 1e9"


@dataclass(frozen=True)
class Totals:
    """Sums over model calls."""

    calls: int
    seconds: float | None
    used: Used

    @property
    def price_list(self) -> str:
        return price_list()


def model_calls(session_id, run_id) -> list[ModelCall]:
    """A run's model calls in order, without requests and responses, each with its cost."""
    if not revision.has_model_call_links():
        return []
    calls = ModelCall.objects.filter(session_id=session_id, run_id=run_id)
    return with_costs(calls.order_by("created_at", "pk")[:SHOWN])


def with_costs(calls: QuerySet) -> list[ModelCall]:
    """The calls without requests and responses, each with whether it `failed` and its `cost`."""
    failed = Case(When(kinds.MODEL_ERROR.by_predicate(), then=Value(True)), default=Value(False))
    found = list(calls.defer("request_data", "response_data").annotate(failed=failed))
    for call in found:
        call.cost = cost({masking.raw(call.model): [values_of(call)]})
    return found


def totals(session_id: uuid.UUID, run_id: uuid.UUID | None = None) -> Totals | None:
    """Totals for the model calls of a conversation, or of one of its runs; None without calls."""
    if not revision.has_model_call_links():
        return None
    statement = f"""
        SELECT model, count(*), sum(duration_seconds) FILTER (WHERE {LIKELY}),
            {", ".join(f"array_agg({value})" for value in values_sql())}
        FROM model_call_stats WHERE session_id = %(session)s
        {"" if run_id is None else "AND run_id = %(run)s"} GROUP BY model
    """  # noqa: S608
    with connections[ModelCall.objects.db].cursor() as cursor:
        cursor.execute(statement, {"session": session_id, "run": run_id})
        rows = cursor.fetchall()
    if not rows:
        return None
    known = [seconds for _, _, seconds, *_ in rows if seconds is not None]
    return Totals(
        calls=sum(calls for _, calls, *_ in rows),
        seconds=float(sum(known)) if known else None,
        used=used({masking.raw(model): zip(*values, strict=True) for model, _, _, *values in rows}),
    )
