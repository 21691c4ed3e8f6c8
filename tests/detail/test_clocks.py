"""Impossible durations (negative, infinite or NaN) on every page that shows durations."""

import pytest
from django.urls import reverse

from conversations.model_calls.costs import totals

from ..support.factories import make_model_call, make_run, make_session, make_task
from ..support.pages import get, text, url

pytestmark = pytest.mark.django_db
SHOWN = {
    "-5": "clock differs (−5.0 s)",
    "NaN": "clock differs (NaN)",
    "Infinity": "clock differs (infinite)",
    "-Infinity": "clock differs (−infinite)",
}


@pytest.mark.parametrize("value", SHOWN)
def test_every_page_says_that_the_clock_differs(admin_client, value):
    session = make_session()
    run = make_run(session, duration_seconds=value)
    task = make_task(run, session, duration_seconds=value)
    paths = [
        url("detail", session.id),
        url("run", session.id, run.id),
        url("task", session.id, task.id),
        *(reverse(f"admin:conversations_{table}_changelist") for table in ("run", "task")),
        reverse("admin:conversations_run_change", args=[run.id]),
        reverse("admin:conversations_task_change", args=[task.id]),
    ]
    for path in paths:
        page = text(get(admin_client, path))
        assert SHOWN[value] in page, path
    # Once for the run and once for its step.
    assert get(admin_client, paths[1]).content.decode().count(SHOWN[value]) == 2


@pytest.mark.parametrize("value", ["-5", "NaN"])
def test_a_sum_leaves_impossible_durations_out(support_client, value):
    session = make_session()
    run = make_run(session)
    for seconds in (value, "1.5", "2.5"):
        make_model_call(session, run, duration_seconds=seconds)
    assert totals(session.id).seconds == 4.0
    assert SHOWN[value] in text(get(support_client, url("run", session.id, run.id)))


def test_a_step_dated_years_ago_does_not_shrink_the_other_bars(support_client):
    session = make_session()
    run = make_run(session, duration_seconds=2)
    fine = [make_task(run, session, name=f"fine-{n}", created_at=run.created_at) for n in range(2)]
    before = get(support_client, url("run", session.id, run.id)).context["list"]
    make_task(run, session, name="odd", created_at=run.created_at.replace(year=2020))
    page = get(support_client, url("run", session.id, run.id))
    after = page.context["list"]
    assert after.span == before.span
    bars = {step.name: bar for step, bar in after.steps}
    assert [bars[task.name] for task in fine] == [bar for _, bar in before.steps]
    assert "off" in bars["odd"].looks
    assert "clock differs" in text(page)
