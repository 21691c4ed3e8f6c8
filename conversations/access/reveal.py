"""
Decides who sees personal data masked, and provides the one way around it: revealing a conversation
for a while, with a reason that the audit trail records.
"""

import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django import forms
from django.conf import settings
from django.contrib.auth.mixins import PermissionRequiredMixin
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.generic import View

from audit.recording import Act, record
from privacy import masking
from privacy.stand_ins import shortened

from ..models import Session

REVEALED_FOR = timedelta(minutes=30)
# Per user; the oldest are dropped first.
MOST_REVEALED = 50
KEY = "revealed_conversations"


@dataclass
class PersonalData:
    """How a request sees it: masked, revealed until `until`, or never masked if neither is set."""

    masked: bool = False
    until: datetime | None = None
    may_reveal: bool = False


class MaskingMiddleware:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        request.personal_data = PersonalData()
        if not settings.MASK_PERSONAL_DATA or sees_personal_data(request.user):
            return self.get_response(request)
        request.personal_data.masked = True
        request.personal_data.may_reveal = may_reveal(request.user)
        with masking.active():
            response = self.get_response(request)
        is_page = response.get("Content-Type", "").startswith("text/html")
        if request.personal_data.masked and is_page and not response.streaming:
            response.content = shortened(response.content)
        return response

    def process_view(self, request, view, args, kwargs):
        until = revealed_until(request, kwargs.get("session_id"))
        if until and request.personal_data.may_reveal:
            request.personal_data.masked = False
            request.personal_data.until = until
            masking.reveal()


def sees_personal_data(user) -> bool:
    return user.has_perm("conversations.view_personal_data")


def may_reveal(user) -> bool:
    return user.has_perm("conversations.reveal_session")


# The user's sign-in session holds {conversation: Unix time at which its reveal ends}.


def revealed_until(request, session_id: uuid.UUID | None) -> datetime | None:
    if session_id is None or not request.personal_data.masked:
        return None
    until = request.session.get(KEY, {}).get(str(session_id), 0)
    return datetime.fromtimestamp(until, UTC) if until > time.time() else None


def remember(request, session_id: uuid.UUID):
    now = time.time()
    revealed = {key: until for key, until in request.session.get(KEY, {}).items() if until > now}
    revealed.pop(str(session_id), None)
    revealed[str(session_id)] = now + REVEALED_FOR.total_seconds()
    request.session[KEY] = dict(list(revealed.items())[-MOST_REVEALED:])


def forget(request, session_id: uuid.UUID):
    if request.session.get(KEY, {}).pop(str(session_id), None):
        request.session.modified = True


class ReasonForm(forms.Form):
    reason = forms.CharField(
        min_length=5,
        max_length=500,
        error_messages={
            "required": "Say why you need to see it.",
            "min_length": "Say why you need to see it, in at least five letters.",
        },
    )


class RevealView(PermissionRequiredMixin, View):
    """Reveals a conversation's personal data for a reason, or hides it again."""

    permission_required = ("conversations.view_session", "conversations.reveal_session")

    def get(self, request, session_id):
        # After signing in, the browser returns here with a GET.
        return self.back(session_id)

    def post(self, request, session_id):
        get_object_or_404(Session.objects.only("pk"), pk=session_id)
        if "hide" in request.POST:
            forget(request, session_id)
            return self.back(session_id)
        if not request.personal_data.masked:
            return self.back(session_id)
        form = ReasonForm(request.POST)
        if not form.is_valid():
            context = {"form": form, "session_id": session_id, "state": request.GET.urlencode()}
            return render(request, "conversations/access/reveal.html", context, status=400)
        # Record first: nothing is shown that the audit trail could not record.
        record(request, Act.REVEALED, session_id=session_id, reason=form.cleaned_data["reason"])
        remember(request, session_id)
        return self.back(session_id)

    def back(self, session_id):
        query = self.request.GET.urlencode()
        url = reverse("conversations:detail", args=[session_id])
        return redirect(f"{url}?{query}" if query else url)
