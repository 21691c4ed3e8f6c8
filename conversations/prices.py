"""
What model calls cost in US dollars, at genai-prices' list prices. Without that package there are no
costs.

Each call is priced as of its own time, including tiers, and sums are exact: round when you show
them. A sum is None ("n/a") if a call's tokens or its model's price are unknown. It is "at least" an
amount in two cases: if tokens written to a cache cannot be told from tokens read (all are then
priced as read, which is cheaper), and for embeddings whose client learns no number of tokens (these
count as zero). A failed call without tokens costs nothing.

For exports: put `calls_of_session()` into the statement, and pass its result to `cost()`.
"""

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

from django.apps import apps

from .agentdb import revision, tokens
from .agentdb.sql import with_columns
from .problems import kinds

try:
    import genai_prices
except ImportError:
    genai_prices = None

ZERO = Decimal(0)
# {model: its calls}. Each call is: seconds since 1970, whether it is an embedding, whether it
# failed, and then the values of tokens.COLUMNS.
Calls = Mapping[str, Iterable[Sequence[Any]]]


@dataclass(frozen=True)
class Cost:
    amount: Decimal = ZERO
    # Whether the real cost may be higher.
    at_least: bool = False

    @property
    def is_known(self) -> bool:
        """Whether it says anything: "at least $0" does not."""
        return bool(self.amount) or not self.at_least


@dataclass
class Used:
    """Sums over calls; figures that no call recorded are 0."""

    tokens: int = 0
    cached: int = 0
    reasoning: int = 0
    # Whether cached tokens may have been written; how many embeddings have no number of tokens.
    is_cache_unclear: bool = False
    uncounted: int = 0
    # None if unknown, and always without genai-prices.
    cost: Cost | None = field(default_factory=Cost)


def cost(calls: Calls | str | bytes | None) -> Cost | None:
    """
    The cost of calls, given as Calls or as the JSON from calls_of_session(); no calls cost nothing.

    None if unknown, and always without genai-prices. Sends no query.
    """
    if genai_prices is None:
        return None
    if isinstance(calls, str | bytes):
        calls = by_model(json.loads(calls))
    return used(calls or {}).cost


def by_model(rows: Iterable[Sequence[Any]]) -> Calls:
    """Groups rows that begin with the model into Calls."""
    found: dict[str, list[Sequence[Any]]] = {}
    for model, *call in rows:
        found.setdefault(model, []).append(call)
    return found


def used(calls: Calls) -> Used:
    """Sums over calls, and their cost."""
    found = Used(cost=None)
    costs = [add(found, model, of_model) for model, of_model in calls.items()]
    known = [each for each in costs if each]
    if len(known) == len(costs):
        amount = sum([each.amount for each in known], ZERO)
        found.cost = Cost(amount, any(each.at_least for each in known))
    return found


def values_of(call: Any) -> tuple:
    """A ModelCall, annotated with whether it failed, as a call in Calls."""
    counts = (getattr(call, name) for name in tokens.COLUMNS)
    seconds = int(call.created_at.timestamp())
    return seconds, call.call_type == tokens.EMBEDDING, call.failed, *counts


def price_list() -> str:
    """The name and version of the price list; empty if there is none."""
    return f"genai-prices {installed_version()}" if genai_prices else ""


@cache
def installed_version() -> str:
    return version("genai-prices")


# SQL


def values_sql() -> list[str]:
    """SQL for a call's values in Calls."""
    seconds = (
        "CASE WHEN isfinite(created_at) THEN floor(extract(epoch FROM created_at))::bigint END"
    )
    missing = revision.missing_fields(apps.get_model("conversations", "ModelCall"))
    counts = ("NULL::integer" if name in missing else name for name in tokens.COLUMNS)
    each = (seconds, tokens.IS_EMBEDDING, kinds.MODEL_ERROR.predicate, *counts)
    return [with_columns(sql) for sql in each]


def calls_of_session(session: str) -> str:
    """
    SQL for a conversation's calls as JSON, for cost(); NULL if there are none. `session` is SQL for
    the conversation's id.

    Needs revision 0005 or later, see revision.has_model_call_links(): before, calls do not name
    their conversation.
    """
    # One array per call: grouping them by model would take PostgreSQL half as long again.
    return f"""(
        SELECT json_agg(json_build_array(model, {", ".join(values_sql())}))
        FROM model_call_stats WHERE session_id = {session}
    )"""  # noqa: S608


# Prices


def add(to: Used, name: str, calls: Iterable[tuple]) -> Cost | None:
    """
    Add one model's calls to the sums and return their cost. Calls at the same rates are added up
    before they are priced.
    """
    model = listed_model(name) if genai_prices else None
    by_rates: dict[Rates, list[int]] = {}
    is_known = True
    at_least = False
    for seconds, is_embedding, failed, *counts in calls:
        given, read, read_or_written, answered, reasoning, total = tokens.normalised(
            name, is_embedding, *counts
        )
        cached = read or read_or_written or 0
        to.tokens += total or 0
        to.cached += cached
        to.reasoning += reasoning or 0
        to.is_cache_unclear |= bool(read_or_written)
        at_least |= bool(read_or_written)
        if not total and is_embedding and not failed:
            to.uncounted += 1
            at_least = True
            continue
        if (failed and not total) or not is_known:
            continue
        # If a successful call has no tokens at all, they were not counted.
        rates = given is not None and total and model and rates_at(model, seconds, given)
        if not rates or answered is None or (answered and rates.output is None):
            is_known = False
            continue
        sums = by_rates.setdefault(rates, [0, 0, 0, 0])
        sums[0] += given - cached
        sums[1] += cached
        sums[2] += answered
        sums[3] += 1
    if not is_known:
        return None
    # Lists, here and in used(), because generators are slower and exports price all conversations.
    amount = sum([rates.price(*sums) for rates, sums in by_rates.items()], ZERO)
    return Cost(amount, at_least)


@dataclass(frozen=True, eq=False)
class Rates:
    """Dollars per token within one tier of input, where prices are linear."""

    input: Decimal
    cached: Decimal
    # None if the list has no price for output.
    output: Decimal | None
    # A fixed price per call.
    call: Decimal

    def price(self, given: int, cached: int, answered: int, calls: int) -> Decimal:
        output = answered * (self.output or 0)
        return given * self.input + cached * self.cached + output + calls * self.call


class Tiers:
    """One model's rates at one time. Asking genai-prices would take 0.1 ms per call."""

    def __init__(self, prices: Any):
        # Keeps the prices alive, because TIERS is keyed by their id().
        self.prices = prices
        tiered = [each for each in vars(prices).values() if hasattr(each, "tiers")]
        self.starts = sorted({tier.start for each in tiered for tier in each.tiers})
        self.rates = [self.rates_from(start + 1) for start in (0, *self.starts)]

    def rates_from(self, given: int) -> Rates | None:
        if self.prices.input_mtok is None:
            return None
        call = self.price()
        whole = self.price(input_tokens=given)
        cached = self.price(input_tokens=given, cache_read_tokens=given)
        answered = self.price(input_tokens=given, output_tokens=1)
        return Rates(
            input=(whole - call) / given,
            cached=(cached - call) / given,
            output=None if self.prices.output_mtok is None else answered - whole,
            call=call,
        )

    def price(self, **usage: int) -> Decimal:
        return self.prices.calc_price(genai_prices.Usage(**usage))["total_price"]


# {id() of prices from genai-prices: their tiers}
TIERS: dict[int, Tiers] = {}


def rates_at(model: Any, seconds: int | None, given: int) -> Rates | None:
    if isinstance(model.prices, list):
        try:
            prices = model.get_prices(datetime.fromtimestamp(seconds, UTC))
        except (TypeError, ValueError, OverflowError, OSError):
            # A time outside the calendar.
            return None
    else:
        prices = model.prices
    tiers = TIERS.get(id(prices))
    if tiers is None:
        tiers = TIERS[id(prices)] = Tiers(prices)
    return tiers.rates[bisect_left(tiers.starts, given)]


@lru_cache(maxsize=10_000)
def listed_model(name: str) -> Any:
    """The model in genai-prices, or None. A prefix names the provider, whose prices apply."""
    provider, slash, model = name.partition("/")
    try:
        found = genai_prices.calc_price(
            genai_prices.Usage(),
            model_ref=model if slash else name,
            provider_id=provider if slash else None,
        )
    except (LookupError, ValueError):
        return None
    return found.model
