"""The admin panel in a browser: pages log no errors, and forms keep what was typed."""

import re
from contextlib import suppress

import pytest
from playwright.sync_api import Error, expect

from audit.models import Act, Entry

from ..support.admin_panel import form_url, list_url, make_rows
from ..support.factories import make_agent
from ..support.tables import TABLES, sql, untouched, value
from .steps import session_in

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def session_cookie(live_server, _rows):
    """The cookie of a signed-in Admin."""
    return session_in("Admin", live_server)


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_no_page_of_the_panel_logs_an_error(new_context, session_cookie, color_scheme):
    context, _ = new_context(session_cookie, color_scheme=color_scheme)
    page = context.new_page()
    rows = make_rows()
    entry = Entry.objects.create(act=Act.VIEWED, session_id=rows.session.id)
    addresses = ["/admin/", "/admin/audit/entry/", f"/admin/audit/entry/{entry.pk}/change/"]
    for model in TABLES:
        address = form_url(model, getattr(rows, model).id)
        addresses += [list_url(model), address, address.replace("/change/", "/history/")]
    for address in addresses:
        response = page.goto(address, wait_until="load")
        assert response.status == 200, address


def test_an_agent_is_chosen_in_a_popup_and_saved(page):
    rows = make_rows()
    other = make_agent("Bank of Elsewhere")
    page.goto(form_url("session", rows.session.id))
    with page.expect_popup() as opened:
        page.locator("#lookup_id_agent").click()
    popup = opened.value
    # The click closes the popup.
    with suppress(Error):
        popup.get_by_role("link", name="Bank of Elsewhere").click()
    expect(page.locator("#id_agent")).to_have_value(str(other.id))
    with untouched(("session", rows.session.id, "agent_id")):
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("was changed successfully")).to_be_visible()
    assert value("session", rows.session.id, "agent_id") == other.id


TEXT = "\n\n<b>one</b>\n\ttwo \r three\r\nfour \u202e\U0001f600\n\n"


def test_saving_an_unchanged_form_changes_nothing(page):
    rows = make_rows(external_id="first\nsecond line")
    sql("UPDATE chat_messages SET content = %s", [TEXT])
    sql("UPDATE agents SET name = %s, description = %s", [" padded ", TEXT])
    for model in ("agent", "session", "chatmessage"):
        with untouched():
            page.goto(form_url(model, getattr(rows, model).id))
            page.get_by_role("button", name="Save", exact=True).click()
            expect(page.get_by_text("Nothing was changed.")).to_be_visible()


def test_a_conflict_keeps_the_typed_text(page, watch):
    rows = make_rows()
    page.goto(form_url("chatmessage", rows.chatmessage.id))
    page.get_by_label("Content").fill("Mine")
    sql("UPDATE chat_messages SET content = 'Theirs'")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Somebody else changed this row")).to_be_visible()
    expect(page.get_by_label("Content")).to_have_value("Mine")
    page.get_by_role("link", name="reload the row").click()
    expect(page.get_by_label("Content")).to_have_value("Theirs")
    watch.expect_status(409)


def test_a_conversation_links_to_its_form_and_back(page):
    rows = make_rows()
    page.goto(f"/conversations/{rows.session.id}/")
    page.get_by_role("link", name="Edit in the admin panel").click()
    expect(page.get_by_label("External id")).to_have_value("ticket-7")
    page.get_by_role("link", name="chat messages").last.click()
    expect(page).to_have_url(re.compile(r"/chatmessage/\?q="))
    page.get_by_role("link", name="Open", exact=True).click()
    expect(page.locator("#conversation").get_by_text("content-word")).to_be_visible()
