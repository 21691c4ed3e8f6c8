"""No barriers in light and dark."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from ...support.factories import (
    NULL,
    Json,
    make_agent,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..flaws import flaws
from .transcript import MARKDOWN, address

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def of_every_kind():
    """{kind: address} of a conversation with everything that a transcript can show."""
    session = make_session(make_agent("Shop"), external_id="ticket-7")
    make_session(make_agent("Bank"), external_id="ticket-7")
    run = make_run(session)
    found = make_message(session, "user", "Where is *my* order?", run_id=run.id)
    answer = make_message(session, "assistant", f"{MARKDOWN}\n\n1. one\n\n> said", run_id=run.id)
    make_message(session, "system", json.dumps({"order": 17, "open": None}), run_id=run.id)
    make_task(run, session, "look-up", seq=0)
    make_model_call(
        session, run, prompt_tokens=10, completion_tokens=1, request_data=Json({"a": 1})
    )
    make_model_call(session, run, response_code=500, response_data=Json("No."))
    failed = make_run(session, output_data=NULL)
    make_model_call(session, failed, response_code=429, response_data=Json("Quota is used up."))
    make_message(session, "user", "A long story. " * 300, run_id=failed.id)
    make_message(session, "", "  ", created_at=timezone.now() - timedelta(minutes=20))
    make_run(
        session,
        output_data=NULL,
        duration_seconds=None,
        created_at=timezone.now(),
        updated_at=timezone.now(),
    )
    many = make_session()
    for number in range(170):
        make_message(many, content=f"Message {number}")
    return {
        "formatted": address(session),
        "searched": address(session, "?search=order"),
        "source": address(session, "?source"),
        "linked": address(session, f"?m={found.id}"),
        "message": address(session, f"messages/{answer.id}/"),
        "message source": address(session, f"messages/{answer.id}/?source"),
        "later page": address(many, "?from=80"),
    }


@pytest.mark.parametrize(
    "kind",
    ["formatted", "searched", "source", "linked", "message", "message source", "later page"],
)
def test_no_barrier_in_light_and_dark(page, of_every_kind, kind):
    page.goto(of_every_kind[kind])
    for folded, loaded in ((".work", ".run-steps"), (".model-calls", ""), (".rest", ".whole")):
        details = page.locator(folded)
        details.evaluate_all("(all) => all.forEach((one) => (one.open = true))")
        if loaded:
            expect(page.locator(f"{folded} {loaded}")).to_have_count(details.count())
    # Headings inside a message are the author's, so their order is not checked.
    assert [flaw for flaw in flaws(page) if ": heading-order ['h" not in flaw] == []
