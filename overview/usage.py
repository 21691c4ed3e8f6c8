"""
Tokens of model calls, kept so that they add up and can be priced when somebody looks: at the prices
of each call's day (its quarter of an hour, for models whose prices depend on that) and in its tier.

One model's usage is JSON, of which tables keep what is not zero:

- `calls`, and of these: `uncounted` embeddings whose client learned no number, `unknown` ones whose
  tokens nobody can price, `unclear` ones whose cached tokens may have been written;
- `tokens`, and of these: `input`, `output`, `cached` and `reasoning`, where they are known;
- `priced`: {"moment tier": [calls, input that was not cached, cached, output]}, the moment in
  seconds since 1970, the tier as the largest number of TIERS that the call's input exceeds.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from conversations import prices
from conversations.agentdb import revision
from conversations.agentdb.tokens import normalised

# Wherever a price of genai-prices changes with the size of the input: a test compares.
TIERS = (0, 32_000, 100_000, 128_000, 199_999, 200_000, 256_000, 272_000, 512_000, 524_288)
QUARTER, DAY = 900, 86_400
COUNTS = (
    "calls", "uncounted", "unknown", "unclear", "tokens", "input", "output", "cached", "reasoning",
)  # fmt: skip

Usage = dict[str, Any]


def nothing() -> Usage:
    return dict.fromkeys(COUNTS, 0) | {"priced": {}}


def add_call(usage: Usage, model: str, call: Iterable[Any]):
    """`call`: its values as in conversations.prices.Calls."""
    seconds, is_embedding, failed, *counts = call
    given, read, read_or_written, answered, reasoning, total = normalised(
        model, is_embedding, *counts, has_details=revision.has_token_details()
    )
    cached = read or read_or_written or 0
    usage["calls"] += 1
    usage["tokens"] += total or 0
    usage["input"] += given or 0
    usage["output"] += answered or 0
    usage["cached"] += cached
    usage["reasoning"] += reasoning or 0
    usage["unclear"] += bool(read_or_written)
    if not total:
        # A failed call without tokens costs nothing.
        usage["uncounted"] += is_embedding and not failed
        usage["unknown"] += not is_embedding and not failed
    elif given is None or answered is None or seconds is None:
        usage["unknown"] += 1
    else:
        moment = seconds - seconds % (QUARTER if has_hours(model) else DAY)
        tier = TIERS[max(bisect_left(TIERS, given) - 1, 0)]
        add_priced(usage, f"{moment} {tier}", (1, given - cached, cached, answered))


def add_priced(usage: Usage, key: str, sums: Iterable[int]):
    priced = usage["priced"]
    former = priced.get(key, (0, 0, 0, 0))
    priced[key] = [one + other for one, other in zip(former, sums, strict=True)]


@lru_cache(maxsize=1_000)
def has_hours(model: str) -> bool:
    """Whether its price depends on the time of day."""
    listed = prices.genai_prices and prices.listed_model(model)
    dated = listed.prices if listed and isinstance(listed.prices, list) else []
    return any(hasattr(each.constraint, "start_time") for each in dated)


def add(usage: Usage, other: Mapping[str, Any], times: int = 1):
    """`other` may be one that was read, without its zeros; -1 times takes it away."""
    for name in COUNTS:
        usage[name] += times * other.get(name, 0)
    for key, sums in other.get("priced", {}).items():
        add_priced(usage, key, [times * each for each in sums])


@dataclass
class Money:
    """What calls cost, in US dollars; `unpriced` of the `calls` are not in the amount."""

    amount: Decimal = Decimal(0)
    calls: int = 0
    unpriced: int = 0
    # Whether what was read from a cache may have been written to it, which costs more.
    is_cache_unclear: bool = False

    @property
    def at_least(self) -> bool:
        return bool(self.unpriced or self.is_cache_unclear)


def money(usages: Mapping[str, Mapping[str, Any]]) -> Money | None:
    """Of {model: usage}; None without genai-prices."""
    if prices.genai_prices is None:
        return None
    found = Money()
    for model, kept in usages.items():
        usage = nothing() | kept
        listed = prices.listed_model(model)
        found.calls += usage["calls"]
        found.unpriced += usage["uncounted"] + usage["unknown"]
        found.is_cache_unclear |= bool(usage["unclear"])
        for key, (calls, uncached, cached, answered) in usage["priced"].items():
            moment, tier = map(int, key.split())
            rates = listed and prices.rates_at(listed, moment, tier + 1)
            if not rates or (answered and rates.output is None):
                found.unpriced += calls
            else:
                found.amount += rates.price(uncached, cached, answered, calls)
    return found
