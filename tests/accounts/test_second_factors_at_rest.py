"""Reading the database reveals nobody's second factor; and what happens with a new SECRET_KEY."""

import secrets
from io import StringIO

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.core.management import call_command
from django.db import connection

from ..support.signing_in import (
    CODE,
    SECRET,
    code,
    is_in,
    make_user,
    recovery_codes,
    sign_in,
    with_app,
)

pytestmark = pytest.mark.django_db


def stored() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(data::text, ' ') FROM mfa_authenticator")
        return cursor.fetchone()[0]


def new_key(settings, *fallbacks):
    old, settings.SECRET_KEY = settings.SECRET_KEY, secrets.token_urlsafe(50)
    settings.SECRET_KEY_FALLBACKS = list(fallbacks)
    return old


def enter(client, typed):
    client.logout()
    sign_in(client)
    return client.post(CODE, {"code": typed})


def encrypt_all() -> str:
    out = StringIO()
    call_command("encrypt_second_factors", stdout=out)
    return out.getvalue()


def test_the_database_contains_no_secret(client, monkeypatch):
    monkeypatch.setattr(RecoveryCodes, "generate_seed", lambda: "5eed" * 20)
    user = with_app(make_user())
    assert SECRET not in stored()
    assert "5eed" not in stored()
    assert stored().count("gAAAA") == 2
    assert enter(client, code()).status_code == 302
    assert is_in(client)
    assert enter(client, recovery_codes(user)[0]).status_code == 302
    assert is_in(client)


def test_unencrypted_factors_still_work_and_the_command_encrypts_them(client):
    user = with_app(make_user())
    kept = Authenticator.objects.get(user=user, type="totp")
    kept.data = {"secret": SECRET}
    kept.save()
    assert enter(client, code(later=-1)).status_code == 302
    assert SECRET in stored()
    assert encrypt_all() == "2 encrypted with SECRET_KEY.\n"
    assert SECRET not in stored()
    assert enter(client, code()).status_code == 302
    # Other data of the factor is kept.
    assert Authenticator.objects.get(user=user, type="totp").data["last_counter"]


def test_factors_encrypted_with_a_fallback_key_still_work(client, settings):
    user = with_app(make_user())
    codes = recovery_codes(user)
    settings.SECRET_KEY_FALLBACKS = [new_key(settings)]
    assert recovery_codes(user) == codes
    assert enter(client, code(later=-1)).status_code == 302
    encrypt_all()
    settings.SECRET_KEY_FALLBACKS = []
    assert recovery_codes(user) == codes
    assert enter(client, code()).status_code == 302


def test_without_the_key_nobody_signs_in_and_the_page_says_why(client, settings, caplog):
    with_app(make_user())
    new_key(settings)
    for typed in (code(), "000000", "x"):
        response = enter(client, typed)
        assert response.status_code == 503
        assert "Your second factor can’t be checked" in response.content.decode()
        assert not is_in(client)
    assert "another SECRET_KEY encrypted it" in caplog.text
    assert "2 cannot be read" in encrypt_all()
    call_command("reset_second_factors", "alice")
    sign_in(client)
    assert is_in(client)
