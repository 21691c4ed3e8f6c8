"""Users with neither a password nor a factor here reauthenticate at the provider."""

import time

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth import get_user_model

from accounts import adapters
from audit.models import Act, Entry

from ..support.oidc_provider import START, sign_in_there
from ..support.signing_in import is_in, let_in, make_user

pytestmark = pytest.mark.django_db

CHANGES = ["/accounts/app/add/", "/accounts/passkeys/add/"]


@pytest.fixture
def later(monkeypatch):
    class Later:
        @staticmethod
        def time():
            return time.time() + 601

    monkeypatch.setattr(adapters, "time", Later)


@pytest.fixture
def ann(client, provider, settings):
    settings.OIDC_DOMAINS = {"example.com"}
    sign_in_there(client)
    return get_user_model().objects.get(username="ann@example.com")


def answer(client, location):
    """The response after going to the provider and back."""
    return sign_in_there(client, location.partition("next=")[2].replace("%2F", "/"))


@pytest.mark.parametrize("path", CHANGES)
def test_shortly_after_signing_in_nobody_is_asked_again(client, ann, path):
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("method", ["get", "post"])
def test_after_a_while_the_provider_asks_again(client, ann, later, path, method, monkeypatch):
    response = getattr(client, method)(path)
    assert response["Location"].startswith(f"{START}?next=")
    assert not Authenticator.objects.exists()
    assert "max_age=600" in client.get(START)["Location"]
    assert answer(client, response["Location"])["Location"] == path
    monkeypatch.undo()
    session = client.session
    assert session["account_authentication_methods"][-1]["reauthenticated"]
    session["account_authentication_methods"][0]["at"] -= 3600
    session.save()
    assert client.get(path).status_code == 200


def test_admins_who_must_add_a_factor_reauthenticate_at_the_provider_too(
    client, ann, later, settings
):
    settings.REQUIRE_MFA = True
    ann.is_superuser = True
    ann.save()
    response = client.get(CHANGES[0])
    assert answer(client, response["Location"])["Location"] == CHANGES[0]


def test_reauthenticating_as_somebody_else_is_refused(client, ann, later, provider):
    before = client.session["account_authentication_methods"]
    provider.claims = {"sub": "2", "email": "bob@example.com", "email_verified": True}
    response = answer(client, client.get(CHANGES[0])["Location"])
    assert response.status_code == 403
    assert Entry.objects.get(act=Act.SIGN_IN_REFUSED).details["reason"] == "somebody else"
    assert client.session["account_authentication_methods"] == before
    assert not get_user_model().objects.filter(email="bob@example.com").exists()
    assert is_in(client)


@pytest.mark.parametrize("auth_time", [1, "now", None, []])
def test_an_old_sign_in_at_the_provider_does_not_count(client, ann, later, provider, auth_time):
    provider.lies = {"auth_time": auth_time}
    response = answer(client, client.get(CHANGES[0])["Location"])
    assert response.status_code == (302 if auth_time is None else 403)


def test_without_a_provider_the_user_has_to_sign_in_again(client, later):
    user = make_user()
    user.set_unusable_password()
    user.save()
    let_in(client, user)
    for path in CHANGES:
        response = client.get(path)
        assert response.status_code == 403
        assert "You signed in a while ago" in response.content.decode()


def test_users_with_a_password_do_not_reauthenticate_at_the_provider(client, ann, later):
    ann.set_password("correct horse battery")
    ann.save()
    let_in(client, ann)
    assert client.get(CHANGES[0])["Location"].startswith("/accounts/again/")
    assert client.get(START)["Location"] == "/conversations/"
