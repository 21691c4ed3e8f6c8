from decimal import Decimal

import pytest

from conversations import prices
from conversations.model_calls import costs
from conversations.prices import Cost

from ..support.factories import make_model_call, make_run, make_session

pytestmark = pytest.mark.django_db


@pytest.fixture
def run():
    session = make_session()
    made = make_run(session)
    made.session = session
    return made


def call(run, model="openai/gpt-4o", **fields):
    values = {"prompt_tokens": 1000, "completion_tokens": 100, "duration_seconds": "1.5"}
    return make_model_call(run.session, run, model=model, **{**values, **fields})


def test_totals_add_up_over_models(run):
    call(run, cached_prompt_tokens=200)
    call(run, model="openai/gpt-4o-mini", reasoning_tokens=30)
    found = costs.totals(run.session.id, run.id)
    assert (found.calls, found.used.tokens, found.seconds) == (2, 2200, 3.0)
    assert (found.used.cached, found.used.reasoning) == (200, 30)


def test_without_calls_there_are_no_totals(run):
    assert costs.totals(run.session.id, run.id) is None


def test_the_cost_is_the_list_price(run):
    call(run)
    assert costs.totals(run.session.id).used.cost == Cost(Decimal("0.0035"))


def test_an_unknown_model_leaves_the_whole_sum_unknown(run):
    call(run)
    call(run, model="ollama/home-made")
    assert costs.totals(run.session.id, run.id).used.cost is None


def test_an_answer_without_token_counts_leaves_the_sum_unknown(run):
    call(run)
    call(run, prompt_tokens=None, completion_tokens=None)
    assert costs.totals(run.session.id, run.id).used.cost is None


def test_a_failed_call_without_tokens_costs_nothing(run):
    call(run)
    call(run, response_code=None, prompt_tokens=None, completion_tokens=None)
    assert costs.totals(run.session.id, run.id).used.cost == Cost(Decimal("0.0035"))


def test_a_failed_call_with_tokens_has_a_cost(run):
    call(run, response_code=None)
    assert costs.totals(run.session.id, run.id).used.cost == Cost(Decimal("0.0035"))


@pytest.mark.parametrize("model", ["", "/", "a/b/c", "gpt-4o", "x" * 5000, "<b>"])
def test_any_model_name_is_fine(run, model):
    call(run, model=model)
    assert costs.totals(run.session.id, run.id).calls == 1


def test_without_the_price_list_there_are_no_costs(run, monkeypatch, support_client):
    call(run)
    path = f"/conversations/{run.session.id}/"
    assert b"$0.0035" in support_client.get(path).content
    monkeypatch.setattr(prices, "genai_prices", None)
    page = support_client.get(path).content
    assert "1,100\xa0tokens".encode() in page
    assert b"$" not in page
    assert b"n/a" not in page


def test_calls_are_listed_in_order_without_their_payloads(run, support_client):
    call(run, model="first")
    call(run, model="second", response_code=429)
    shown = support_client.get(f"/conversations/{run.session.id}/runs/{run.id}/")
    calls = shown.context["model_calls"]
    assert [(each.model, each.failed) for each in calls] == [("first", False), ("second", True)]
    assert {"request_data", "response_data"} <= calls[0].get_deferred_fields()
    assert b"failed, 429" in shown.content


def test_before_model_calls_name_their_run_none_are_shown(run, at_revision, support_client):
    at_revision("0004")
    assert costs.totals(run.session.id, run.id) is None
    assert costs.model_calls(run.session.id, run.id) == []
    path = f"/conversations/{run.session.id}/model-calls/{run.id}/request_data/"
    assert support_client.get(path).status_code == 404
