"""Writes the audit log. An act that cannot be recorded does not happen."""

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

# The username in entries of commands. They have no user id, so they cannot be confused with those
# of a user of that name.
SYSTEM = "system"
# Why a command was run; see audit.commands.
command_reason: ContextVar[str] = ContextVar("command_reason", default="")

# For this long, requests that htmx sends from an open page count as the same view of it.
SAME_VIEW = timedelta(minutes=15)
# A search that only adds letters to one recorded this recently replaces it.
STILL_TYPING = timedelta(seconds=2)
TYPED_LETTERS = 30
# How many of the user's latest searches are checked for that.
LATEST = 3


def record(request, act: Act, *, session_id: uuid.UUID | None = None, **details) -> Entry:
    """
    Add one entry. It is committed at once unless a transaction on `default` is open. `request` is
    None for a command. `details` must be JSON serialisable and hold no content of conversations.
    """
    return Entry.objects.create(
        act=act, session_id=session_id, details=kept(details), **who_and_where(request)
    )


def kept(details: dict) -> dict:
    """The details as an entry holds them: typed text as a fingerprint, everything else masked."""
    if "query" in details:
        details = details | {"query": kept_query(details["query"])}
    return for_audit(details)


def record_view(request, session_id: uuid.UUID, *, again: bool, **details):
    """
    Record that a user saw a conversation. Unless `again` is true, skip this if they saw it within
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
    Record that a user searched, with the query string and its filters. Unless `again` is true, skip
    this if they made the same search, or opened another page of it, within SAME_VIEW. While they
    are typing in one of the filters named in `typed`, update the entry of the shorter search
    instead of adding one.
    """
    entries = Entry.objects.filter(act=Act.SEARCHED, user_id=request.user.pk)
    same = fingerprint(filters)
    if not again and entries.filter(at__gt=Now() - SAME_VIEW, details__fingerprint=same).exists():
        return
    details |= {"query": query, "fingerprint": same}
    recent = entries.filter(at__gt=Now() - STILL_TYPING).order_by("-pk")
    for entry, before in recent.values_list("pk", "details")[:LATEST]:
        if before.get("fingerprint") in beginnings(filters, typed):
            # The database allows this change, but only to an entry this recent.
            entries.filter(pk=entry).update(details=kept(details))
            return
    record(request, Act.SEARCHED, **details)


def beginnings(filters: dict[str, str], typed: Iterable[str]) -> Iterator[str]:
    """Fingerprints of the same search without the last letters of one of the `typed` filters."""
    for name in typed:
        for end in range(max(len(filters[name]) - TYPED_LETTERS, 1), len(filters[name])):
            yield fingerprint(filters | {name: filters[name][:end]})


def fingerprint(filters: dict[str, str]) -> str:
    """
    Tells searches apart that look the same once masked. It uses a key, so that nobody can find the
    text by trying guesses.
    """
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
    """The client's address. Behind our proxy, it is the last one in the proxy's header."""
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
    A transaction in the agent database, with an entry in the audit log. The block may add to the
    details that it gets. The entry is committed first: if that fails, the change is rolled back. If
    the change's own commit then fails, another entry says so. Afterwards the user is warned if a
    replica does not have the change yet.
    """
    entry = None
    try:
        # durable, because an outer transaction could still roll the change back.
        with transaction.atomic(using="agents_write", durable=True):
            yield details
            entry = record(request, act, session_id=session_id, **details)
    except BaseException:
        if entry is not None:
            record(request, Act.UNDONE, session_id=session_id, entry=entry.pk)
        raise
    if request is not None:
        lag.follow(request)
