"""Model calls of a run or a conversation: each without its payloads, and their totals."""

import uuid
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.metadata import version

from django.db.models import Case, Count, Max, Q, QuerySet, Sum, Value, When

from ..agentdb import revision
from ..agentdb.compiled import tuples
from ..models import ModelCall
from ..problems import kinds

try:
    import genai_prices
except ImportError:
    genai_prices = None

SHOWN = 200
TOKENS = ("prompt_tokens", "cached_prompt_tokens", "completion_tokens", "reasoning_tokens")
BY_MODEL = ("model", "calls", "seconds", "unknown", "last", *TOKENS)


@dataclass(frozen=True)
class Totals:
    """Sums over model calls; tokens are None if no call recorded any."""

    calls: int
    seconds: float | None
    prompt_tokens: int | None
    cached_prompt_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    # US dollars; None unless every model's price and every answer's tokens are known.
    cost: Decimal | None = None
    # The day whose prices were used.
    prices_of: date | None = None

    @property
    def price_list(self) -> str:
        """The list that prices come from and its version; empty if it is not installed."""
        return f"genai-prices {price_list_version()}" if genai_prices else ""

    @property
    def tokens(self) -> int:
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)


def model_calls(session_id, run_id) -> list[ModelCall]:
    """A run's model calls in order, without requests and responses."""
    if not revision.has_model_call_links():
        return []
    calls = ModelCall.objects.filter(session_id=session_id, run_id=run_id)
    failed = Case(When(kinds.any_problem("ModelCall"), Value(True)), default=Value(False))
    calls = calls.defer("request_data", "response_data").annotate(failed=failed)
    return list(calls.order_by("created_at", "pk")[:SHOWN])


def totals(session_id: uuid.UUID, run_id: uuid.UUID | None = None) -> Totals | None:
    """Sums of the calls of a conversation, or of one of its runs; None without calls."""
    if not revision.has_model_call_links():
        return None
    if run_id is None:
        rows = tuples(sums_of_session, session_id=session_id)
    else:
        rows = tuples(sums_of_run, session_id=session_id, run_id=run_id)
    by_model = [dict(zip(BY_MODEL, row, strict=True)) for row in rows]
    if not by_model:
        return None

    # All or none: a sum that leaves a model out would be too low.
    prices = [price(row) for row in by_model]
    if None in prices:
        prices = []

    def total(name):
        values = [row[name] for row in by_model if row[name] is not None]
        return sum(values) if values else None

    return Totals(
        calls=total("calls"),
        seconds=None if total("seconds") is None else float(total("seconds")),
        **{name: total(name) for name in TOKENS},
        cost=sum(prices) if prices else None,
        prices_of=max(row["last"] for row in by_model).date(),
    )


def sums_by_model(calls: QuerySet) -> QuerySet:
    # Only called from 0005 on, so 0003's token columns exist.
    sums = calls.values("model").annotate(
        calls=Count("pk"),
        seconds=Sum("duration_seconds"),
        unknown=Count("pk", filter=~kinds.MODEL_ERROR.condition() & Q(prompt_tokens__isnull=True)),
        last=Max("created_at"),
        **{name: Sum(name) for name in TOKENS},
    )
    return sums.order_by("model").values_list(*BY_MODEL)


def sums_of_session(session_id) -> QuerySet:
    return sums_by_model(ModelCall.objects.filter(session_id=session_id))


def sums_of_run(session_id, run_id) -> QuerySet:
    return sums_by_model(ModelCall.objects.filter(session_id=session_id, run_id=run_id))


@cache
def price_list_version() -> str:
    return version("genai-prices")


def price(row) -> Decimal | None:
    """What one model's calls cost in US dollars, at the list prices of the last one's day."""
    if genai_prices is None or row["unknown"]:
        return None
    provider, _, model = row["model"].rpartition("/")
    usage = genai_prices.Usage(
        input_tokens=row["prompt_tokens"] or 0,
        output_tokens=row["completion_tokens"] or 0,
        cache_read_tokens=row["cached_prompt_tokens"],
    )
    try:
        found = genai_prices.calc_price(
            usage,
            model_ref=model,
            provider_id=provider or None,
            genai_request_timestamp=row["last"],
        )
    except (LookupError, ValueError):
        return None
    return found.total_price
