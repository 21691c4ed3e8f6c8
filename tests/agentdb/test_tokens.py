"""What the token columns mean: the same in Python and SQL, for every provider."""

import pytest
from django.db import connections
from genai_prices import data_snapshot
from hypothesis import given, settings

from conversations.agentdb import revision
from conversations.agentdb.sql import with_columns
from conversations.agentdb.tokens import (
    COLUMNS,
    EMBEDDING,
    PROVIDERS,
    Tokens,
    normalised,
    provider_of,
    total_sql,
)

from ..support.model_calls import ODD_COUNTS, columns

pytestmark = pytest.mark.django_db

OPENAI, GEMINI, ANTHROPIC = "openai/gpt-4o", "gemini/gemini-2.5-flash", "anthropic/claude-opus-4-1"


def of(model, *numbers, call_type="llm") -> Tokens:
    return normalised(
        model, call_type == EMBEDDING, *numbers, has_details=revision.has_token_details()
    )


def total_in_sql(values: list) -> int | None:
    casts = ["text", "text", *["integer"] * 5]
    row = ", ".join(f"CAST(%s AS {cast})" for cast in casts)
    names = ", ".join(("model", "call_type", *COLUMNS))
    statement = f"SELECT {with_columns(total_sql())} FROM (VALUES ({row})) AS m ({names})"
    with connections["agents"].cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchone()[0]


def agree(call: dict) -> Tokens:
    counts = [call[name] for name in COLUMNS]
    found = of(call["model"], *counts, call_type=call["call_type"])
    assert total_in_sql([call["model"], call["call_type"], *counts]) == found.total
    return found


def test_openais_prompt_includes_the_cache_and_its_completion_the_reasoning():
    found = of(OPENAI, 1000, 100, 1100, 200, 30)
    assert found == Tokens(1000, 200, None, 100, 30, 1100)


def test_geminis_completion_leaves_out_the_thoughts():
    assert of(GEMINI, 949, 53, 1002, None, 1939) == Tokens(949, None, None, 1992, 1939, 2941)
    assert of(GEMINI, 949, 0, 949, 900, 10) == Tokens(949, 900, None, 10, 10, 959)


def test_anthropics_prompt_leaves_out_the_cache():
    assert of(ANTHROPIC, 5, 7, 12, 130208) == Tokens(130213, None, 130208, 7, None, 130220)
    assert of(ANTHROPIC, 5, 7, 12) == Tokens(5, None, None, 7, None, 12)


@pytest.mark.parametrize("model", ["openai/text-embedding-3-small", GEMINI, ANTHROPIC, "ollama/x"])
def test_an_embedding_has_a_total_which_is_its_input(model):
    found = of(model, None, None, 1200, None, None, call_type="embedding")
    assert (found.input, found.output, found.total) == (1200, 0, 1200)
    # Gemini's client gets no number and writes 0; FastEmbed's writes nothing.
    for nothing in (0, None):
        found = of(model, None, None, nothing, None, None, call_type="embedding")
        assert (found.input, found.output, found.total) == (None, 0, 0)


@pytest.mark.parametrize("model", ["some-model", "acme/claude-like", "", "/", "openai"])
def test_for_an_unknown_provider_only_the_total_is_known(model):
    assert of(model, 10, 5, 20, 3, 2) == Tokens(total=20)
    assert of(model, 10, 5, None, None, None) == Tokens(total=15)


@pytest.mark.parametrize(
    ("model", "numbers", "total"),
    [
        (OPENAI, (5, 100, 105, 130208, None), 105),  # more cached than asked
        (OPENAI, (5, 100, 105, None, 101), 105),  # more reasoning than answer
        (GEMINI, (5, 100, 105, 6, None), 105),
        (OPENAI, (-5, 100, 95, None, None), 95),
        (ANTHROPIC, (5, -100, -95, 7, None), 5),
        (OPENAI, (-5, -100, None, None, None), 0),
        (OPENAI, (-5, -100, -105, -1, -1), 0),
    ],
)
def test_contradictory_numbers_give_only_the_total(model, numbers, total):
    assert of(model, *numbers) == Tokens(total=total)


def test_missing_numbers_are_not_taken_for_zero():
    assert of(OPENAI, None, 50, None) == Tokens(None, None, None, 50, None, 50)
    assert of(OPENAI, None, 50, 80) == Tokens(None, None, None, 50, None, 80)
    assert of(OPENAI, 50, None, 20) == Tokens(50, None, None, None, None, 50)
    assert of(OPENAI, None, None, 80) == Tokens(total=80)
    assert of(OPENAI, None, None, None) == Tokens(total=0)


def test_a_total_that_is_smaller_than_its_parts_is_wrong():
    assert of(OPENAI, 1000, 100, 7).total == 1100


@given(columns())
@settings(max_examples=200)
def test_python_and_sql_agree(call):
    agree(call)


@given(columns(counts=ODD_COUNTS))
@settings(max_examples=200)
def test_python_and_sql_agree_on_nonsense_and_never_go_negative(call):
    found = agree(call)
    assert all(figure is None or figure >= 0 for figure in found)


@pytest.mark.parametrize("number", ["0002", "0006"])
def test_python_and_sql_agree_at_revisions_without_token_details(at_revision, number):
    at_revision(number)
    for model in (OPENAI, GEMINI, ANTHROPIC, "some-model"):
        for call_type in ("llm", "embedding"):
            counts = dict(zip(COLUMNS, (949, 53, 1002, None, None), strict=True))
            agree({"model": model, "call_type": call_type, **counts})


def test_without_token_details_some_providers_totals_are_unknown(at_revision):
    at_revision("0002")
    assert of(OPENAI, 949, 53, 1002).total == 1002
    assert of(GEMINI, 949, 53, 1002) == of(ANTHROPIC, 949, 53, 1002) == Tokens()
    assert of(GEMINI, None, None, 80, call_type="embedding").total == 80


# The table of providers agrees with genai-prices.

WAYS = {"anthropic": PROVIDERS[0], "google": PROVIDERS[1]}
THEIRS = data_snapshot.get_snapshot().providers
ALIASES = ["gemini", "vertex_ai", "google-gla", "bedrock", "amazon", "xai", "together_ai", "OpenAI",
           "mistralai", "azure", "nobody", "acme", "openai-eu", "anthropic_proxy"]  # fmt: skip


@pytest.mark.parametrize("prefix", [*(each.id for each in THEIRS), *ALIASES])
def test_prefixes_are_those_of_genai_prices(prefix):
    found = data_snapshot.find_provider_by_id(THEIRS, prefix)
    expected = found and WAYS.get(found.id, PROVIDERS[2])
    assert provider_of(f"{prefix}/some-model") == expected


def test_names_without_a_prefix_are_those_of_genai_prices():
    names = {model.id for each in THEIRS for model in each.models if "/" not in model.id}
    for name in names:
        try:
            found = data_snapshot.get_snapshot().find_provider(name.lower(), None, None)
        except LookupError:
            found = None
        assert provider_of(name) == (found and WAYS.get(found.id, PROVIDERS[2])), name
    assert len(names) > 500


@pytest.mark.parametrize(
    "name", ["openai", "gemini", "anthropic", "ollama", "browser", "fastembed"]
)
def test_the_runtimes_own_prefixes_are_known(name):
    assert provider_of(f"{name}/some/model")
