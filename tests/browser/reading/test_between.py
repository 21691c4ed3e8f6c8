"""What the transcript shows between messages: silences, failed runs, model calls."""

import json
import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from ...support.factories import (
    NULL,
    Json,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..steps import asked
from .transcript import address

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def test_a_long_silence_is_a_divider(page):
    session = make_session()
    start = timezone.now() - timedelta(days=1)
    for minutes in (0, 4, 16, 16 + 180):
        make_message(session, created_at=start + timedelta(minutes=minutes))
    page.goto(address(session))
    expect(page.locator(".gap")).to_have_text(["12 minutes later", "3 hours later"])
    after = page.locator(".gap + .message time").evaluate_all(
        "(all) => all.map((one) => Date.parse(one.dateTime))"
    )
    assert [round((at / 1000 - start.timestamp()) / 60) for at in after] == [16, 196]


def test_the_times_of_messages_are_in_the_zone_of_the_viewer(new_context, session_cookie):
    at = timezone.now().replace(year=2025, month=1, day=2, hour=20, minute=30, second=0)
    session = make_session()
    make_message(session, created_at=at)
    context, _ = new_context(session_cookie, timezone_id="Asia/Tokyo")
    page = context.new_page()
    page.goto("/conversations/")
    page.goto(address(session))
    time = page.locator(".message time")
    expect(time).to_have_text("05:30:00")
    expect(time).to_have_attribute("title", "3 Jan 2025, 05:30:00 JST")


def test_the_reason_of_a_failed_run_is_where_the_answer_should_be(any_page):
    page = any_page
    session = make_session()
    run = make_run(session, output_data=NULL)
    make_message(session, "user", "Where is it?", run_id=run.id)
    make_model_call(
        session, run, model="big-model", response_code=429, response_data=Json("Quota is used up.")
    )
    make_task(run, session, "answer", errors=Json("No model answered."))
    make_message(session, "user", "Hello?", created_at=timezone.now())
    page.goto(address(session))
    outcome = page.locator(".run > .outcome.failed")
    expect(outcome).to_contain_text("there was no answer")
    expect(outcome.locator(".reason")).to_have_text(
        ["big-model: 429: Quota is used up.", "answer: No model answered."]
    )
    expect(page.locator(".run > .message + .outcome")).to_have_count(1)
    expect(page.locator(".message, .outcome")).to_have_text(
        [re.compile("Where is it"), re.compile("Quota"), re.compile("Hello")]
    )


def test_model_calls_open_with_request_and_response_on_demand(page, watch):
    session = make_session()
    run = make_run(session)
    make_message(session, run_id=run.id)
    make_model_call(
        session,
        run,
        model="big-model",
        prompt_tokens=1_200,
        completion_tokens=4,
        total_tokens=1_204,
        request_data=Json(json.dumps({"messages": ["Hello there"]})),
        response_data=Json({"answer": "Hi"}),
    )
    page.goto(address(session))
    page.locator("details.work > summary").click()
    page.locator(".model-calls > summary").click()
    call = page.locator(".model-calls > ol > li")
    expect(call).to_contain_text("big-model")
    expect(call).to_contain_text("1,200 prompt")
    assert asked(watch, "/model-calls/") == []
    for field, value in (("Request", "Hello there"), ("Response", "Hi")):
        details = call.locator("details", has=page.locator("summary", has_text=field)).first
        details.locator("> summary").click()
        expect(details.locator(".json .string")).to_have_text(value)
    assert len(asked(watch, "/model-calls/")) == 2


def test_model_calls_open_without_javascript(page_without_javascript):
    page = page_without_javascript
    session = make_session()
    run = make_run(session)
    make_model_call(session, run, request_data=Json({"ask": "Hello there"}))
    page.goto(address(session))
    page.locator("details.work > summary").click()
    page.get_by_role("link", name="Open this run").click()
    page.locator(".model-calls > summary").click()
    page.locator(".model-calls li summary", has_text="Request").click()
    page.get_by_role("link", name="Open request").click()
    expect(page.locator(".json .string")).to_have_text("Hello there")
