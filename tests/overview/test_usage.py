"""Tokens that were added up cost what their calls cost one by one."""

import json
import random
from datetime import UTC, datetime

import genai_prices
import pytest
from genai_prices import data_snapshot

from conversations import prices
from overview import usage
from overview.usage import TIERS, Money, add, add_call, money, nothing

from ..conversations.test_prices import anthropic, call, embedding

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MODELS = ["openai/gpt-4o", "gemini/gemini-2.5-pro", "anthropic/claude-sonnet-4-5",
          "deepseek/deepseek-chat", "xai/grok-4"]  # fmt: skip

pytestmark = pytest.mark.django_db


def used(calls: dict) -> dict:
    found = {}
    for model, of_model in calls.items():
        for each in of_model:
            add_call(found.setdefault(model, nothing()), model, each)
    return found


def random_calls(seed: int) -> dict:
    chance = random.Random(seed)
    calls = {}
    for _ in range(300):
        model = chance.choice(MODELS)
        given = chance.choice(
            [chance.randrange(1, 5_000), chance.randrange(1, 600_000), *TIERS[1:]]
        )
        seconds = int(NOON.timestamp()) - chance.randrange(500 * 86_400)
        write = anthropic if "claude" in model else call
        made = write(given, chance.randrange(given), chance.randrange(5_000), seconds)
        calls.setdefault(model, []).append(made)
    return calls


@pytest.mark.parametrize("seed", range(5))
def test_sums_cost_what_their_calls_cost(seed):
    calls = random_calls(seed)
    found = json.loads(json.dumps(used(calls)))
    expected = prices.used(calls)
    assert money(found) == Money(expected.cost.amount, calls=300, is_cache_unclear=True)
    totals = [sum(each[name] for each in found.values()) for name in ("tokens", "cached")]
    assert totals == [expected.tokens, expected.cached]


def test_usages_add_up():
    calls = random_calls(7)
    whole, parts = used(calls), {model: nothing() for model in calls}
    for model, of_model in calls.items():
        for each in of_model:
            one = nothing()
            add_call(one, model, each)
            add(parts[model], one)
    assert parts == whole


def test_calls_without_a_price_are_counted_and_not_priced():
    unknown, failed = call(None, None, None), (0, False, True, *[None] * 5)
    found = used(
        {
            "openai/gpt-4o": [call(1000, 0, 100), unknown, failed],
            "nobody/knows": [call(1000, 0, 100)],
            "openai/text-embedding-3-small": [embedding(None)],
        }
    )
    paid = money(found)
    assert (paid.calls, paid.unpriced, paid.at_least) == (5, 3, True)
    assert paid.amount == prices.cost({"openai/gpt-4o": [call(1000, 0, 100)]}).amount
    assert not money(used({"openai/gpt-4o": [call(1000, 0, 100), failed]})).at_least


def test_the_price_list_has_no_tier_that_sums_do_not_tell_apart():
    starts = {
        tier.start
        for provider in data_snapshot.get_snapshot().providers
        for model in provider.models
        for priced in (model.prices if isinstance(model.prices, list) else [model])
        for each in vars(priced.prices).values()
        if isinstance(each, genai_prices.types.TieredPrices)
        for tier in each.tiers
    }
    assert starts
    assert starts <= set(TIERS)


def test_only_prices_that_depend_on_the_time_of_day_keep_it():
    assert usage.has_hours("deepseek/deepseek-chat") != usage.has_hours("openai/gpt-4o")


def test_without_a_price_list_nothing_has_a_price(monkeypatch):
    monkeypatch.setattr(prices, "genai_prices", None)
    usage.has_hours.cache_clear()
    assert money(used({"openai/gpt-4o": [call(1000, 0, 100)]})) is None
    usage.has_hours.cache_clear()
