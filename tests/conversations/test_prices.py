"""What model calls cost: each priced as of its own day, with exact sums."""

import json
import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db import connections
from genai_prices import Usage, calc_price, data_snapshot
from genai_prices.types import TieredPrices
from hypothesis import given, settings
from hypothesis import strategies as st

from conversations import prices
from conversations.prices import Cost, by_model, calls_of_session, cost

from ..support.factories import make_model_call, make_session

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
OPENAI, GEMINI, ANTHROPIC = "openai/gpt-4o", "gemini/gemini-2.5-pro", "anthropic/claude-sonnet-4-5"
LISTED = [
    (provider, model)
    for provider in data_snapshot.get_snapshot().providers
    for model in provider.models
]


def at(moment: datetime) -> int:
    return int(moment.timestamp())


def call(given, cached=None, answered=0, moment=NOW):
    """One call's columns, as OpenAI's client writes them."""
    seconds = moment if moment is None or isinstance(moment, int) else at(moment)
    total = None if given is None or answered is None else given + answered
    return (seconds, False, False, given, answered, total, cached, None)


def anthropic(given, cached, answered, moment=NOW):
    seconds, *flags, _, _, total, _, _ = call(given, cached, answered, moment)
    return (seconds, *flags, given - (cached or 0), answered, total, cached, None)


def embedding(total):
    return (at(NOW), True, False, None, None, total, None, None)


def theirs(provider, model, given, cached, answered, moment=NOW) -> Decimal:
    usage = Usage(input_tokens=given, cache_read_tokens=cached, output_tokens=answered)
    return calc_price(
        usage, model_ref=model, provider_id=provider, genai_request_timestamp=moment
    ).total_price


def test_the_reference_amounts():
    found = cost({"gemini/gemini-2.5-flash": [call(949, None, 1992)]})
    assert found == Cost(Decimal("0.0052647"))
    found = cost({ANTHROPIC: [anthropic(8000, 3000, 500)]})
    assert found == Cost(Decimal("0.0234"), at_least=True)
    found = cost({ANTHROPIC: [anthropic(130213, 130208, 0)]})
    assert found == Cost(Decimal("0.0390774"), at_least=True)
    assert cost({ANTHROPIC: [anthropic(8000, None, 500)]}) == Cost(Decimal("0.0315"))
    found = cost(
        {"openai/text-embedding-3-small": [embedding(1_000_000)], OPENAI: [call(1000, 0, 100)]}
    )
    assert found == Cost(Decimal("0.0235"))


@pytest.mark.slow
@given(st.integers(1, 2_000_000), st.integers(0, 100), st.integers(0, 100_000))
@settings(max_examples=4)
def test_every_model_costs_what_genai_prices_says(given, share, answered):
    cached = given * share // 100
    compared = 0
    for provider, model in LISTED:
        found = prices.listed_model(f"{provider.id}/{model.id}")
        if found is None:
            continue
        rates = prices.rates_at(found, at(NOW), given)
        if rates is None or rates.output is None:
            continue
        expected = theirs(provider.id, model.id, given, cached, answered)
        assert rates.price(given - cached, cached, answered, 1) == expected, model.id
        compared += 1
    assert compared > 1000


@given(
    st.lists(
        st.tuples(
            st.sampled_from([OPENAI, GEMINI, ANTHROPIC, "deepseek/deepseek-chat", "xai/grok-4"]),
            st.integers(1, 500_000),
            st.integers(0, 100),
            st.integers(0, 50_000),
            st.integers(0, 365 * 86_400),
        ),
        min_size=1,
    )
)
@settings(max_examples=50)
def test_a_sum_is_the_sum_of_its_calls(many):
    rows, expected = [], Decimal(0)
    for model, asked, share, answered, ago in many:
        cached, moment = asked * share // 100, datetime.fromtimestamp(at(NOW) - ago, UTC)
        write = anthropic if model == ANTHROPIC else call
        rows.append((model, *write(asked, cached, answered, moment)))
        expected += theirs(*model.split("/"), asked, cached, answered, moment)
    found = cost(by_model(rows))
    assert found.amount == expected
    assert cost(json.dumps(rows)) == found


def test_tiers_apply_to_each_call_and_not_to_the_sum():
    small, large = call(200_000, 0, 10), call(200_001, 0, 10)
    [[_, listed]] = [
        each for each in LISTED if each[0].id == "google" and each[1].id == "gemini-2.5-pro"
    ]
    assert isinstance(listed.prices.input_mtok, TieredPrices)
    assert cost({GEMINI: [small] * 3}).amount == 3 * cost({GEMINI: [small]}).amount
    assert cost({GEMINI: [large]}).amount > Decimal("1.9") * cost({GEMINI: [small]}).amount
    assert cost({GEMINI: [small, large]}).amount == sum(
        theirs("google", "gemini-2.5-pro", given, 0, 10) for given in (200_000, 200_001)
    )


def test_each_call_has_the_prices_of_its_own_time():
    # DeepSeek was cheaper at night.
    noon, night = (datetime(2025, 3, 3, hour, tzinfo=UTC) for hour in (12, 20))
    model = "deepseek/deepseek-chat"
    by_time = [cost({model: [call(1000, 0, 100, moment)]}).amount for moment in (noon, night)]
    assert by_time[0] != by_time[1]
    both = cost({model: [call(1000, 0, 100, moment) for moment in (noon, night)]})
    assert both.amount == sum(by_time)


@pytest.mark.parametrize(
    "unknown",
    [
        {"ollama/mistral-small": [call(10, None, 5)]},
        {"openai/no-such-model": [call(10, None, 5)]},
        {"acme/claude-like": [call(10, None, 5)]},
        {"": [call(10, None, 5)]},
        {OPENAI: [call(None, None, 5)]},
        {OPENAI: [call(10, None, None)]},
        {OPENAI: [call(0, None, 0)]},  # nobody counted
        {"openai/text-embedding-3-small": [call(10, None, 5)]},  # it has no price for an answer
        {"openai/whisper-1": [call(10, None, 5)]},  # sold by the hour
        {"deepseek/deepseek-chat": [call(10, 0, 5, None)]},  # at infinity
        {"deepseek/deepseek-chat": [call(10, 0, 5, 10**15)]},
    ],
)
def test_a_sum_with_something_unknown_is_unknown(unknown):
    assert cost(unknown) is None
    assert cost({**unknown, "openai/gpt-4o-mini": [call(1000, 0, 100)]}) is None


@pytest.mark.parametrize("model", ["gemini/gemini-embedding-001", "fastembed/BAAI/bge-small-en"])
def test_uncounted_embeddings_make_the_cost_at_least(model):
    uncounted = {model: [embedding(0), embedding(None)]}
    assert cost(uncounted) == Cost(at_least=True)
    assert not cost(uncounted).is_known
    found = cost({**uncounted, OPENAI: [call(1000, 0, 100)]})
    assert found == Cost(Decimal("0.0035"), at_least=True)
    # Tokens without a price leave the cost unknown.
    assert cost({**uncounted, "ollama/nomic-embed-text": [embedding(5)]}) is None


@pytest.mark.parametrize("nothing", [None, {}, "[]"])
def test_no_calls_cost_nothing(nothing):
    assert cost(nothing) == Cost(Decimal(0))


def test_without_the_price_list_no_cost_is_known(monkeypatch):
    monkeypatch.setattr(prices, "genai_prices", None)
    assert cost({OPENAI: [call(10, 0, 5)]}) is None
    assert cost(None) is None
    assert prices.price_list() == ""


def test_thousands_of_calls_are_priced_quickly():
    calls = {model: [call(given, 0, 50) for given in range(1, 5001)] for model in (OPENAI, GEMINI)}
    cost(calls)
    began = time.thread_time()
    cost(calls)
    assert time.thread_time() - began < 1


@pytest.mark.django_db
def test_the_calls_of_a_session_come_as_one_column():
    session = make_session()
    dates = {"created_at": NOW.replace(microsecond=999_999)}
    values = {"prompt_tokens": 5000, "completion_tokens": 500, "total_tokens": 5500, **dates}
    make_model_call(session, model=ANTHROPIC, cached_prompt_tokens=3000, **values)
    make_model_call(session, model=OPENAI, cached_prompt_tokens=3000, **values)
    make_model_call(session, model="openai/gpt-5.4", response_code=None, **dates)
    make_model_call(session, model="openai/text-embedding-3-small", call_type="embedding",
                    total_tokens=10, **dates)  # fmt: skip
    make_model_call(make_session(), model=GEMINI, **values)
    make_session()
    count = "(SELECT count(*) FROM model_call_stats WHERE session_id = sessions.id)"
    statement = f"SELECT {calls_of_session('sessions.id')} FROM sessions ORDER BY {count} DESC"
    with connections["agents"].cursor() as cursor:
        cursor.execute(statement)
        [[found], [other], [nothing]] = cursor.fetchall()
    assert by_model(found) == {
        ANTHROPIC: [[at(NOW), False, False, 5000, 500, 5500, 3000, None]],
        OPENAI: [[at(NOW), False, False, 5000, 500, 5500, 3000, None]],
        "openai/gpt-5.4": [[at(NOW), False, True, None, None, None, None, None]],
        "openai/text-embedding-3-small": [list(embedding(10))],
    }
    assert list(by_model(other)) == [GEMINI]
    assert nothing is None
    assert cost(json.dumps(found)) == cost(by_model(found))
    assert cost(by_model(found)).at_least
