"""The keys of the audit log: without them nobody can guess a fingerprint or forge a seal."""

import hmac

from django.conf import settings


def keys(purpose: str) -> list[bytes]:
    """
    The first key makes fingerprints and seals; all of them can check one. A site without AUDIT_KEY
    uses SECRET_KEY. What that made stays valid when the site gets an AUDIT_KEY or a new SECRET_KEY.
    """
    known = (settings.AUDIT_KEY, settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return [digest(key.encode(), purpose) for key in dict.fromkeys(known) if key]


def digest(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def key_name(key: bytes) -> str:
    """A name that tells keys apart without revealing anything about them."""
    return digest(key, "name").hex()[:8]
