import ipaddress
import json
import uuid
from contextlib import suppress
from datetime import datetime, time, timedelta

from django.contrib import admin
from django.db.models import Q
from django.urls import reverse
from django.utils.dateparse import parse_date
from django.utils.html import format_html, format_html_join
from django.utils.timezone import make_aware

from backoffice.admin import BigTableAdmin
from backoffice.databases.text import is_storable
from backoffice.words import at

from .models import Act, Entry
from .panel import RecordedViews
from .texts import FINGERPRINT, readable

SUMMARY = 150


@admin.register(Entry)
class EntryAdmin(RecordedViews, BigTableAdmin):
    """The audit log, read-only."""

    ordering = ["-at", "-id"]
    list_display = ["when", "who", "act", "address", "conversation", "summary"]
    list_filter = ["act", "at"]
    lookups = frozenset({"act__exact", "at__gte", "at__lt"})
    fields = ["when", "who", "user_id", "role", "act", "reason", "address", "request"]
    fields += ["conversation", "all_details"]
    readonly_fields = fields
    search_help_text = (
        "A user's name, a day (2026-01-31), an address, or the id of a conversation or request."
    )

    def has_change_permission(self, request, obj=None):
        return False

    def get_changelist_instance(self, request):
        found = super().get_changelist_instance(request)
        with_texts(found.result_list)
        return found

    def get_object(self, request, object_id, from_field=None):
        entry = super().get_object(request, object_id, from_field)
        with_texts([entry])
        return entry

    def searches(self, term):
        if not is_storable(term):
            return
        for search in (of_id, of_address, of_day):
            with suppress(ValueError, OverflowError):
                yield from search(term)
        # The entry of a failed sign-in has no username, only the account in its details.
        failed = Q(act=Act.SIGN_IN_FAILED, details__account=term)
        yield lambda rows: rows.filter(Q(username=term) | failed)
        yield lambda rows: rows.filter(username__startswith=term)

    @admin.display(description="time")
    def when(self, entry):
        return at(entry.at)

    @admin.display(description="user")
    def who(self, entry):
        return entry.username or "-"

    @admin.display(description="request id")
    def request(self, entry):
        if not entry.request_id:
            return "-"
        return format_html(
            '{} (<a href="{}?q={}">all entries of this request</a>)',
            entry.request_id,
            reverse("admin:audit_entry_changelist"),
            entry.request_id,
        )

    @admin.display(description="conversation")
    def conversation(self, entry):
        if not entry.session_id:
            return "-"
        url = reverse("conversations:detail", args=[entry.session_id])
        return format_html('<a href="{}">{}</a>', url, entry.session_id)

    @admin.display(description="details")
    def summary(self, entry):
        shown = ({"reason": entry.reason} if entry.reason else {}) | details_of(entry)
        text = ", ".join(f"{name}: {words(value, entry)}" for name, value in shown.items())
        return format_html("<bdi>{}</bdi>", text[:SUMMARY] + ("…" if len(text) > SUMMARY else ""))

    @admin.display(description="details")
    def all_details(self, entry):
        lines = ((name, words(value, entry)) for name, value in details_of(entry).items())
        return format_html_join("\n", "<p><b>{}</b>: <bdi>{}</bdi></p>", lines) or "-"


def details_of(entry) -> dict:
    """Our own entries hold a JSON object. If another program wrote one, the page still works."""
    return entry.details if isinstance(entry.details, dict) else {"details": entry.details}


def with_texts(entries):
    """Look up the texts behind the fingerprints of all entries in one query."""
    found = readable(json.dumps(entry.details) for entry in entries)
    for entry in entries:
        entry.texts = found


def words(value, entry) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return FINGERPRINT.sub(lambda found: shown_text(found[0], entry.texts), text)


def shown_text(fingerprint: str, texts: dict[str, str]) -> str:
    if fingerprint in texts:
        return f"“{texts[fingerprint]}”"
    return f"(no longer kept, {fingerprint[:9]})"


# Each of these searches for one kind of term, and raises a ValueError for any other term.


def of_id(term):
    named = uuid.UUID(term)
    yield lambda rows: rows.filter(session_id=named)
    yield lambda rows: rows.filter(request_id=named.hex)


def of_address(term):
    address = str(ipaddress.ip_address(term))
    yield lambda rows: rows.filter(address=address)


def of_day(term):
    if day := parse_date(term):
        since = make_aware(datetime.combine(day, time()))
        until = since + timedelta(days=1)
        yield lambda rows: rows.filter(at__gte=since, at__lt=until)
