"""Authenticator apps, recovery codes and passkeys: using, requiring and resetting them."""

import json
import re
import time
from types import SimpleNamespace

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client
from django.urls import reverse

from accounts import adapters
from audit.models import Act, Entry

from ..support.signing_in import (
    ACCOUNT,
    CODE,
    LOGIN,
    PASSWORD,
    WRONG,
    code,
    is_in,
    let_in,
    make_user,
    recovery_codes,
    sign_in,
    with_app,
)

pytestmark = pytest.mark.django_db

ADD_APP = "/accounts/app/add/"
PASSKEY = "/accounts/login/passkey/"


@pytest.fixture
def required(settings):
    settings.REQUIRE_MFA = True


@pytest.fixture
def add_app(monkeypatch):
    # Run these calls at once, because the test's own transaction is never committed.
    monkeypatch.setattr(transaction, "on_commit", lambda call, **options: call())

    def add(client):
        page = client.get(ADD_APP).content.decode()
        secret = re.search(r'class="key">([A-Z2-7]+)<', page)[1]
        return client.post(ADD_APP, {"code": code(secret)}), secret

    return add


def factors(user):
    return set(Authenticator.objects.filter(user=user).values_list("type", flat=True))


def test_an_added_app_is_required_from_then_on(client, add_app):
    user = make_user()
    sign_in(client)
    response, secret = add_app(client)
    assert response["Location"] == "/accounts/codes/"
    shown = re.findall(r'class="key">(\w+)<', client.get("/accounts/codes/").content.decode())
    assert len(shown) == 10
    assert factors(user) == {"totp", "recovery_codes"}
    added = Entry.objects.filter(act=Act.FACTOR_ADDED).values_list("details__factor", flat=True)
    assert set(added) == {"totp", "recovery_codes"}

    other = Client()
    assert sign_in(other)["Location"] == CODE
    assert not is_in(other)
    assert other.post(CODE, {"code": WRONG}).status_code == 200
    assert not is_in(other)
    assert other.post(CODE, {"code": code(secret)}).status_code == 302
    assert is_in(other)


def test_adding_an_app_ends_the_other_sessions(client, add_app):
    other = Client()
    make_user()
    sign_in(client)
    sign_in(other)
    add_app(client)
    assert is_in(client)
    assert not is_in(other)


def test_a_wrong_code_adds_nothing(client):
    user = make_user()
    sign_in(client)
    client.get(ADD_APP)
    assert "Incorrect code" in client.post(ADD_APP, {"code": WRONG}).content.decode()
    assert factors(user) == set()


def test_a_recovery_code_works_once(client):
    user = with_app(make_user())
    typed = recovery_codes(user)[0]
    sign_in(client)
    assert client.post(CODE, {"code": typed}).status_code == 302
    assert is_in(client)
    other = Client()
    sign_in(other)
    assert other.post(CODE, {"code": typed}).status_code == 200
    assert not is_in(other)
    assert Entry.objects.get(act=Act.SIGNED_IN).details["how"] == "password, recovery_codes"


@pytest.mark.parametrize("later", [-1, 0, 1])
def test_a_code_may_be_half_a_minute_off(client, later):
    with_app(make_user())
    sign_in(client)
    assert client.post(CODE, {"code": code(later=later)}).status_code == 302


@pytest.mark.parametrize("later", [-3, 3])
def test_a_code_that_is_further_off_is_refused(client, later):
    with_app(make_user())
    sign_in(client)
    assert client.post(CODE, {"code": code(later=later)}).status_code == 200


def test_an_older_code_is_refused_after_a_newer_one(client):
    with_app(make_user())
    sign_in(client)
    client.post(CODE, {"code": code(later=1)})
    other = Client()
    sign_in(other)
    assert other.post(CODE, {"code": code()}).status_code == 200
    assert not is_in(other)


@pytest.mark.parametrize(
    "typed", ["", " ", "x" * 10_000, "１２３４５６", "0\x00", "'; --", "\u202e"]
)
def test_whatever_is_typed_as_a_code_breaks_nothing(client, typed):
    with_app(make_user())
    sign_in(client)
    assert client.post(CODE, {"code": typed}).status_code == 200
    assert not is_in(client)


def test_a_code_without_a_password_first_does_nothing(client):
    assert client.get(CODE)["Location"] == LOGIN
    assert client.post(CODE, {"code": WRONG})["Location"] == LOGIN


def test_a_code_only_works_for_its_own_account(client):
    with_app(make_user())
    with_app(make_user("bob", "Admin"))
    sign_in(client)
    sign_in(client, "bob", "wrong")
    client.post(CODE, {"code": code()})
    assert (
        Entry.objects.filter(act=Act.SIGNED_IN).values_list("username", flat=True).get() == "alice"
    )


def test_removing_the_app_is_recorded(client):
    user = with_app(make_user())
    sign_in(client)
    client.post(CODE, {"code": code()})
    assert client.get("/accounts/app/remove/").status_code == 200
    assert client.post("/accounts/app/remove/")["Location"] == ACCOUNT
    assert factors(user) == set()
    assert is_in(client)
    removed = Entry.objects.filter(act=Act.FACTOR_REMOVED)
    assert set(removed.values_list("details__factor", flat=True)) == {"totp", "recovery_codes"}


@pytest.mark.parametrize("path", ["app/remove/", "codes/", "codes/new/"])
def test_after_ten_minutes_the_user_must_reauthenticate(client, path, monkeypatch):
    user = with_app(make_user())
    sign_in(client)
    client.post(CODE, {"code": code()})
    path = f"/accounts/{path}"
    assert client.get(path).status_code == 200

    class Later:
        @staticmethod
        def time():
            return time.time() + 601

    monkeypatch.setattr(adapters, "time", Later)
    asked = client.get(path)["Location"]
    assert asked.startswith("/accounts/again/")
    assert factors(user) == {"totp", "recovery_codes"}
    assert client.post("/accounts/again/", {"password": "wrong"}).status_code == 200
    monkeypatch.undo()
    assert client.post("/accounts/again/", {"password": PASSWORD, "next": path}).status_code == 302


@pytest.mark.parametrize("password", [PASSWORD, None])
def test_passkey_owners_reauthenticate_in_another_way(client, monkeypatch, password):
    user = make_user()
    sign_in(client)
    user.set_password(password)
    user.save()
    let_in(client, user)
    Authenticator.objects.create(user=user, type="webauthn", data={"name": "Mine"})
    late = SimpleNamespace(time=lambda: time.time() + 601)
    monkeypatch.setattr(adapters, "time", late)
    answer = client.get("/accounts/app/add/")
    if password:
        assert answer["Location"].startswith("/accounts/again/")
        page = client.get(answer["Location"])
        assert page.status_code == 200
        assert "passkey" not in page.content.decode().lower()
    else:
        assert answer.status_code == 403
        assert "Please sign in again" in answer.content.decode()
    for path in ("again/", "again/code/"):
        assert client.get(f"/accounts/{path}").status_code < 500


def test_nobody_touches_anothers_passkey(client, support_client):
    other = make_user()
    key = Authenticator.objects.create(user=other, type="webauthn", data={"name": "Hers"})
    assert support_client.get(f"/accounts/passkeys/{key.pk}/remove/").status_code == 404
    assert support_client.post(f"/accounts/passkeys/{key.pk}/remove/").status_code == 404
    assert factors(other) == {"webauthn"}


@pytest.mark.parametrize(
    "credential",
    [
        *("", "{}", "[]", "null", "1", '"x"', "not json", "{" * 5000, "[" * 100_000),
        *('{"id": "x"}', '{"id": 1}', '{"response": "x"}', '{"id": "x", "rawId": []}', "NaN"),
        *('{"a": ' * 20_000, '["\\ud800"]', '{"id": "\\u0000", "rawId": "%", "response": [1]}'),
        json.dumps({"id": "AA", "rawId": "AA", "type": "public-key", "response": {}}),
        json.dumps(
            {
                "id": "AA",
                "rawId": "AA",
                "type": "public-key",
                "response": {
                    "clientDataJSON": "e30",
                    "authenticatorData": "AA",
                    "signature": "AA",
                    "userHandle": "AA",
                },
            }
        ),
    ],
)
def test_a_made_up_passkey_is_refused(client, credential):
    make_user()
    client.get(PASSKEY, headers={"Accept": "application/json"})
    response = client.post(PASSKEY, {"credential": credential})
    assert response["Location"] == LOGIN
    assert "registered on this site" in client.get(LOGIN).content.decode()
    assert Entry.objects.get().act == Act.SIGN_IN_REFUSED
    assert not is_in(client)


@pytest.mark.parametrize("credential", ['{"id": "x"}', "[" * 100_000, "{}", '{"id": "AA"}', "1"])
def test_a_made_up_passkey_is_not_added(client, credential):
    user = make_user()
    let_in(client, user)
    add = reverse("mfa_add_webauthn")
    client.get(add)
    response = client.post(add, {"credential": credential, "name": "x"})
    assert response.status_code == 200
    assert response.context["form"].errors
    assert not Authenticator.objects.exists()


def test_strangers_who_request_challenges_store_nothing(client):
    for _ in range(3):
        response = client.get(PASSKEY, headers={"Accept": "application/json"})
        assert response.json()["request_options"]["publicKey"]["challenge"]
    assert not Session.objects.exists()
    cookie = response.cookies["passkey_challenge"]
    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (True, "Strict", 300)
    client.post(PASSKEY, {"credential": "{}"})
    assert not Session.objects.exists()
    assert not client.cookies["passkey_challenge"].value


def test_only_the_first_few_of_many_made_up_passkeys_are_recorded(client):
    for _ in range(50):
        assert client.post(PASSKEY, {"credential": "{}"})["Location"] == LOGIN
    assert Entry.objects.filter(act=Act.SIGN_IN_REFUSED).count() == 5


# Required of admins


@pytest.mark.parametrize("who", ["admin", "superuser", "permission"])
def test_admins_must_add_a_second_factor_first(client, required, django_user_model, who, add_app):
    if who == "admin":
        user = make_user("admin", "Admin", None)
    elif who == "superuser":
        user = django_user_model.objects.create_superuser("boss")
    else:
        user = make_user("support", password=None)
        user.user_permissions.add(Permission.objects.get(codename="use_admin"))
    let_in(client, user)
    for path in ("/", "/conversations/", "/admin/", "/admin/accounts/user/", "/accounts/password/"):
        assert client.get(path)["Location"] == ACCOUNT, path
    assert client.post("/accounts/logout/everywhere/")["Location"] == ACCOUNT
    fragment = client.get("/conversations/", headers={"HX-Request": "true"})
    assert fragment["HX-Redirect"] == ACCOUNT
    assert "Admins need a second factor here" in client.get(ACCOUNT).content.decode()
    add_app(client)
    for path in ("/conversations/", "/admin/"):
        assert client.get(path).status_code == 200, path
    assert "Admins need" not in client.get(ACCOUNT).content.decode()


def test_admins_with_a_second_factor_get_everything(client, required):
    with_app(make_user("boss", "Admin"))
    sign_in(client, "boss", next="/admin/")
    assert client.get("/admin/", follow=True).redirect_chain[-1][0].startswith(LOGIN)
    sign_in(client, "boss", next="/admin/")
    assert client.post(CODE, {"code": code()})["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200


def test_admins_who_remove_their_last_factor_must_add_one_again(client, required):
    with_app(make_user("boss", "Admin"))
    sign_in(client, "boss")
    client.post(CODE, {"code": code()})
    client.post("/accounts/app/remove/")
    assert client.get("/conversations/")["Location"] == ACCOUNT


def test_new_admins_need_a_factor_at_their_next_request(client, required, support_client):
    assert is_in(support_client)
    user = get_user_model().objects.get(username="support")
    user.groups.add(Group.objects.get(name="Admin"))
    assert support_client.get("/conversations/")["Location"] == ACCOUNT


def test_other_roles_need_no_second_factor(support_client, required):
    assert is_in(support_client)


def test_without_the_setting_admins_need_no_second_factor(admin_client):
    assert admin_client.get("/admin/").status_code == 200


# Lost


def test_the_command_removes_factors_and_sessions_and_records_it(client, capsys):
    user = with_app(make_user())
    sign_in(client)
    client.post(CODE, {"code": code()})
    call_command("reset_second_factors", "alice")
    assert factors(user) == set()
    assert not is_in(client)
    entry = Entry.objects.filter(act=Act.FACTOR_REMOVED)[0]
    assert (entry.username, entry.details["account"]) == ("system", "alice")
    assert entry.reason == "manage.py reset_second_factors"
    assert sign_in(client)["Location"] == "/conversations/"
    with pytest.raises(CommandError, match="no account 'nobody'"):
        call_command("reset_second_factors", "nobody")


def test_an_admin_can_do_the_same_in_the_panel(admin_client):
    user = with_app(make_user())
    form = {"action": "reset_second_factors", "_selected_action": [user.pk]}
    admin_client.post("/admin/accounts/user/", form)
    assert factors(user) == set()
    entry = Entry.objects.filter(act=Act.FACTOR_REMOVED)[0]
    assert (entry.username, entry.details["account"]) == ("admin", "alice")


def test_the_panel_shows_no_secrets(admin_client):
    with_app(make_user())
    assert "Authenticator" not in admin_client.get("/admin/").content.decode()
    for path in ("/admin/mfa/authenticator/", "/admin/account/emailaddress/"):
        assert admin_client.get(path).status_code == 404
