"""Adding, using and removing a passkey, with the authenticator that Chromium simulates."""

import pytest
from playwright.sync_api import expect

from audit.models import Act, Entry

from ..support.signing_in import make_user
from .flaws import flaws
from .steps import sign_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def opened(new_context, _rows):
    context, watch = new_context()
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    session.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            }
        },
    )
    return page, watch


def open_account(page):
    page.goto("/accounts/login/?next=/accounts/")
    sign_in(page, "alice")
    expect(page.get_by_role("heading", name="Account")).to_be_visible()


@pytest.mark.slow
def test_a_passkey_is_added_signs_in_and_is_removed(opened):
    page, _ = opened
    make_user()
    open_account(page)
    assert flaws(page, "account") == []
    page.get_by_role("link", name="Add a passkey").click()
    page.get_by_label("Name, to tell").fill("My <b>laptop</b>")
    assert flaws(page, "passkey") == []
    page.get_by_role("button", name="Add passkey").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    expect(page.locator(".recovery-codes li")).to_have_count(10)
    assert flaws(page, "codes") == []
    page.get_by_role("link", name="I have saved them").click()
    expect(page.get_by_text("My <b>laptop</b>", exact=False).first).to_be_visible()
    assert flaws(page, "account-with-passkey") == []

    page.get_by_role("button", name="Sign out", exact=True).click()
    page.goto("/accounts/login/?next=/conversations/errors/")
    assert flaws(page, "login") == []
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("heading", name="Errors")).to_be_visible()
    latest = Entry.objects.filter(act=Act.SIGNED_IN).latest("at")
    assert latest.details == {"how": "passkey"}

    page.goto("/accounts/")
    page.get_by_role("link", name="Remove My").click()
    assert flaws(page, "remove") == []
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_role("heading", name="Account")).to_be_visible()
    expect(page.locator(".keys")).to_have_count(0)

    page.get_by_role("button", name="Sign out", exact=True).click()
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_text("registered on this site")).to_be_visible()


@pytest.mark.slow
def test_a_passkey_is_a_second_factor_too(opened):
    page, _ = opened
    make_user()
    open_account(page)
    page.get_by_role("link", name="Add a passkey").click()
    page.get_by_role("button", name="Add passkey").click()
    page.get_by_role("link", name="I have saved them").click()
    page.get_by_role("button", name="Sign out", exact=True).click()
    sign_in(page, "alice")
    expect(page.get_by_role("heading", name="Second factor")).to_be_visible()
    assert flaws(page, "code") == []
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url("**/conversations/")


@pytest.mark.slow
def test_an_authenticator_app_can_be_added(opened):
    page, _ = opened
    make_user()
    open_account(page)
    page.get_by_role("link", name="Add authenticator app").click()
    assert flaws(page, "app") == []
    page.goto("/accounts/password/")
    assert flaws(page, "password") == []
    page.goto("/accounts/again/")
    assert flaws(page, "again") == []


@pytest.mark.usefixtures("_rows")
def test_without_javascript_passkeys_are_not_offered(new_context):
    context, _ = new_context(java_script_enabled=False)
    page = context.new_page()
    make_user()
    page.goto("/accounts/login/")
    expect(page.get_by_role("button", name="Use a passkey")).to_be_hidden()
    open_account(page)
    page.get_by_role("link", name="Add a passkey").click()
    expect(page.get_by_text("Passkeys need a browser that supports them")).to_be_visible()
    expect(page.get_by_role("button", name="Add passkey")).to_be_hidden()
