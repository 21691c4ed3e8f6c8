"""Signing in at an OpenID Connect provider, and who may enter that way."""

import json
import logging
import time
from copy import copy
from functools import cache

import requests
from allauth.account.internal.flows.login import record_authentication
from allauth.account.utils import perform_login
from allauth.core import context
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.django_client import OAuth
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.http import Http404
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from joserfc.errors import JoseError

from audit.models import Act
from audit.recording import record
from backoffice.databases.text import is_storable
from backoffice.error_pages import error_response

from .lockout import record_refusal
from .second_factors import asked_again

logger = logging.getLogger(__name__)

SECONDS = 10
# Seconds by which its clock may differ from ours.
LEEWAY = 120
COOKIE = "provider_sign_ins"
COOKIE_SECONDS = 3600
# Letters; browsers take cookies of 4,096 bytes.
LONGEST_COOKIE = 2_500
LONGEST_TARGET = 1_000
# The group of people admitted by their domain alone.
NEWCOMERS = "Viewer"


@cache
def client():
    return OAuth().register(
        "provider",
        client_id=settings.OIDC_CLIENT_ID,
        client_secret=settings.OIDC_CLIENT_SECRET,
        server_metadata_url=f"{settings.OIDC_ISSUER}/.well-known/openid-configuration",
        client_kwargs={
            "scope": "openid email profile",
            "code_challenge_method": "S256",
            "default_timeout": SECONDS,
        },
    )


@login_not_required
def start(request):
    if not settings.OIDC_ISSUER:
        raise Http404
    again = {}
    if request.user.is_authenticated:
        if asked_again(request.user):
            return redirect(settings.LOGIN_REDIRECT_URL)
        again["max_age"] = settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
    target = request.GET.get("next", "")
    safe = url_has_allowed_host_and_scheme(target, {request.get_host()}, request.is_secure())
    back = request.build_absolute_uri(reverse("provider_callback"))
    try:
        begun = client().create_authorization_url(back, **again)
    except (requests.RequestException, RuntimeError, ValueError):
        return no_answer(request)
    response = redirect(begun.pop("url"))
    target = target if safe and len(target) <= LONGEST_TARGET else ""
    asked = with_sign_ins(request)
    # Kept by state: each tab that begins a sign-in leads to its own page.
    client().save_authorize_data(asked, redirect_uri=back, next=target, again=bool(again), **begun)
    keep(response, asked.session)
    return response


def with_sign_ins(request):
    """
    A request for Authlib with the sign-ins that this browser has begun. They wait in a signed
    cookie: in a session, each stranger who begins one would add a row to our database.
    """
    text = request.get_signed_cookie(COOKIE, default="{}", salt=COOKIE, max_age=COOKIE_SECONDS)
    asked = copy(request)
    asked.session = json.loads(text)
    return asked


def keep(response, begun: dict):
    """The newest, as many as a cookie holds."""
    newest = sorted(begun.items(), key=lambda each: each[1]["exp"])
    while len(text := json.dumps(dict(newest))) > LONGEST_COOKIE:
        newest = newest[1:]
    response.set_signed_cookie(
        COOKIE,
        text,
        salt=COOKIE,
        max_age=COOKIE_SECONDS,
        path=reverse("provider"),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        # The provider's page leads back.
        samesite="Lax",
    )


@login_not_required
def callback(request):
    if not settings.OIDC_ISSUER:
        raise Http404
    asked = with_sign_ins(request)
    response = entered(request, asked)
    keep(response, asked.session)
    return response


def entered(request, asked):
    issuer = settings.OIDC_ISSUER
    # Authlib does not check the state of an error answer.
    begun = client().framework.get_state_data(asked.session, request.GET.get("state"))
    if not begun and request.user.is_authenticated:
        # Begun before the session that another tab has signed in.
        return redirect(settings.LOGIN_REDIRECT_URL)
    try:
        token = client().authorize_access_token(
            asked,
            claims_options={
                "iss": {"essential": True, "values": [issuer, f"{issuer}/"]},
                "sub": {"essential": True},
                # Without it, Authlib is satisfied if only the azp is ours.
                "aud": {"essential": True, "value": settings.OIDC_CLIENT_ID},
            },
        )
        claims = token["userinfo"]
        check_subject(claims)
        if request.user.is_authenticated:
            return signed_in_already(request, claims, begun)
        if not is_known(claims):
            claims = with_user_info(token, claims)
    except requests.RequestException:
        return no_answer(request)
    except (AuthlibBaseError, JoseError, ValueError, KeyError, TypeError):
        return refused(
            request,
            "the answer was not valid" if begun else None,
            "The sign-in was not completed there, or took too long. Start again.",
        )
    try:
        try:
            user = admitted(claims)
        except IntegrityError:
            # The same person signed in from two windows.
            user = admitted(claims)
    except NotAdmitted as error:
        return refused(request, *error.args)
    record_authentication(request, user, "provider")
    return perform_login(request, user, redirect_url=begun["next"] or None)


def signed_in_already(request, claims: dict, begun: dict):
    """
    Users with no password or code to ask for here reauthenticate at the provider. Who signed in
    twice at once, from two tabs, enters with the second as well.
    """
    target = begun["next"] or settings.LOGIN_REDIRECT_URL
    if asked_again(request.user):
        return redirect(target)
    if identity_of(claims) != request.user.identity:
        return refused(
            request,
            "somebody else",
            "You are signed in here as somebody else. Sign out here first.",
        )
    if not begun["again"]:
        return redirect(target)
    # Providers that do not know max_age send no auth_time either.
    oldest = time.time() - settings.ACCOUNT_REAUTHENTICATION_TIMEOUT - LEEWAY
    if claims.get("auth_time", oldest) < oldest:
        return refused(
            request,
            "signed in too long ago",
            "You signed in there a while ago, and were not asked again. Sign out there first.",
        )
    record_authentication(request, request.user, "provider", reauthenticated=True)
    return redirect(target)


def identity_of(claims: dict) -> str:
    return f"{claims['iss'].rstrip('/')} {claims['sub']}"


def check_subject(claims: dict):
    """Raises a ValueError where it tells nobody apart, or cannot be stored."""
    subject = claims["sub"]
    if not subject.strip() or not is_storable(subject):
        raise ValueError("The subject is no usable name.")


def is_known(claims: dict) -> bool:
    return get_user_model().objects.filter(identity=identity_of(claims)).exists()


class NotAdmitted(Exception):
    """The arguments are the reason, for the audit trail, and what the page says."""


def with_user_info(token: dict, claims: dict) -> dict:
    """
    The claims, completed by UserInfo where they leave open whether the address is verified: some
    providers put neither address nor verification into the ID token.
    """
    if claims.get("email") and isinstance(claims.get("email_verified"), bool):
        return claims
    if not client().load_server_metadata().get("userinfo_endpoint"):
        return claims
    found = client().userinfo(token=token)
    if found.get("sub") != claims["sub"]:
        raise ValueError("UserInfo is about somebody else.")
    email, verified = claims.get("email"), claims.get("email_verified")
    if not email or same_address(email, found.get("email")):
        # Either may refuse.
        told = [each for each in (verified, found.get("email_verified")) if each is not None]
        verified = next((each for each in told if not is_true(each)), told[0] if told else None)
        email = email or found.get("email")
    return {**claims, "email": email, "email_verified": verified}


def same_address(one, other) -> bool:
    return isinstance(one, str) and isinstance(other, str) and one.lower() == other.lower()


def is_true(claim) -> bool:
    """Some providers send texts; "false" is truthy."""
    return claim is True or (isinstance(claim, str) and claim.lower() == "true")


def verified_address(claims: dict) -> str:
    email, verified = claims.get("email"), claims.get("email_verified")
    if not email:
        raise NotAdmitted(
            "no address",
            "It did not tell your e-mail address. Your account there may have none, or whoever "
            "runs the provider must allow this site to read it.",
        )
    if not isinstance(email, str) or not is_address(email):
        raise NotAdmitted(
            "not an address", "What it told as your e-mail address is none that this site can use."
        )
    if verified is None and settings.OIDC_ISSUER not in settings.OIDC_VERIFIED_PROVIDERS:
        raise NotAdmitted(
            "verification not told",
            "It does not tell whether your e-mail address is verified. Whoever runs this site can "
            "decide that addresses of this provider count as verified.",
        )
    if verified is not None and not is_true(verified):
        raise NotAdmitted(
            "address not verified",
            "Your e-mail address is not verified there. Verify it there, then sign in again.",
        )
    return email


def admitted(claims: dict):
    """
    The account for the provider's claims: the one that has entered as this identity before, else
    the one that an admin has given the address, else, if the address's domain is trusted, a new
    one. Raises NotAdmitted if they may not enter.
    """
    users = get_user_model().objects
    identity = identity_of(claims)
    if user := users.filter(identity=identity).first():
        return user
    email = verified_address(claims)
    with transaction.atomic():
        # The database takes a dotless i for an i.
        similar = users.select_for_update().filter(email__iexact=email)
        invited = [user for user in similar if user.email.lower() == email.lower()]
        if invited:
            [user, *others] = invited
            if others:
                raise NotAdmitted(
                    "several accounts",
                    "Several accounts here have your e-mail address. Ask someone with the Admin "
                    "role to leave it in one.",
                )
            if user.identity:
                raise NotAdmitted(
                    "another identity",
                    "The account here with your e-mail address belongs to another sign-in there. "
                    "Ask someone with the Admin role.",
                )
            user.identity = identity
            user.save(update_fields=["identity"])
            record_account(user, before={"identity": False}, after={"identity": True})
            return user
        if email.rpartition("@")[2].lower() not in settings.OIDC_DOMAINS:
            raise NotAdmitted(
                "not invited",
                "You signed in there, but have no account here. Ask someone with the Admin role to "
                "add your e-mail address to one.",
            )
        if len(email) > 150:
            raise NotAdmitted("address too long", "Your e-mail address is too long for this site.")
        if users.filter(username=email).exists():
            raise NotAdmitted(
                "name taken",
                "An account here has your e-mail address as its user name, but not as its "
                "address. Ask someone with the Admin role.",
            )
        newcomers = Group.objects.filter(name=NEWCOMERS).first()
        if newcomers is None:
            logger.error("No new account was created: there is no group %s.", NEWCOMERS)
            raise NotAdmitted(
                "no group for newcomers",
                f"This site cannot add an account for you: its group {NEWCOMERS} is missing. Tell "
                "whoever runs it.",
            )
        user = users.create_user(email, email, identity=identity)
        user.groups.add(newcomers)
        record_account(user, before=None, after=user.told())
        return user


def record_account(user, **change):
    details = {"table": user._meta.db_table, "row": user.get_username(), "how": "provider"}
    record(context.request, Act.EDITED, **details, **change)


def is_address(email) -> bool:
    try:
        validate_email(email)
    except ValidationError:
        return False
    # Django's regular expression takes a Kelvin sign for a k, and so does lower().
    return isinstance(email, str) and email.isascii()


def refused(request, reason: str | None, text: str):
    """Without a reason, it was no sign-in begun here and is not in the audit trail."""
    if reason:
        record_refusal(request, how="provider", reason=reason)
    return error_response(request, 403, f"{settings.OIDC_NAME} did not sign you in", text)


def no_answer(request):
    return error_response(
        request,
        503,
        f"{settings.OIDC_NAME} does not answer",
        "Try again in a moment, or sign in with a password.",
    )
