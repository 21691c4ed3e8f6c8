"""Signing in with a password, and where that may redirect to."""

import re

import pytest
from django.test import Client
from django.urls import NoReverseMatch, reverse

from audit.models import Act, Entry

from ..support.hostile import ELSEWHERE, assert_stays_here
from ..support.signing_in import (
    ACCOUNT,
    CODE,
    LOGIN,
    PASSWORD,
    code,
    is_in,
    make_user,
    sign_in,
    with_app,
)

pytestmark = pytest.mark.django_db


@pytest.mark.thorough
@pytest.mark.parametrize("target", ELSEWHERE)
@pytest.mark.parametrize("factor", [False, True])
def test_signing_in_never_redirects_to_another_site(client, target, factor):
    user = make_user()
    if factor:
        with_app(user)
    response = sign_in(client, next=target)
    if factor:
        assert response["Location"] == CODE
        response = client.post(f"{CODE}", {"code": code(), "next": target})
    assert_stays_here(response)
    assert is_in(client)


@pytest.mark.thorough
@pytest.mark.parametrize("target", ELSEWHERE)
def test_the_sign_in_and_reauthentication_pages_never_redirect_elsewhere(client, target):
    make_user()
    assert client.get(LOGIN, {"next": target}).status_code == 200
    sign_in(client)
    assert_stays_here(client.get(LOGIN, {"next": target}))
    assert client.get("/accounts/again/", {"next": target}).status_code == 200
    assert_stays_here(client.post("/accounts/again/", {"password": PASSWORD, "next": target}))


@pytest.mark.parametrize("factor", [False, True])
def test_signing_in_leads_back_to_the_requested_page(client, factor):
    user = make_user()
    if factor:
        with_app(user)
    response = sign_in(client, next="/conversations/?search=a")
    if factor:
        response = client.post(CODE, {"code": code()})
    assert response["Location"] == "/conversations/?search=a"


def test_an_inactive_account_stays_out(client):
    make_user(is_active=False)
    response = sign_in(client)
    assert response.status_code == 200
    assert "Please enter a correct" in response.content.decode()
    assert not is_in(client)


def test_an_account_deactivated_before_its_code_stays_out(client):
    user = with_app(make_user())
    sign_in(client)
    user.is_active = False
    user.save()
    response = client.post(CODE, {"code": code()})
    assert response.status_code == 403
    assert "This account is inactive" in response.content.decode()
    assert not is_in(client)
    assert not Entry.objects.filter(act=Act.SIGNED_IN).exists()


@pytest.mark.parametrize(
    "path",
    [
        *("signup/", "email/", "confirm-email/", "confirm-email/x/", "inactive/"),
        *("password/reset/", "password/reset/done/", "password/reset/key/1-x/", "password/set/"),
        *("login/code/confirm/", "2fa/", "2fa/webauthn/signup/", "3rdparty/", "3rdparty/signup/"),
        *("social/signup/", "phone/change/", "signup/passkey/", "oidc/x/login/", "sessions/"),
    ],
)
def test_nobody_signs_up_or_resets_a_password(client, support_client, path):
    for each in (client, support_client):
        assert each.get(f"/accounts/{path}").status_code == 404
        assert each.post(f"/accounts/{path}").status_code == 404


@pytest.mark.parametrize("name", ["account_signup", "account_reset_password", "account_email"])
def test_unused_parts_of_allauth_have_no_address(name):
    with pytest.raises(NoReverseMatch):
        reverse(name)


def test_the_sign_in_page_says_whom_to_ask(client):
    page = client.get(LOGIN).content.decode()
    assert "Ask someone with the Admin role" in page
    assert "Sign in with single" not in page


def test_the_entry_says_how_somebody_signed_in(client):
    with_app(make_user())
    sign_in(client)
    client.post(CODE, {"code": code()})
    assert Entry.objects.get(act=Act.SIGNED_IN).details == {"how": "password, totp"}


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
@pytest.mark.parametrize("change", ["deactivated", "deleted", "password"])
def test_a_removed_user_is_signed_out_at_the_next_request(client, change, headers):
    user = make_user()
    sign_in(client)
    assert is_in(client)
    if change == "deleted":
        user.delete()
    else:
        if change == "deactivated":
            user.is_active = False
        else:
            user.set_password("another password 7")
        user.save()
    response = client.get("/conversations/", headers=headers)
    target = response["HX-Redirect"] if headers else response["Location"]
    assert target.startswith(LOGIN)
    assert not is_in(client)


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
def test_a_removed_role_is_gone_at_the_next_request(client, headers):
    user = make_user()
    sign_in(client)
    user.groups.clear()
    assert client.get("/conversations/", headers=headers).status_code == 403


# A form that is out of date


def csrf(page) -> str:
    return re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.content.decode())[1]


def two_tabs(target="/conversations/?search=a"):
    """A signed-in browser, and what an older form in its other tab would send."""
    browser = Client(enforce_csrf_checks=True)
    make_user()
    form = {"username": "alice", "password": PASSWORD, "next": target}
    first, second = (csrf(browser.get(LOGIN)) for _ in range(2))
    browser.post(LOGIN, {**form, "csrfmiddlewaretoken": first})
    assert is_in(browser)
    return browser, {**form, "csrfmiddlewaretoken": second}


def test_a_second_tab_leads_into_the_site():
    browser, form = two_tabs()
    response = browser.post(LOGIN, form)
    assert (response.status_code, response["Location"]) == (302, "/conversations/?search=a")
    assert is_in(browser)


@pytest.mark.parametrize("target", ELSEWHERE)
def test_a_second_tab_never_redirects_to_another_site(target):
    browser, form = two_tabs(target)
    assert_stays_here(browser.post(LOGIN, form))


@pytest.mark.parametrize("path", [LOGIN, CODE, "/accounts/login/passkey/"])
@pytest.mark.parametrize("cookies", [True, False])
def test_an_outdated_form_leads_to_a_new_one(path, cookies):
    browser, form = two_tabs()
    browser.cookies.pop("desk_session")
    if not cookies:
        browser.cookies.clear()
    response = browser.post(path, form)
    assert response["Location"] == f"{LOGIN}?next=%2Fconversations%2F%3Fsearch%3Da&again=1"
    page = browser.get(response["Location"])
    assert "That form was out of date" in page.content.decode()
    response = browser.post(LOGIN, {**form, "csrfmiddlewaretoken": csrf(page)})
    assert response["Location"] == "/conversations/?search=a"


def test_other_forms_and_other_sites_are_refused():
    browser, form = two_tabs()
    assert browser.post("/accounts/password/", form).status_code == 403
    assert browser.post(LOGIN, form, headers={"Origin": "https://evil.example"}).status_code == 403
    assert browser.post("/accounts/logout/", form).status_code == 403


# The password


def change_password(client, old=PASSWORD, new="a whole new one 7", again=None):
    form = {"old_password": old, "new_password1": new, "new_password2": again or new}
    return client.post("/accounts/password/", form)


def test_changing_the_password_ends_the_other_sessions(client):
    other = Client()
    make_user()
    sign_in(client)
    sign_in(other)
    response = change_password(client)
    assert response["Location"] == ACCOUNT
    assert "Your password was changed" in client.get(ACCOUNT).content.decode()
    assert is_in(client)
    assert not is_in(other)
    assert Entry.objects.get(act=Act.PASSWORD_CHANGED).username == "alice"
    assert sign_in(other).status_code == 200
    assert sign_in(other, password="a whole new one 7").status_code == 302


@pytest.mark.parametrize(
    "typed",
    [
        {"old": "wrong"},
        {"new": "short"},
        {"new": "1234567890123"},
        {"new": "alice"},
        {"again": "something else 8"},
        {"old": "", "new": ""},
        {"old": "a\0b"},
    ],
)
def test_a_refused_password_change_changes_nothing(client, typed):
    user = make_user()
    sign_in(client)
    response = change_password(client, **typed)
    assert response.status_code == 200
    assert 'role="alert"' in response.content.decode()
    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert not Entry.objects.filter(act=Act.PASSWORD_CHANGED).exists()


# The account page


def test_every_page_links_to_the_account_page(support_client):
    assert f'href="{ACCOUNT}"' in support_client.get("/conversations/").content.decode()
    page = support_client.get(ACCOUNT).content.decode()
    for words in ("Password", "Authenticator app", "Passkeys", "Sign out everywhere"):
        assert words in page


def test_signing_out_everywhere_ends_every_session_at_once(client):
    others = [Client() for _ in range(3)]
    make_user()
    for each in (client, *others):
        sign_in(each)
        assert is_in(each)
    assert client.post("/accounts/logout/everywhere/")["Location"] == LOGIN
    for each in (client, *others):
        assert not is_in(each)
    assert Entry.objects.get(act=Act.SIGNED_OUT_EVERYWHERE).username == "alice"
    sign_in(client)
    assert is_in(client)


def test_signing_out_everywhere_ends_nobody_elses_sessions(client, support_client):
    other = Client()
    make_user()
    sign_in(other)
    support_client.post("/accounts/logout/everywhere/")
    assert is_in(other)
    assert not is_in(support_client)


def test_an_admin_can_sign_somebody_out(admin_client):
    client = Client()
    user = make_user()
    sign_in(client)
    form = {"action": "sign_out_everywhere", "_selected_action": [user.pk]}
    admin_client.post("/admin/accounts/user/", form)
    assert not is_in(client)
    assert is_in(admin_client)
    entry = Entry.objects.get(act=Act.SIGNED_OUT_EVERYWHERE)
    assert (entry.username, entry.details) == ("admin", {"account": "alice"})
