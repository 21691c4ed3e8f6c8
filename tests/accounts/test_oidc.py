"""Signing in through a provider, over HTTP, and who may do so."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.http import HttpResponse
from django.test import Client
from joserfc.jwk import RSAKey

from accounts.provider import COOKIE
from accounts.provider import client as provider_client
from audit.models import Act, Entry

from ..support.environment import KEY, start
from ..support.hostile import ELSEWHERE, assert_stays_here
from ..support.oidc_provider import CLIENT, START, go_there, sign_in_there
from ..support.signing_in import ACCOUNT, CODE, LOGIN, code, is_in, make_user, with_app

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

CALLBACK = "/accounts/login/provider/callback/"


def assert_refused(client, response, told=1):
    assert response.status_code == 403
    assert "Example ID did not sign you in" in response.content.decode()
    assert not is_in(client)
    assert Entry.objects.filter(act=Act.SIGN_IN_REFUSED).count() == told
    assert not Entry.objects.filter(act=Act.SIGNED_IN).exists()


# Who may sign in


def test_invited_people_can_sign_in(client, provider):
    user = make_user("ann", email="Ann@Example.com")
    assert "Sign in with Example ID" in client.get(LOGIN).content.decode()
    response = sign_in_there(client, "/conversations/?search=a")
    assert response["Location"] == "/conversations/?search=a"
    assert is_in(client)
    entry = Entry.objects.get(act=Act.SIGNED_IN)
    assert (entry.user_id, entry.details) == (user.pk, {"how": "provider"})


def test_by_default_nobody_else_can(client, provider):
    assert_refused(client, sign_in_there(client))
    assert not get_user_model().objects.exists()


def test_people_of_a_trusted_domain_become_viewers(client, provider, settings):
    settings.OIDC_DOMAINS = {"example.com"}
    assert sign_in_there(client)["Location"] == "/conversations/"
    assert is_in(client)
    user = get_user_model().objects.get()
    assert (user.username, user.email) == ("ann@example.com", "ann@example.com")
    assert [group.name for group in user.groups.all()] == ["Viewer"]
    assert not user.is_superuser
    assert not user.has_usable_password()
    # The second time it is the same person.
    again = Client()
    sign_in_there(again)
    assert is_in(again)
    assert get_user_model().objects.count() == 1


def test_people_are_recognised_by_identity_not_by_address(client, provider):
    user = make_user("ann", email="ann@example.com")
    sign_in_there(client)
    provider.claims["email"] = "ann@married.example"
    other = Client()
    sign_in_there(other)
    assert is_in(other)
    # Meanwhile the address has passed to somebody else.
    provider.claims = {"sub": "2", "email": user.email, "email_verified": True}
    assert sign_in_there(Client()).status_code == 403


@pytest.mark.parametrize(
    "claims",
    [
        {"email": "ann@elsewhere.example"},
        {"email": "ann@sub.example.com"},
        {"email": "ann@example.com.evil.example"},
        {"email": "example.com"},
        {"email": "ann@example.com@evil.example"},
        {"email": None},
        {"email": ["ann@example.com"]},
        {"email": True},
        {"email": 7},
        {"email": {"ann@example.com": 1}},
        {"email": "a\0@example.com"},
        {"email": "a" * 200 + "@example.com"},
        {"email_verified": False},
        {"email_verified": None},
        {"email_verified": "false"},
        {"email_verified": 1},
    ],
)
def test_people_of_other_domains_stay_out(client, provider, settings, claims):
    settings.OIDC_DOMAINS = {"example.com"}
    provider.claims |= claims
    assert_refused(client, sign_in_there(client))
    assert not get_user_model().objects.exists()


@pytest.mark.parametrize("verified", [False, None, "false", 1])
def test_an_unverified_address_does_not_count(client, provider, settings, verified):
    settings.OIDC_DOMAINS = {"example.com"}
    user = make_user("ann", email="ann@example.com")
    provider.claims["email_verified"] = verified
    assert_refused(client, sign_in_there(client))
    user.refresh_from_db()
    assert user.identity is None


# UserInfo, and providers that do not say what is verified

SUB, OURS = {"sub": "1"}, {"email": "ann@example.com"}
TRUE, FALSE = {"email_verified": True}, {"email_verified": False}


@pytest.mark.parametrize(
    ("claims", "user_info"),
    [
        (SUB, {**SUB, **OURS, **TRUE}),
        (SUB, {**SUB, **OURS, "email_verified": "true"}),
        ({**SUB, **OURS}, {**SUB, **OURS, **TRUE}),
        ({**SUB, **OURS}, {**SUB, "email": "Ann@Example.com", **TRUE}),
        ({**SUB, **OURS, "email_verified": "true"}, None),
        ({**SUB, **OURS, "email_verified": "true"}, SUB),
        ({**SUB, **OURS, "email_verified": "True"}, None),
    ],
)
def test_user_info_completes_the_id_token(client, provider, claims, user_info):
    make_user("ann", email="ann@example.com")
    provider.claims, provider.user_info = claims, user_info
    sign_in_there(client)
    assert is_in(client)
    # The second time, the person is known and UserInfo is not requested.
    asked = provider.asked
    sign_in_there(Client())
    assert provider.asked == asked


@pytest.mark.parametrize("sub", ["", " ", "\t\n", "a\0b", 1, True, ["1"], {"1": 1}, None])
def test_a_subject_that_identifies_nobody_is_refused(client, provider, settings, sub):
    settings.OIDC_DOMAINS = {"example.com"}
    provider.claims["sub"] = sub
    assert_refused(client, sign_in_there(client))
    assert not get_user_model().objects.exists()


@pytest.mark.parametrize(
    "user_info", [[], "text", 7, True, {}, {"sub": 1}, {"sub": "2", **OURS, **TRUE}]
)
def test_user_info_about_nobody_or_somebody_else_is_refused(client, provider, user_info):
    make_user("ann", email="ann@example.com")
    provider.claims, provider.user_info = SUB, user_info
    assert_refused(client, sign_in_there(client))


def test_user_info_is_only_requested_when_needed(client, provider):
    make_user("ann", email="ann@example.com")
    provider.user_info = {**SUB, **OURS, **FALSE}
    sign_in_there(client)
    assert is_in(client)
    assert provider.asked == 0


@pytest.mark.parametrize(
    ("claims", "user_info", "reason", "words"),
    [
        (SUB, SUB, "no address", "It didn’t share your e-mail address"),
        (SUB, None, "no address", "It didn’t share your e-mail address"),
        ({**SUB, "email": "x", **TRUE}, None, "not an address", "this site can’t use"),
        ({**SUB, **OURS}, None, "verification unknown", "doesn’t say whether your e-mail"),
        ({**SUB, **OURS}, {**SUB, **OURS}, "verification unknown", "doesn’t say whether"),
        (
            {**SUB, **OURS},
            {**SUB, "email": "eve@example.com", **TRUE},
            "verification unknown",
            "doesn’t say whether",
        ),
        (
            {**SUB, **OURS, **FALSE},
            {**SUB, **OURS, **TRUE},
            "address not verified",
            "isn’t verified",
        ),
        (SUB, {**SUB, **OURS, **FALSE}, "address not verified", "isn’t verified there"),
        (SUB, {**SUB, **OURS, "email_verified": "false"}, "address not verified", "isn’t verified"),
        (
            {**SUB, **OURS, "email_verified": "true"},
            {**SUB, **OURS, **FALSE},
            "address not verified",
            "isn’t verified",
        ),
        (SUB, {"sub": "2", **OURS, **TRUE}, "the answer was not valid", "wasn’t completed"),
        (SUB, {**OURS, **TRUE}, "the answer was not valid", "wasn’t completed"),
        ({**SUB, "email": "eve@example.com", **TRUE}, None, "not invited", "don’t have an account"),
    ],
)
def test_a_refusal_says_why(client, provider, claims, user_info, reason, words):
    user = make_user("ann", email="ann@example.com")
    provider.claims, provider.user_info = claims, user_info
    response = sign_in_there(client)
    assert_refused(client, response)
    assert words in response.content.decode()
    assert Entry.objects.get(act=Act.SIGN_IN_REFUSED).details["reason"] == reason
    user.refresh_from_db()
    assert user.identity is None


def test_refusals_because_of_accounts_say_why(client, provider, settings):
    def words():
        response = sign_in_there(Client())
        assert response.status_code == 403
        return response.content.decode()

    ann, other = (make_user(name, email="ann@example.com") for name in ("ann", "other"))
    assert "Several accounts on this site have your e-mail address" in words()
    other.delete()
    ann.identity = "somebody else"
    ann.save()
    assert "linked to a different sign-in" in words()
    ann.delete()
    settings.OIDC_DOMAINS = {"example.com"}
    make_user("ann@example.com", email="")
    assert "as its user name" in words()
    get_user_model().objects.all().delete()
    Group.objects.get(name="Viewer").delete()
    assert "its group Viewer is missing" in words()


@pytest.mark.parametrize(("verified", "enters"), [(None, True), (False, False), ("false", False)])
def test_addresses_of_a_trusted_provider_count_as_verified(
    client, provider, settings, verified, enters
):
    make_user("ann", email="ann@example.com")
    settings.OIDC_VERIFIED_PROVIDERS = {settings.OIDC_ISSUER}
    provider.claims["email_verified"] = verified
    sign_in_there(client)
    assert is_in(client) == enters


# Two tabs


def test_the_first_of_two_tabs_leads_into_the_site_as_well(client, provider):
    make_user("ann", email="ann@example.com")
    provider.lies = {"auth_time": 1}
    first, second = go_there(client, "/conversations/?search=a"), go_there(client, ACCOUNT)
    assert client.get(second.removeprefix("http://testserver"))["Location"] == ACCOUNT
    answer = client.get(first.removeprefix("http://testserver"))
    assert answer["Location"] == "/conversations/?search=a"
    assert is_in(client)


def test_an_unknown_answer_leads_signed_in_people_into_the_site(client, provider):
    make_user("ann", email="ann@example.com")
    sign_in_there(client)
    assert client.get(CALLBACK, {"code": "x", "state": "gone"})["Location"] == "/conversations/"


def test_a_tab_of_somebody_else_changes_no_account(client, provider):
    user = make_user("ann", email="ann@example.com")
    user.set_unusable_password()
    user.save()
    first = go_there(client).removeprefix("http://testserver")
    sign_in_there(client)
    provider.claims = {"sub": "2", "email": "eve@example.com", **TRUE}
    response = client.get(first)
    assert response.status_code == 403
    assert "as a different user" in response.content.decode()
    assert client.session["_auth_user_id"] == str(user.pk)


def test_a_dotless_i_is_not_an_i(client, provider, settings):
    user = make_user("mike", email="mike@example.com")
    provider.claims["email"] = "mıke@example.com"
    assert_refused(client, sign_in_there(client))
    user.refresh_from_db()
    assert user.identity is None


def test_a_kelvin_sign_is_not_a_k(client, provider, settings):
    settings.OIDC_DOMAINS = {"kiosk.example"}
    user = make_user("kim", email="kim@kiosk.example")
    for email in ("\u212aim@kiosk.example", "kim@\u212aiosk.example", "tom@\u212aiosk.example"):
        provider.claims["email"] = email
        assert sign_in_there(client).status_code == 403
    user.refresh_from_db()
    assert user.identity is None
    assert get_user_model().objects.count() == 1


def test_without_the_group_for_newcomers_no_account_is_created(client, provider, settings, caplog):
    settings.OIDC_DOMAINS = {"example.com"}
    Group.objects.get(name="Viewer").delete()
    assert_refused(client, sign_in_there(client))
    assert not get_user_model().objects.exists()
    assert "there is no group Viewer" in caplog.text


def test_an_address_of_two_accounts_signs_nobody_in(client, provider):
    make_user("ann", email="ann@example.com")
    make_user("anna", email="ANN@example.com")
    assert_refused(client, sign_in_there(client))


def test_an_account_with_that_user_name_is_not_taken_over(client, provider, settings):
    settings.OIDC_DOMAINS = {"example.com"}
    make_user("ann@example.com", email="somebody@example.com")
    assert_refused(client, sign_in_there(client))


@pytest.mark.parametrize("known", [False, True])
def test_an_inactive_account_stays_out(client, provider, settings, known):
    settings.OIDC_DOMAINS = {"example.com"}
    user = make_user("ann", email="ann@example.com")
    if known:
        sign_in_there(Client())
        user.refresh_from_db()
        assert user.identity
    user.is_active = False
    user.save()
    response = sign_in_there(client)
    assert response.status_code == 403
    assert "This account is inactive" in response.content.decode()
    assert not is_in(client)


# Second factors and redirects


def test_a_second_factor_is_asked_for_as_well(client, provider):
    with_app(make_user("ann", email="ann@example.com"))
    assert sign_in_there(client, "/conversations/errors/")["Location"] == CODE
    assert not is_in(client)
    response = client.post(CODE, {"code": code()})
    assert response["Location"] == "/conversations/errors/"
    assert Entry.objects.get(act=Act.SIGNED_IN).details == {"how": "provider, totp"}


def test_admins_need_one(client, provider, settings):
    settings.REQUIRE_MFA = True
    make_user("ann", "Admin", email="ann@example.com")
    sign_in_there(client)
    assert client.get("/conversations/")["Location"] == ACCOUNT


@pytest.mark.parametrize("target", ELSEWHERE)
def test_the_provider_cannot_redirect_to_another_site(client, provider, target):
    make_user("ann", email="ann@example.com")
    assert_stays_here(sign_in_there(client, target))
    assert is_in(client)


# Forged and broken answers


@pytest.mark.parametrize(
    "lies",
    [
        {"aud": "another client"},
        {"aud": ["another client"]},
        {"aud": None},
        {"aud": "other", "azp": CLIENT},
        {"aud": ["x", "y"], "azp": CLIENT},
        {"aud": ["x", CLIENT], "azp": "x"},
        {"iss": "https://another.example"},
        {"iss": None},
        {"nonce": "another nonce"},
        {"nonce": None},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
    ],
    ids=str,
)
def test_a_token_for_another_site_or_sign_in_is_refused(client, provider, lies):
    make_user("ann", email="ann@example.com")
    provider.lies = lies
    assert_refused(client, sign_in_there(client))


@pytest.mark.parametrize(
    "more", [{"aud": [CLIENT]}, {"azp": CLIENT}, {"aud": ["x", CLIENT], "azp": CLIENT}], ids=str
)
def test_a_token_for_this_site_among_others_is_accepted(client, provider, more):
    make_user("ann", email="ann@example.com")
    provider.lies = more
    sign_in_there(client)
    assert is_in(client)


def test_a_token_that_somebody_else_signed_is_refused(client, provider):
    make_user("ann", email="ann@example.com")
    provider.signs_with = RSAKey.generate_key(2048, {"kid": "one", "alg": "RS256"})
    assert_refused(client, sign_in_there(client))


def test_no_token_is_no_sign_in(client, provider):
    make_user("ann", email="ann@example.com")
    provider.sends_id_token = False
    assert_refused(client, sign_in_there(client))


def test_another_state_is_refused(client, provider):
    make_user("ann", email="ann@example.com")
    address = urlsplit(go_there(client))
    granted = parse_qs(address.query)["code"][0]
    assert_refused(client, client.get(CALLBACK, {"code": granted, "state": "another"}), told=0)


def test_the_answer_to_somebody_elses_request_is_refused(client, provider):
    make_user("ann", email="ann@example.com")
    address = go_there(Client()).removeprefix("http://testserver")
    assert_refused(client, client.get(address), told=0)


def test_an_answer_works_once(client, provider):
    make_user("ann", email="ann@example.com")
    address = go_there(client).removeprefix("http://testserver")
    client.get(address)
    assert is_in(client)
    client.logout()
    assert client.get(address).status_code == 403


def test_a_code_without_its_verifier_is_refused(client, provider, rf):
    make_user("ann", email="ann@example.com")
    address = go_there(client).removeprefix("http://testserver")
    request, response = rf.get(START), HttpResponse()
    request.COOKIES[COOKIE] = client.cookies[COOKIE].value
    begun = json.loads(request.get_signed_cookie(COOKIE, salt=COOKIE))
    [each] = begun.values()
    each["data"]["code_verifier"] = "another" * 8
    response.set_signed_cookie(COOKIE, json.dumps(begun), salt=COOKIE)
    client.cookies[COOKIE] = response.cookies[COOKIE].value
    assert_refused(client, client.get(address))


def test_strangers_who_start_sign_ins_store_nothing(client, provider):
    for _ in range(9):
        assert client.get(START, {"next": "/conversations/" + "x" * 500}).status_code == 302
    assert not Session.objects.exists()
    cookie = client.cookies[COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", START)
    assert len(cookie.OutputString()) < 4_096


def test_sign_ins_started_elsewhere_or_altered_are_refused(client, provider):
    make_user("ann", email="ann@example.com")
    address = go_there(client).removeprefix("http://testserver")
    assert_refused(Client(), Client().get(address), told=0)
    client.cookies[COOKIE] = client.cookies[COOKIE].value.replace("{", "[", 1)
    assert_refused(client, client.get(address), told=0)


@pytest.mark.parametrize(
    "query", ["", "?code=x", "?state=x", "?error=access_denied&state=x", "?code=%00&state=%00"]
)
def test_a_callback_out_of_nowhere_is_refused(client, provider, query):
    for _ in range(50):
        assert_refused(client, client.get(CALLBACK + query), told=0)


def test_declining_at_the_provider_is_recorded(client, provider):
    state = parse_qs(urlsplit(client.get(START)["Location"]).query)["state"][0]
    assert_refused(client, client.get(CALLBACK, {"error": "access_denied", "state": state}))


def test_only_the_first_few_of_many_refusals_are_recorded(client, provider):
    for _ in range(6):
        assert sign_in_there(client).status_code == 403
    assert Entry.objects.filter(act=Act.SIGN_IN_REFUSED).count() == 5
    address = go_there(client).removeprefix("http://testserver")
    assert client.get(address, REMOTE_ADDR="192.0.2.7").status_code == 403
    assert Entry.objects.filter(act=Act.SIGN_IN_REFUSED).count() == 6


def test_a_provider_that_does_not_answer_is_a_503(client, provider, settings):
    settings.OIDC_ISSUER = "http://127.0.0.1:9"
    provider_client.cache_clear()
    response = client.get(START)
    assert response.status_code == 503
    assert "Example ID isn’t responding" in response.content.decode()


# The settings

GIVEN = {"OIDC_ISSUER": "https://id.example", "OIDC_CLIENT_ID": "a", "OIDC_CLIENT_SECRET": "b"}


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"OIDC_ISSUER": "https://id.example"}, "OIDC_ISSUER, OIDC_CLIENT_ID and"),
        ({"OIDC_CLIENT_ID": "a", "OIDC_CLIENT_SECRET": "b"}, "OIDC_ISSUER, OIDC_CLIENT_ID and"),
        ({**GIVEN, "OIDC_ISSUER": "id.example"}, "OIDC_ISSUER must begin with https://"),
        ({**GIVEN, "OIDC_ISSUER": "http://id.example"}, "OIDC_ISSUER must begin with https://"),
        ({"OIDC_DOMAINS": "example.com"}, "OIDC_DOMAINS needs OIDC_ISSUER"),
        (
            {**GIVEN, "OIDC_VERIFIED_PROVIDERS": "https://other.example"},
            "OIDC_VERIFIED_PROVIDERS may only name OIDC_ISSUER",
        ),
        ({**GIVEN, "OIDC_DOMAINS": "@example.com"}, "OIDC_DOMAINS must be like example.com"),
        ({**GIVEN, "OIDC_DOMAINS": "*"}, "OIDC_DOMAINS must be like example.com"),
        (
            {
                **GIVEN,
                "OIDC_ISSUER": "http://127.0.0.1:1",
                "SECRET_KEY": KEY,
                "ALLOWED_HOSTS": "a.example",
            },
            "OIDC_ISSUER must begin with https://",
        ),
    ],
)
def test_a_bad_setting_stops_the_start(environment, words):
    code, _, error = start(**environment)
    assert code == 1
    assert error.startswith(f"Settings: {words}")
