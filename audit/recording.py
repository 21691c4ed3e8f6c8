"""
Writing the audit trail. No audit, no act: what cannot be recorded does not happen.
"""

import ipaddress
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from allauth.account.authentication import get_authentication_records
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from backoffice.databases.replica import lag

from .masking import for_audit
from .models import Act, Entry

# What htmx asks for from an open page belongs to the view of that page for so long.
SAME_VIEW = timedelta(minutes=15)


def record(request, act: Act, *, session_id: uuid.UUID | None = None, **details) -> Entry:
    """
    One entry, committed at once unless a transaction on `default` is open. `request` is None for
    a command. `details` must be fit for JSON, and hold no content of conversations.
    """
    return Entry.objects.create(
        act=act, session_id=session_id, details=for_audit(details), **who_and_where(request)
    )


def record_view(request, session_id: uuid.UUID, *, again: bool, **details):
    """
    That somebody saw a conversation. With `again` off, only if the same person has not seen it
    within SAME_VIEW.
    """
    recent = Entry.objects.filter(
        session_id=session_id,
        act=Act.VIEWED,
        user_id=request.user.pk,
        at__gt=Now() - SAME_VIEW,
    )
    if again or not recent.exists():
        record(request, Act.VIEWED, session_id=session_id, **details)


def record_search(request, query: str, *, again: bool, **details):
    """
    That somebody looked for words. With `again` off, only if the same person has not asked the
    same, or for a later page of it, within SAME_VIEW.
    """
    recent = Entry.objects.filter(
        act=Act.SEARCHED,
        user_id=request.user.pk,
        at__gt=Now() - SAME_VIEW,
        details__query__startswith=for_audit({"query": query})["query"],
    )
    if again or not recent.exists():
        record(request, Act.SEARCHED, query=query, **details)


def who_and_where(request) -> dict:
    if request is None:
        return {}
    user = getattr(request, "user", None)
    known = user is not None and user.is_authenticated
    return {
        "user_id": user.pk if known else None,
        "username": user.get_username() if known else "",
        "address": address(request),
        "request_id": getattr(request, "id", ""),
    }


def ways(request) -> dict:
    """How somebody just signed in, for the entry of it: {"how": "password, totp"}."""
    records = get_authentication_records(request, request.user)
    names = [
        "passkey" if each.get("passwordless") else each.get("type", each["method"])
        for each in records
    ]
    return {"how": ", ".join(names)} if names else {}


def address(request) -> str | None:
    """The address that asked: the last one that our own proxy has added, where there is one."""
    text = request.META.get("REMOTE_ADDR", "")
    if settings.BEHIND_PROXY:
        text = request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2] or text
    try:
        # PostgreSQL knows no zones of IPv6.
        found = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        # A Unix socket has none.
        return None
    return str(getattr(found, "ipv4_mapped", None) or found)


@contextmanager
def recorded_change(
    request, act: Act, *, session_id: uuid.UUID | None = None, **details
) -> Iterator[dict]:
    """
    A transaction in the agent database and the entry that tells of it. The block may add to the
    details it is given. The entry is committed first: without it the change is rolled back, and
    should the change's own commit fail, another entry says so. Who asked for it is told where a
    replica has not got it yet.
    """
    entry = None
    try:
        # Within another transaction the change would be committed by that one, or not.
        with transaction.atomic(using="agents_write", durable=True):
            yield details
            entry = record(request, act, session_id=session_id, **details)
    except BaseException:
        if entry is not None:
            record(request, Act.UNDONE, session_id=session_id, entry=entry.pk)
        raise
    if request is not None:
        lag.follow(request)
