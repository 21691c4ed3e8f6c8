"""Browsers store nothing about conversations, and Back shows none after signing out."""

import re

import pytest
from playwright.sync_api import expect

from ..support.factories import Json, make_agent, make_message, make_run, make_session, make_task

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

WORD = "zanzibar"
# Everything that a page can store in a browser, as one text.
KEPT = """async () => {
  const databases = await indexedDB.databases();
  const caches_ = [];
  if (window.caches) {
    for (const name of await caches.keys()) {
      for (const request of await (await caches.open(name)).keys()) caches_.push(request.url);
    }
  }
  const workers = navigator.serviceWorker
    ? (await navigator.serviceWorker.getRegistrations()).map((one) => one.scope) : [];
  const folders = [];
  if (navigator.storage?.getDirectory) {
    for await (const name of (await navigator.storage.getDirectory()).keys()) folders.push(name);
  }
  return {
    local: Object.entries(localStorage), session: Object.entries(sessionStorage),
    databases, caches: caches_, workers, folders, name: window.name,
    state: JSON.stringify(history.state) ?? "",
  };
}"""


@pytest.fixture
def addresses():
    session = make_session(make_agent("Shop"), external_id="ticket-7")
    run = make_run(session, input_data=Json({"said": WORD}))
    message = make_message(session, content=f"All about {WORD}. " * 200, run_id=run.id)
    task = make_task(run, session, prompt=WORD, errors=Json([WORD]))
    here = f"/conversations/{session.id}/"
    return [
        "/conversations/",
        f"/conversations/?search={WORD}",
        "/conversations/errors/",
        here,
        f"{here}?source",
        f"{here}messages/{message.id}/",
        f"{here}runs/{run.id}/",
        f"{here}tasks/{task.id}/",
        f"{here}runs/{run.id}/input_data/",
        f"{here}runs/{run.id}/input_data/raw/",
        f"{here}transcript.txt",
    ]


def assert_nothing_stored(page):
    kept = page.evaluate(KEPT)
    state = kept.pop("state")
    assert WORD not in state
    assert not any(kept.values()), kept


def test_no_page_stores_anything_in_the_browser(page, addresses):
    for address in addresses:
        page.goto(address)
        page.wait_for_load_state("networkidle")
        assert_nothing_stored(page)
    # Nor do fragments that htmx swaps in and addresses that it pushes.
    page.goto("/conversations/")
    page.locator("#filters").get_by_label("Search", exact=True).fill(WORD)
    page.wait_for_url(re.compile(f"search={WORD}"))
    expect(page.locator(".row")).to_have_count(1)
    assert_nothing_stored(page)
    page.locator(".row").click()
    expect(page.get_by_role("heading", name="ticket-7")).to_be_visible()
    page.go_back()
    expect(page.locator(".row")).to_have_count(1)
    assert_nothing_stored(page)


def test_cookies_contain_nothing_about_conversations(page, context, addresses):
    for address in addresses:
        page.goto(address)
    cookies = context.cookies()
    assert {each["name"] for each in cookies} <= {"desk_session", "csrftoken", "timezone"}
    assert not any(WORD in each["value"] for each in cookies)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_back_after_signing_out_shows_no_conversation(page, watch, addresses, times):
    for address in (addresses[1], addresses[9], addresses[3]):
        page.goto(address)
        expect(page.locator("body")).to_contain_text(WORD)
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(re.compile("/accounts/login/"))
    page.evaluate(f"history.go(-{times})")
    page.wait_for_timeout(500)
    page.wait_for_load_state("load")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert WORD not in page.locator("body").inner_text()
