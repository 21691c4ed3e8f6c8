"""Masks personal data in the audit log."""

import json
from collections.abc import Callable

from django.conf import settings

from privacy.personal_data import mask_json, mask_query

OF_ACCOUNTS = ("accounts_user", "auth_group")
MASKS: dict[str, Callable[[str], str]] = {
    "account": str,
    "guessed": str,
    "fingerprint": str,
    "query": mask_query,
}


def for_audit(details: dict) -> dict:
    """The details as the audit log keeps them. Staff's own accounts are not masked."""
    if not settings.MASK_PERSONAL_DATA or details.get("table") in OF_ACCOUNTS:
        return details
    return {name: MASKS.get(name, masked_detail)(value) for name, value in details.items()}


def masked_detail(value):
    return json.loads(mask_json(json.dumps(value)))
