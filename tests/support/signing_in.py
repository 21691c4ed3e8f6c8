"""Signs in with the test client, as people do in a browser."""

import time
from types import SimpleNamespace

from allauth.account.internal.flows.login import record_authentication
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from allauth.mfa.totp.internal.auth import TOTP
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client

LOGIN = "/accounts/login/"
CODE = "/accounts/login/code/"
ACCOUNT = "/accounts/"
PASSWORD = "correct horse battery"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
WRONG = "000000"


def make_user(name="alice", group="Support", password=PASSWORD, **fields):
    user = get_user_model().objects.create_user(name, password=password, **fields)
    if group:
        user.groups.add(Group.objects.get(name=group))
    return user


def with_app(user):
    TOTP.activate(user, SECRET)
    RecoveryCodes.activate(user)
    return user


def recovery_codes(user):
    codes = Authenticator.objects.get(user=user, type="recovery_codes")
    return codes.wrap().get_unused_codes()


def code(secret=SECRET, later=0):
    counter = int(time.time()) // 30 + later
    return totp.format_hotp_value(totp.hotp_value(secret, counter))


def sign_in(client, name="alice", password=PASSWORD, next="", **extra):
    form = {"username": name, "password": password, "next": next}
    return client.post(LOGIN, form, **extra)


def let_in(client, user):
    """Sign the user in directly, as if they had just signed in."""
    client.force_login(user)
    request = SimpleNamespace(session=client.session)
    record_authentication(request, user, "test")
    request.session.save()


def cookie_of(user) -> str:
    """The cookie of a new session of this user, as a browser sends it."""
    client = Client()
    let_in(client, user)
    name = settings.SESSION_COOKIE_NAME
    return f"{name}={client.cookies[name].value}"


def is_in(client) -> bool:
    return client.get("/conversations/").status_code == 200
