"""Tokens and costs are the same wherever they are shown: the sum over the calls."""

import re
from decimal import Decimal
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversations.agentdb.tokens import COLUMNS, normalised
from conversations.agentdb.tokens import EMBEDDING as EMBEDDING_TYPE
from conversations.model_calls import costs
from conversations.models import Session

from ..support.exports import rows
from ..support.factories import make_message, make_model_call, make_run, make_session
from ..support.masking import masking_on
from ..support.model_calls import columns, written

pytestmark = pytest.mark.django_db
NUMBER = r"([\d,]+)"


def total_of(call: dict) -> int:
    return normalised(
        call["model"], call["call_type"] == EMBEDDING_TYPE, *map(call.get, COLUMNS)
    ).total


def numbers(pattern: str, text: str) -> list[int]:
    return [int(found.replace(",", "")) for found in re.findall(pattern, text)]


@given(st.lists(st.lists(columns() | written(), max_size=4), min_size=1, max_size=3))
def test_every_place_shows_the_sum_over_the_calls(client, support_client, runs):
    session = make_session()
    made = []
    for calls in runs:
        run = make_run(session)
        make_message(session, run_id=run.id)
        for call in calls:
            make_model_call(session, run, **call)
        made.append(run)
    by_run = [sum(map(total_of, calls)) for calls in runs]
    total = sum(by_run)

    def page(path):
        return support_client.get(path).content.decode().replace("\xa0", " ")

    [row] = re.findall(rf'<a class="row[^>]*/{session.id}/.*?</a>', page("/conversations/"), re.S)
    assert sum(numbers(rf"<b>{NUMBER}</b> token", row)) == total
    conversation = page(f"/conversations/{session.id}/")
    assert sum(numbers(rf"model calls?, {NUMBER} token", conversation)) == total
    assert sum(numbers(rf"model calls? · {NUMBER} token", conversation)) == total
    for run, expected in zip(made, by_run, strict=True):
        shown = page(f"/conversations/{session.id}/runs/{run.id}/")
        assert sum(numbers(rf"model calls?, {NUMBER} token", shown)) == expected
        assert sum(numbers(rf'class="numbers">{NUMBER} token', shown)) == expected
    for form in ("csv", "jsonl"):
        found = rows(support_client, f"conversations.{form}")
        [tokens] = [each["tokens_count"] for each in found if each["session_id"] == str(session.id)]
        assert int(tokens) == total
    [summary] = Session.objects.filter(pk=session.id).with_summary()
    assert summary.tokens_count == total


@given(st.lists(written(), min_size=1, max_size=6))
def test_what_a_conversation_costs_is_the_sum_over_its_calls(db, calls):
    session = make_session()
    runs = [make_run(session), make_run(session)]
    for place, call in enumerate(calls):
        make_model_call(session, runs[place % 2], **call)
    shown = [call for run in runs for call in costs.model_calls(session.id, run.id)]
    each = [call.cost for call in shown]
    found = costs.totals(session.id).used.cost
    if None in each:
        assert found is None
    else:
        assert found.amount == sum((one.amount for one in each), Decimal(0))
        assert found.at_least == any(one.at_least for one in each)


def written_as(model, prompt, completion, cached=None, reasoning=None, **more):
    numbers = (prompt, completion, prompt + completion, cached, reasoning)
    return {"model": model, **dict(zip(COLUMNS, numbers, strict=True)), **more}


FLASH = written_as("gemini/gemini-2.5-flash", 949, 53, None, 1939)
CACHED = written_as("anthropic/claude-sonnet-4-5", 5000, 500, 3000)
MORE_CACHED = written_as("anthropic/claude-sonnet-4-5", 5, 0, 130208)
EMBEDDING = {
    "model": "openai/text-embedding-3-small", "call_type": "embedding", "total_tokens": 1200
}  # fmt: skip


@pytest.mark.parametrize(
    ("calls", "header", "line"),
    [
        (
            [FLASH],
            "1 model call, 2,941 tokens, 1,939 for reasoning, $0.0053 (",
            "2,941 tokens: 949 input, 1,992 output (1,939 reasoning) · $0.0053 ·",
        ),
        (
            [CACHED],
            "1 model call, 8,500 tokens, 3,000 of them cached, at least $0.0234 (",
            "8,500 tokens: 8,000 input (3,000 cached), 500 output · at least $0.0234 ·",
        ),
        (
            [MORE_CACHED],
            "1 model call, 130,213 tokens, 130,208 of them cached, at least $0.0391 (",
            "130,213 tokens: 130,213 input (130,208 cached), 0 output · at least $0.0391 ·",
        ),
        (
            [EMBEDDING, FLASH],
            "2 model calls, 4,141 tokens, 1,939 for reasoning, $0.0053 (",
            "1,200 tokens: 1,200 input, 0 output · < $0.0001 ·",
        ),
        (
            [{**EMBEDDING, "model": "gemini/gemini-embedding-001", "total_tokens": 0}, FLASH],
            "2 model calls, 2,941 tokens, 1,939 for reasoning, at least $0.0053 "
            "(without 1 embedding whose tokens were not counted; list prices",
            "cost n/a · 1.5",
        ),
        (
            [{**EMBEDDING, "model": "fastembed/BAAI/bge-small-en-v1.5", "total_tokens": None}],
            "1 model call, 0 tokens, cost n/a",
            "cost n/a · 1.5",
        ),
        (
            [written_as("acme/claude-like", 10, 5, 3, 2), FLASH],
            "2 model calls, 2,956 tokens, 1,939 for reasoning, cost n/a",
            "15 tokens (recorded: 10 prompt, 5 completion) · cost n/a ·",
        ),
        (
            [{**FLASH, "response_code": 429, **dict.fromkeys(COLUMNS)}, FLASH],
            "2 model calls, 2,941 tokens, 1,939 for reasoning, $0.0053 (",
            "2,941 tokens: 949 input, 1,992 output (1,939 reasoning) · $0.0053 ·",
        ),
        (
            [written_as("openai/gpt-4o", 1000, 100, 200, 30)],
            "1 model call, 1,100 tokens, 200 of them cached, 30 for reasoning, $0.0033 (",
            "1,100 tokens: 1,000 input (200 cached), 100 output (30 reasoning) · $0.0033 ·",
        ),
    ],
)
def test_the_words_of_the_header_and_of_a_call(support_client, calls, header, line):
    session = make_session()
    run = make_run(session)
    for call in calls:
        make_model_call(session, run, duration_seconds="1.5", **call)
    pages = [
        unescape(re.sub(r"<[^>]+>", "", support_client.get(path).content.decode()))
        for path in (f"/conversations/{session.id}/", f"/conversations/{session.id}/runs/{run.id}/")
    ]
    pages = [page.replace("\xa0", " ") for page in pages]
    assert header in pages[0]
    assert header in pages[1]
    assert line in pages[1]


def test_files_and_header_agree_about_uncounted_embeddings(support_client):
    session, other = make_session(), make_session()
    uncounted = {**EMBEDDING, "model": "gemini/gemini-embedding-001", "total_tokens": 0}
    for call in (uncounted, FLASH):
        make_model_call(session, **call)
    make_model_call(other, **uncounted)
    for form in ("xlsx", "csv", "jsonl"):
        found = {row["session_id"]: row for row in rows(support_client, f"conversations.{form}")}
        assert float(found[str(session.id)]["cost"]) == 0.0052647
        assert found[str(other.id)]["cost"] in (None, "")


def test_a_failed_call_without_tokens_shows_no_cost(support_client):
    session = make_session()
    run = make_run(session)
    make_model_call(session, run, model="openai/gpt-4o", response_code=429)
    page = support_client.get(f"/conversations/{session.id}/runs/{run.id}/").content.decode()
    assert page.count("$0.0000") == 1
    assert "n/a" not in page


def test_masking_hides_a_models_name_and_changes_no_figure(viewer_client, settings):
    session = make_session()
    run = make_run(session)
    # Anthropic's, by a name that masking hides.
    make_model_call(session, run, **{**CACHED, "model": "claude@planted-mail.example"})
    path = f"/conversations/{session.id}/runs/{run.id}/"
    with masking_on(settings):
        shown = viewer_client.get(path).content.decode()
    assert "claude@" not in shown
    assert len(re.findall("8,500[ \xa0]tokens", shown)) == 2


@pytest.mark.parametrize("number", ["0002", "0003", "0004", "0005", "0006"])
def test_files_have_tokens_from_the_revision_that_links_calls(support_client, at_revision, number):
    make_model_call(make_session(), **FLASH)
    at_revision(number)
    [row] = rows(support_client, "conversations.jsonl")
    assert row["tokens_count"] == (2941 if number >= "0005" else None)
