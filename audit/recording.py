"""
Writing the audit trail. No audit, no act: what cannot be recorded does not happen.
"""

import ipaddress
import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta

from allauth.account.authentication import get_authentication_records
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from backoffice.databases.replica import lag

from .keys import digest, keys
from .masking import for_audit
from .models import Act, Entry
from .texts import kept_query

# Who acts where there is no request. It has no user id, so nobody can be taken for it.
SYSTEM = "system"
# Why a command acts; see audit.commands.
command_reason: ContextVar[str] = ContextVar("command_reason", default="")

# What htmx asks for from an open page counts as the same view of it for this long.
SAME_VIEW = timedelta(minutes=15)
# Searches that only add letters to one that was recorded this recently are a part of it.
STILL_TYPING = timedelta(seconds=2)
TYPED_LETTERS = 30
# How many of them are looked at.
LATEST = 3


def record(request, act: Act, *, session_id: uuid.UUID | None = None, **details) -> Entry:
    """
    One entry, committed at once unless a transaction on `default` is open. `request` is None for
    a command. `details` must be serialisable as JSON and hold no content of conversations.
    """
    return Entry.objects.create(
        act=act, session_id=session_id, details=kept(details), **who_and_where(request)
    )


def kept(details: dict) -> dict:
    """As an entry holds them: what was typed as its fingerprint, the rest masked."""
    if "query" in details:
        details = details | {"query": kept_query(details["query"])}
    return for_audit(details)


def record_view(request, session_id: uuid.UUID, *, again: bool, **details):
    """
    Record that a user saw a conversation. Without `again`, only if they have not seen it within
    SAME_VIEW.
    """
    recent = Entry.objects.filter(
        session_id=session_id,
        act=Act.VIEWED,
        user_id=request.user.pk,
        at__gt=Now() - SAME_VIEW,
    )
    if again or not recent.exists():
        record(request, Act.VIEWED, session_id=session_id, **details)


def record_search(
    request,
    query: str,
    *,
    filters: dict[str, str],
    typed: Iterable[str] = (),
    again: bool,
    **details,
):
    """
    Record that a user searched, with the query string and what it filters by. Without `again`, only
    if they have not asked the same, or for a later page of it, within SAME_VIEW. While they are
    still typing in one of the filters `typed`, the entry of its beginning becomes the whole's.
    """
    entries = Entry.objects.filter(act=Act.SEARCHED, user_id=request.user.pk)
    same = fingerprint(filters)
    if not again and entries.filter(at__gt=Now() - SAME_VIEW, details__fingerprint=same).exists():
        return
    details |= {"query": query, "fingerprint": same}
    recent = entries.filter(at__gt=Now() - STILL_TYPING).order_by("-pk")
    for entry, before in recent.values_list("pk", "details")[:LATEST]:
        if before.get("fingerprint") in beginnings(filters, typed):
            # The database allows this one change, of an entry this new.
            entries.filter(pk=entry).update(details=kept(details))
            return
    record(request, Act.SEARCHED, **details)


def beginnings(filters: dict[str, str], typed: Iterable[str]) -> Iterator[str]:
    """The fingerprints of searches that lack the last letters of one of the filters `typed`."""
    for name in typed:
        for end in range(max(len(filters[name]) - TYPED_LETTERS, 1), len(filters[name])):
            yield fingerprint(filters | {name: filters[name][:end]})


def fingerprint(filters: dict[str, str]) -> str:
    """Tells searches apart that masking makes the same. Keyed, so that no text can be guessed."""
    return digest(keys("audit.searches")[0], json.dumps(sorted(filters.items()))).hex()[:32]


def who_and_where(request) -> dict:
    if request is None:
        return {"username": SYSTEM, "role": "command", "reason": command_reason.get()}
    user = getattr(request, "user", None)
    known = user is not None and user.is_authenticated
    return {
        "user_id": user.pk if known else None,
        "username": user.get_username() if known else "",
        "role": user.role if known else "",
        "address": address(request),
        "request_id": getattr(request, "id", ""),
    }


def ways(request) -> dict:
    """How the user just signed in, for the audit entry: {"how": "password, totp"}."""
    records = get_authentication_records(request, request.user)
    names = [
        "passkey" if each.get("passwordless") else each.get("type", each["method"])
        for each in records
    ]
    return {"how": ", ".join(names)} if names else {}


def address(request) -> str | None:
    """The client's address: the last one in the header of our own proxy, if there is a proxy."""
    text = request.META.get("REMOTE_ADDR", "")
    if settings.BEHIND_PROXY:
        text = request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2] or text
    try:
        # PostgreSQL accepts no IPv6 zones.
        found = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        # A Unix socket has no address.
        return None
    return str(getattr(found, "ipv4_mapped", None) or found)


@contextmanager
def recorded_change(
    request, act: Act, *, session_id: uuid.UUID | None = None, **details
) -> Iterator[dict]:
    """
    A transaction in the agent database and its audit entry. The block may add to the details it is
    given. The entry is committed first: without it the change is rolled back, and if the change's
    own commit fails, another entry says so. Warns the user if a replica does not have it yet.
    """
    entry = None
    try:
        # durable: an outer transaction could still roll the change back.
        with transaction.atomic(using="agents_write", durable=True):
            yield details
            entry = record(request, act, session_id=session_id, **details)
    except BaseException:
        if entry is not None:
            record(request, Act.UNDONE, session_id=session_id, entry=entry.pk)
        raise
    if request is not None:
        lag.follow(request)
