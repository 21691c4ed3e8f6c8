"""The keys of the audit trail: without them nobody can guess a fingerprint or forge a seal."""

import hmac

from django.conf import settings


def keys(purpose: str) -> list[bytes]:
    """
    The first one is for making, all are for checking. A site without AUDIT_KEY uses SECRET_KEY, and
    what it made stays valid when it gets an AUDIT_KEY, or another SECRET_KEY.
    """
    known = (settings.AUDIT_KEY, settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return [digest(key.encode(), purpose) for key in dict.fromkeys(known) if key]


def digest(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def key_name(key: bytes) -> str:
    """Tells keys apart and reveals nothing about them."""
    return digest(key, "name").hex()[:8]
