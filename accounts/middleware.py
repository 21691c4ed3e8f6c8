import time

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django_htmx.http import HttpResponseClientRedirect

from backoffice.error_pages import error_response
from backoffice.fragments import refreshes_itself

from .lockout import LockedOut

STARTED, SEEN, SECOND_FACTOR = "started", "seen", "second_factor"
# In seconds. Writing the session on every request would cost too much.
SEEN_EVERY = 60
# The pages that an admin can open before adding a second factor.
WITHOUT_SECOND_FACTOR = {
    "account",
    "logout",
    "account_reauthenticate",
    "mfa_reauthenticate",
    "provider",
    "provider_callback",
    "mfa_activate_totp",
    "mfa_add_webauthn",
    "mfa_view_recovery_codes",
    "favicon",
}


def session_limits(get_response):
    """Ends sessions that are too old or have not been used for too long."""

    def middleware(request):
        session = request.session
        if SESSION_KEY in session:
            now = int(time.time())
            started = session.get(STARTED, 0)
            seen = session.get(SEEN, started)
            age, idle = settings.SESSION_HOURS * 3600, settings.SESSION_IDLE_MINUTES * 60
            if now - started >= age or now - seen >= idle:
                session.flush()
            elif now - seen >= SEEN_EVERY and not refreshes_itself(request):
                session[SEEN] = now
        return get_response(request)

    return middleware


class SignInMiddleware:
    """Shows the page for LockedOut, and enforces REQUIRE_MFA."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_exception(self, request, exception):
        if not isinstance(exception, LockedOut):
            return None
        until = timezone.localtime(exception.until)
        response = error_response(
            request,
            429,
            "Too many attempts",
            f"Try again at {until:%H:%M}. Until then, no password or code is accepted for this "
            "account or from your network. What you just entered was wrong, or wasn’t checked.",
        )
        seconds = (exception.until - timezone.now()).total_seconds()
        response["Retry-After"] = max(int(seconds) + 1, 1)
        return response

    def process_view(self, request, view, args, kwargs):
        if (
            not settings.REQUIRE_MFA
            or not request.user.is_authenticated
            or request.session.get(SECOND_FACTOR) == request.user.pk
            or request.resolver_match.view_name in WITHOUT_SECOND_FACTOR
            or not request.user.has_perm("accounts.use_admin")
        ):
            return None
        if request.htmx:
            return HttpResponseClientRedirect(reverse("account"))
        return redirect("account")
