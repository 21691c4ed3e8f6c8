"""Redacting with suggestions, with and without JavaScript."""

import json
from types import SimpleNamespace

import pytest
from playwright.sync_api import expect

from ..support.factories import Json, make_message, make_run, make_session
from .flaws import AXE, barriers, overflow
from .steps import session_in

pytestmark = pytest.mark.django_db(transaction=True)

IBAN = "EE38 2200 2210 2014 5685"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def session_cookie(live_server, _rows):
    return session_in("Admin", live_server)


@pytest.fixture
def message():
    session = make_session()
    words = f"I am Mari Tamm, my IBAN is {IBAN}. {HOSTILE} \u202eMaria Tammsaare"
    message = make_message(session, content=words)
    said = json.dumps({"m": "Tamme, Mari", "x": IBAN.replace(" ", "")})
    make_run(session, output_data=Json({"said": said}))
    return message


def open_page(page, message):
    page.goto(f"/conversations/{message.session_id}/messages/{message.id}/redact/")


def test_a_preview_suggests_more_text_and_one_click_adds_it(any_page, message):
    open_page(any_page, message)
    expect(any_page.get_by_label(f"IBAN {IBAN} 2 times")).not_to_be_checked()
    any_page.get_by_label("Words to remove").fill("Mari Tamm")
    any_page.get_by_role("button", name="Preview").click()
    any_page.get_by_label("Mari 1 time").check()
    any_page.get_by_label("Tamme 1 time").check()
    any_page.get_by_label(f"IBAN {IBAN} 2 times").check()
    any_page.get_by_role("button", name="Preview").click()
    expect(any_page.get_by_label("Tamme 1 time")).to_be_checked()
    expect(any_page.get_by_label(f"IBAN {IBAN} 2 times")).to_be_checked()
    any_page.get_by_label("Type redact to confirm").fill("redact")
    any_page.get_by_role("button", name="Redact", exact=True).click()
    expect(any_page.locator("main")).to_contain_text("I am [redacted], my IBAN is [redacted].")
    expect(any_page.get_by_text("Redacted in 6 places.")).to_be_visible()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_barrier_and_no_overflow(new_context, session_cookie, message, scheme):
    many = " ".join(f"somebody.with.a.long.name.{n}@{'sub.' * 9}example.com" for n in range(40))
    session = SimpleNamespace(id=message.session_id, agent_id=message.agent_id)
    make_message(session, content=many)
    context, _ = new_context(session_cookie, color_scheme=scheme)
    page = context.new_page()
    open_page(page, message)
    for step in ("offers", "preview"):
        if step == "preview":
            page.get_by_label("Words to remove").fill("Mari Tamm")
            page.get_by_role("button", name="Preview").click()
            expect(page.get_by_text("Where the words were found")).to_be_visible()
        page.evaluate(AXE)
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 844})
            assert (barriers(page), overflow(page)) == ([], [])
