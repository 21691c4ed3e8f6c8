"""Signing in through an OpenID Connect provider, and who may do so."""

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
from .second_factors import reauthentication_methods

logger = logging.getLogger(__name__)

SECONDS = 10
# How many seconds the provider's clock may differ from ours.
LEEWAY = 120
COOKIE = "provider_sign_ins"
COOKIE_SECONDS = 3600
# In characters. Browsers accept cookies of up to 4,096 bytes.
LONGEST_COOKIE = 2_500
LONGEST_TARGET = 1_000
# The group for people who are admitted because of their e-mail domain.
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
        if reauthentication_methods(request.user):
            return redirect(settings.LOGIN_REDIRECT_URL)
        again["max_age"] = settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
    target = request.GET.get("next", "")
    safe = url_has_allowed_host_and_scheme(target, {request.get_host()}, request.is_secure())
    back = request.build_absolute_uri(reverse("provider_callback"))
    try:
        started = client().create_authorization_url(back, **again)
    except (requests.RequestException, RuntimeError, ValueError):
        return no_answer(request)
    response = redirect(started.pop("url"))
    target = target if safe and len(target) <= LONGEST_TARGET else ""
    pending = with_started_sign_ins(request)
    # Stored under its state, so that several tabs can each finish their own sign-in.
    client().save_authorize_data(
        pending, redirect_uri=back, next=target, again=bool(again), **started
    )
    store_started(response, pending.session)
    return response


def with_started_sign_ins(request):
    """
    A copy of the request for Authlib, whose session holds the sign-ins that this browser has
    started. They are kept in a signed cookie: if they were kept in a session, every visitor who
    starts one would add a row to our database.
    """
    text = request.get_signed_cookie(COOKIE, default="{}", salt=COOKIE, max_age=COOKIE_SECONDS)
    pending = copy(request)
    pending.session = json.loads(text)
    return pending


def store_started(response, started: dict):
    """Store the newest started sign-ins, as many as fit into a cookie."""
    newest = sorted(started.items(), key=lambda each: each[1]["exp"])
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
        # "Strict" would hold the cookie back when the provider's page redirects here.
        samesite="Lax",
    )


@login_not_required
def callback(request):
    if not settings.OIDC_ISSUER:
        raise Http404
    pending = with_started_sign_ins(request)
    response = answer_of(request, pending)
    store_started(response, pending.session)
    return response


def answer_of(request, pending):
    issuer = settings.OIDC_ISSUER
    # Looked up here because Authlib does not check the state when the provider reports an error.
    started = client().framework.get_state_data(pending.session, request.GET.get("state"))
    if not started and request.user.is_authenticated:
        # The sign-in was started earlier, and another tab has signed in since.
        return redirect(settings.LOGIN_REDIRECT_URL)
    try:
        token = client().authorize_access_token(
            pending,
            claims_options={
                "iss": {"essential": True, "values": [issuer, f"{issuer}/"]},
                "sub": {"essential": True},
                # Without this, Authlib accepts a token whose azp is ours but whose aud is not.
                "aud": {"essential": True, "value": settings.OIDC_CLIENT_ID},
            },
        )
        claims = token["userinfo"]
        check_subject(claims)
        if request.user.is_authenticated:
            return signed_in_already(request, claims, started)
        if not is_known(claims):
            claims = with_user_info(token, claims)
    except requests.RequestException:
        return no_answer(request)
    except (AuthlibBaseError, JoseError, ValueError, KeyError, TypeError):
        return refused(
            request,
            "the answer was not valid" if started else None,
            "The sign-in wasn’t completed, or it took too long. Please start again.",
        )
    try:
        try:
            user = admitted(claims)
        except IntegrityError:
            # The same person was signing in from two windows. The account exists now.
            user = admitted(claims)
    except NotAdmitted as error:
        return refused(request, *error.args)
    record_authentication(request, user, "provider")
    return perform_login(request, user, redirect_url=started["next"] or None)


def signed_in_already(request, claims: dict, started: dict):
    """
    Handle the answer of a user who is already signed in. Either they came to reauthenticate,
    because they have no password or code here, or they signed in from two tabs at once.
    """
    target = started["next"] or settings.LOGIN_REDIRECT_URL
    if reauthentication_methods(request.user):
        return redirect(target)
    if identity_of(claims) != request.user.identity:
        return refused(
            request,
            "somebody else",
            "You are signed in to this site as a different user. Sign out of this site first.",
        )
    if not started["again"]:
        return redirect(target)
    # A provider that does not support max_age sends no auth_time either; then we let it pass.
    oldest = time.time() - settings.ACCOUNT_REAUTHENTICATION_TIMEOUT - LEEWAY
    if claims.get("auth_time", oldest) < oldest:
        return refused(
            request,
            "signed in too long ago",
            "You signed in there too long ago, and it didn’t ask you to sign in again. Sign out "
            "there first.",
        )
    record_authentication(request, request.user, "provider", reauthenticated=True)
    return redirect(target)


def identity_of(claims: dict) -> str:
    return f"{claims['iss'].rstrip('/')} {claims['sub']}"


def check_subject(claims: dict):
    """Raise a ValueError if the subject identifies nobody or cannot be stored."""
    subject = claims["sub"]
    if not subject.strip() or not is_storable(subject):
        raise ValueError("The subject is no usable name.")


def is_known(claims: dict) -> bool:
    return get_user_model().objects.filter(identity=identity_of(claims)).exists()


class NotAdmitted(Exception):
    """The arguments are the reason, for the audit log, and the text for the page."""


def with_user_info(token: dict, claims: dict) -> dict:
    """
    The claims, completed from the UserInfo endpoint if they do not say whether the address is
    verified. Some providers put neither the address nor its verification into the ID token.
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
        # One "not verified" from either source is enough to refuse.
        known = [each for each in (verified, found.get("email_verified")) if each is not None]
        verified = next((each for each in known if not is_true(each)), known[0] if known else None)
        email = email or found.get("email")
    return {**claims, "email": email, "email_verified": verified}


def same_address(one, other) -> bool:
    return isinstance(one, str) and isinstance(other, str) and one.lower() == other.lower()


def is_true(claim) -> bool:
    """Some providers send strings, and "false" would be truthy."""
    return claim is True or (isinstance(claim, str) and claim.lower() == "true")


def verified_address(claims: dict) -> str:
    email, verified = claims.get("email"), claims.get("email_verified")
    if not email:
        raise NotAdmitted(
            "no address",
            "It didn’t share your e-mail address. Your account there may not have one, or whoever "
            "runs it must allow this site to read it.",
        )
    if not isinstance(email, str) or not is_address(email):
        raise NotAdmitted("not an address", "It sent an e-mail address that this site can’t use.")
    if verified is None and settings.OIDC_ISSUER not in settings.OIDC_VERIFIED_PROVIDERS:
        raise NotAdmitted(
            "verification unknown",
            "It doesn’t say whether your e-mail address is verified. Whoever runs this site can "
            "decide to trust the addresses it sends.",
        )
    if verified is not None and not is_true(verified):
        raise NotAdmitted(
            "address not verified",
            "Your e-mail address isn’t verified there. Verify it, then sign in again.",
        )
    return email


def admitted(claims: dict):
    """
    The account for the provider's claims: the one that has signed in with this identity before,
    else the one to which an admin has given this e-mail address, else, if the address's domain is
    trusted, a new one. Raises NotAdmitted if there is none.
    """
    users = get_user_model().objects
    identity = identity_of(claims)
    if user := users.filter(identity=identity).first():
        return user
    email = verified_address(claims)
    with transaction.atomic():
        # Compared again in Python, because the database treats a dotless i as an i.
        similar = users.select_for_update().filter(email__iexact=email)
        invited = [user for user in similar if user.email.lower() == email.lower()]
        if invited:
            [user, *others] = invited
            if others:
                raise NotAdmitted(
                    "several accounts",
                    "Several accounts on this site have your e-mail address. Ask someone with the "
                    "Admin role to remove it from all but one.",
                )
            if user.identity:
                raise NotAdmitted(
                    "another identity",
                    "The account on this site with your e-mail address is linked to a different "
                    "sign-in. Ask someone with the Admin role.",
                )
            user.identity = identity
            user.save(update_fields=["identity"])
            record_account(user, before={"identity": False}, after={"identity": True})
            return user
        if email.rpartition("@")[2].lower() not in settings.OIDC_DOMAINS:
            raise NotAdmitted(
                "not invited",
                "You don’t have an account on this site. Ask someone with the Admin role to add "
                "your e-mail address to one.",
            )
        if len(email) > 150:
            raise NotAdmitted("address too long", "Your e-mail address is too long for this site.")
        if users.filter(username=email).exists():
            raise NotAdmitted(
                "name taken",
                "An account on this site has your e-mail address as its user name, but not as "
                "its e-mail address. Ask someone with the Admin role.",
            )
        newcomers = Group.objects.filter(name=NEWCOMERS).first()
        if newcomers is None:
            logger.error("No account was created for a newcomer: there is no group %s.", NEWCOMERS)
            raise NotAdmitted(
                "no group for newcomers",
                f"This site can’t create an account for you, because its group {NEWCOMERS} is "
                "missing. Tell whoever runs this site.",
            )
        user = users.create_user(email, email, identity=identity)
        user.groups.add(newcomers)
        record_account(user, before=None, after=user.audit_details())
        return user


def record_account(user, **change):
    details = {"table": user._meta.db_table, "row": user.get_username(), "how": "provider"}
    record(context.request, Act.EDITED, **details, **change)


def is_address(email) -> bool:
    try:
        validate_email(email)
    except ValidationError:
        return False
    # ASCII only: Django's regular expression, like lower(), treats a Kelvin sign as a k.
    return isinstance(email, str) and email.isascii()


def refused(request, reason: str | None, text: str):
    """Without a reason, the sign-in was not started here, and the audit log does not record it."""
    if reason:
        record_refusal(request, how="provider", reason=reason)
    return error_response(request, 403, f"{settings.OIDC_NAME} did not sign you in", text)


def no_answer(request):
    return error_response(
        request,
        503,
        f"{settings.OIDC_NAME} isn’t responding",
        "Try again in a moment, or sign in with a password.",
    )
