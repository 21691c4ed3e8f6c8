"""The page Model calls: filters, totals, requests and responses on demand."""

import json

import pytest
from playwright.sync_api import expect

from ..support.factories import Json, make_agent, make_model_call, make_run, make_session
from .steps import asked

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def calls():
    session = make_session(make_agent("Shop"), external_id="ticket-7")
    run = make_run(session)
    for number in range(3):
        make_model_call(
            session,
            run,
            model="big-model" if number else "small-model",
            prompt_tokens=1_200,
            completion_tokens=4,
            request_data=Json(json.dumps({"messages": ["Hello there"]})),
            response_data=Json({"answer": "Hi"}),
        )
    session.run = run
    return session


def test_filters_replace_the_list_and_totals_follow(page, watch, calls):
    page.goto("/model-calls/")
    expect(page.locator(".call-list > li")).to_have_count(3)
    expect(page.locator("#totals")).to_contain_text("3 model calls: 3,612 tokens")
    page.get_by_label("Model", exact=True).select_option("small-model")
    expect(page.locator(".call-list > li")).to_have_count(1)
    expect(page.locator("#totals")).to_contain_text("1 model call: 1,204 tokens")
    expect(page).to_have_url("/model-calls/?model=small-model")
    page.get_by_label("Seconds, at least").fill("5")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    page.get_by_role("link", name="Clear all").first.click()
    expect(page.locator(".call-list > li")).to_have_count(3)


def test_requests_and_responses_are_loaded_when_opened_and_a_call_leads_to_its_run(
    page, watch, calls
):
    page.goto("/model-calls/")
    call = page.locator(".call-list > li").first
    payloads = f"/conversations/{calls.id}/model-calls/"
    assert asked(watch, payloads) == []
    for field, value in (("Request", "Hello there"), ("Response", "Hi")):
        details = call.locator("details", has=page.locator("summary", has_text=field)).first
        details.locator("> summary").click()
        expect(details.locator(".json .string")).to_have_text(value)
    assert len(asked(watch, payloads)) == 2
    call.get_by_role("link", name="ticket-7").click()
    expect(page.locator(f"#run-{calls.run.id}")).to_be_visible()


def test_it_works_without_javascript(page_without_javascript, calls):
    page = page_without_javascript
    page.goto("/model-calls/")
    page.get_by_label("Model", exact=True).select_option("big-model")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator(".call-list > li")).to_have_count(2)
    page.get_by_role("link", name="What these calls add up to").click()
    expect(page.locator("#totals")).to_contain_text("2 model calls: 2,408 tokens")
    page.get_by_role("link", name="Model calls").last.click()
    page.locator(".call-list summary", has_text="Response").first.click()
    page.get_by_role("link", name="Open response").first.click()
    expect(page.locator(".json .string")).to_have_text("Hi")
