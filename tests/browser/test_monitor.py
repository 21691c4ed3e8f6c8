"""The page Monitor while runs begin and end."""

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from ..support.factories import NULL, make_agent, make_run, make_session
from ..support.tables import sql

pytestmark = pytest.mark.django_db(transaction=True)


def going_on(session):
    return make_run(session, output_data=NULL, duration_seconds=None, updated_at=timezone.now())


def test_marks_come_and_change_by_themselves_and_lead_to_their_runs(page, watch):
    page.clock.install()
    shop = make_agent("Shop")
    run = going_on(make_session(shop))
    page.goto("/monitor/")
    mark = page.locator(f"#mark-{run.id}")
    expect(mark).to_have_class("run running")
    mark.focus()

    sql("UPDATE runs SET duration_seconds = 2 WHERE id = %s", [run.id])
    page.clock.run_for(5_000)
    expect(mark).to_have_class("run failed")
    expect(mark).to_be_focused()

    other = going_on(make_session(make_agent("Bank"), updated_at=timezone.now()))
    page.clock.run_for(16_000)
    expect(page.locator(".monitored h2")).to_have_text(["Bank", "Shop"])
    expect(page.locator(f"#mark-{other.id}")).to_have_class("run running")
    mark.click()
    expect(page.locator(f"#run-{run.id}")).to_be_visible()


def test_a_hidden_tab_asks_for_nothing(page, watch):
    page.clock.install()
    make_run(make_session(make_agent("Shop")))
    page.goto("/monitor/")
    page.evaluate("Object.defineProperty(document, 'visibilityState', {get: () => 'hidden'})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.clock.run_for(600_000)
    assert "/monitor/state/" not in watch.paths()


def test_it_is_complete_without_javascript(page_without_javascript):
    page = page_without_javascript
    run = make_run(make_session(make_agent("Shop")))
    page.goto("/monitor/")
    expect(page.locator("noscript span")).to_be_visible()
    page.locator(f"#mark-{run.id}").click()
    expect(page.locator(f"#run-{run.id}")).to_be_visible()
