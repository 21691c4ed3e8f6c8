"""Encrypts stored second factors with keys derived from SECRET_KEY, and resets them."""

from base64 import urlsafe_b64encode

from allauth.account.internal.flows.reauthentication import get_reauthentication_flows
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils.crypto import salted_hmac

from audit.models import Act
from audit.recording import record

# What encrypted text begins with. Secrets stored before there was encryption, in base32 or
# hexadecimal, never begin like this.
ENCRYPTED = "gAAAA"
SECRETS = {Authenticator.Type.TOTP: "secret", Authenticator.Type.RECOVERY_CODES: "seed"}


class Unreadable(Exception):
    """The text was encrypted with a key that is neither SECRET_KEY nor one of its fallbacks."""


def keys() -> MultiFernet:
    """The first key encrypts; all of them can decrypt."""
    secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    derived = (
        salted_hmac("accounts.second_factors", "", secret=secret, algorithm="sha256").digest()
        for secret in secrets
    )
    return MultiFernet([Fernet(urlsafe_b64encode(each)) for each in derived])


def encrypt(text: str) -> str:
    return keys().encrypt(text.encode()).decode()


def decrypt(text: str) -> str:
    if not text.startswith(ENCRYPTED):
        return text
    try:
        return keys().decrypt(text).decode()
    except InvalidToken:
        raise Unreadable from None


def encrypt_anew() -> tuple[int, int]:
    """Re-encrypt everything with the current SECRET_KEY: (number done, number unreadable)."""
    done = unreadable = 0
    for kind, name in SECRETS.items():
        for pk in Authenticator.objects.filter(type=kind).values_list("pk", flat=True):
            with transaction.atomic():
                # Locked, because signing in with a factor also writes to it.
                factor = Authenticator.objects.select_for_update().filter(pk=pk).first()
                if factor is None or name not in factor.data:
                    continue
                try:
                    factor.data[name] = encrypt(decrypt(factor.data[name]))
                except Unreadable:
                    unreadable += 1
                    continue
                factor.save(update_fields=["data"])
                done += 1
    return done, unreadable


@transaction.atomic
def reset(user, request=None):
    """Remove all second factors of a user who has lost one, and end their sessions."""
    record(request, Act.SIGNED_OUT_EVERYWHERE, account=user.get_username())
    Authenticator.objects.filter(user=user).delete()
    user.end_sessions()


def reauthentication_methods(user) -> list[dict]:
    """
    How a user can reauthenticate here, best first: {"id", "description", "url"}, as in allauth.
    Passkeys are not included, as we have no page for that.
    """
    flows = {flow["id"]: flow for flow in get_reauthentication_flows(user)}
    found = []
    if "reauthenticate" in flows:
        found.append(("reauthenticate", "Use your password", "account_reauthenticate"))
    if {"totp", "recovery_codes"} & set(flows.get("mfa_reauthenticate", {}).get("types", ())):
        found.append(("mfa_reauthenticate", "Use a code", "mfa_reauthenticate"))
    return [{"id": id, "description": text, "url": reverse(name)} for id, text, name in found]
