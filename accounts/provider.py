"""Signing in at an OpenID Connect provider, and who may enter that way."""

import logging
import time
from functools import cache

import requests
from allauth.account.internal.flows.login import record_authentication
from allauth.account.utils import perform_login
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

from backoffice.error_pages import error_response

from .lockout import record_refusal
from .second_factors import asked_again

logger = logging.getLogger(__name__)

NEXT = "provider_next"
SECONDS = 10
# Seconds by which its clock may differ from ours.
LEEWAY = 120
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
    request.session[NEXT] = target if safe else ""
    try:
        return client().authorize_redirect(
            request, request.build_absolute_uri(reverse("provider_callback")), **again
        )
    except (requests.RequestException, RuntimeError, ValueError):
        return no_answer(request)


@login_not_required
def callback(request):
    if not settings.OIDC_ISSUER:
        raise Http404
    issuer = settings.OIDC_ISSUER
    # Authlib does not check the state of an error answer.
    began_here = client().framework.get_state_data(request.session, request.GET.get("state"))
    try:
        token = client().authorize_access_token(
            request,
            claims_options={
                "iss": {"essential": True, "values": [issuer, f"{issuer}/"]},
                "sub": {"essential": True},
                # Without it, Authlib is satisfied if only the azp is ours.
                "aud": {"essential": True, "value": settings.OIDC_CLIENT_ID},
            },
        )
        claims = token["userinfo"]
        if request.user.is_authenticated:
            return signed_in_already(request, claims)
    except requests.RequestException:
        return no_answer(request)
    except (AuthlibBaseError, JoseError, ValueError, KeyError, TypeError):
        return refused(
            request,
            "the answer was not valid" if began_here else None,
            "The sign-in was not completed there, or took too long. Start again.",
        )
    try:
        user = admitted(claims)
    except IntegrityError:
        # The same person signed in from two windows.
        user = admitted(claims)
    if user is None:
        return refused(
            request,
            "not invited",
            "You signed in there, but have no account here. Ask someone with the Admin role to "
            "add your e-mail address to one.",
        )
    record_authentication(request, user, "provider")
    return perform_login(request, user, redirect_url=request.session.pop(NEXT, "") or None)


def signed_in_already(request, claims: dict):
    """Users with no password or code to ask for here reauthenticate at the provider."""
    target = request.session.pop(NEXT, "") or settings.LOGIN_REDIRECT_URL
    if asked_again(request.user):
        return redirect(target)
    if identity_of(claims) != request.user.identity:
        return refused(
            request,
            "somebody else",
            "You are signed in here as somebody else. Sign out here first.",
        )
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


def admitted(claims: dict):
    """
    The account for the provider's claims, or None if they may not enter: the one that has entered
    as this identity before, else the one that an admin has given the address, else, if the
    address's domain is trusted, a new one.
    """
    users = get_user_model().objects
    identity = identity_of(claims)
    if user := users.filter(identity=identity).first():
        return user
    email = claims.get("email")
    # Some providers send the text "false", which is truthy.
    if claims.get("email_verified") is not True or not is_address(email):
        return None
    with transaction.atomic():
        # The database takes a dotless i for an i.
        similar = users.select_for_update().filter(email__iexact=email)
        invited = [user for user in similar if user.email.lower() == email.lower()]
        if invited:
            [user, *others] = invited
            if others or user.identity:
                return None
            user.identity = identity
            user.save(update_fields=["identity"])
            return user
        if email.rpartition("@")[2].lower() not in settings.OIDC_DOMAINS:
            return None
        if len(email) > 150 or users.filter(username=email).exists():
            return None
        newcomers = Group.objects.filter(name=NEWCOMERS).first()
        if newcomers is None:
            logger.error("No new account was created: there is no group %s.", NEWCOMERS)
            return None
        user = users.create_user(email, email, identity=identity)
        user.groups.add(newcomers)
        return user


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
