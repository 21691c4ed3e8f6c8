import logging
import socket
import threading
import time
import uuid
from contextlib import suppress
from contextvars import copy_context
from datetime import UTC
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth import middleware as auth
from django.core.exceptions import RequestDataTooBig
from django.http import UnreadablePostError
from django.middleware.gzip import GZipMiddleware
from django.middleware.security import SecurityMiddleware
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.encoding import escape_uri_path
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.http import HttpResponseClientRedirect

from . import metrics, time_zones
from .content_policy import content_policy
from .error_pages import TOO_LONG, error_response, method_not_allowed
from .fragments import LIST_TARGET
from .logs import current_request

access = logging.getLogger("backoffice.access")


def request_id(get_response):
    """Gives each request an id, for the audit trail and for questions about a response."""

    def middleware(request):
        request.id = uuid.uuid4().hex
        current_request.set(request)
        response = get_response(request)
        response["X-Request-ID"] = request.id
        return response

    return middleware


def access_log(get_response):
    """Logs each request, without its query string because that holds searches, and counts it."""

    def middleware(request):
        began = time.perf_counter()
        response = get_response(request)
        seconds = time.perf_counter() - began
        metrics.answered(request, response, seconds)
        path = escape_uri_path(request.path)
        status = response.status_code
        fields = {"path": path, "status": status, "duration_ms": round(seconds * 1000, 1)}
        access.info("%s %s %s", request.method, path, status, extra={"fields": fields})
        return response

    return middleware


# Seconds for a request's body to arrive. A thread waits for it; gunicorn would let it wait forever.
BODY_SECONDS = 10
TOO_SLOW = (
    408,
    "Your request took too long to arrive",
    "Nothing was changed. Go back and send it again.",
)
NO_LENGTH = (
    411,
    "The request has no length",
    "Nothing was changed. The proxy in front of this site must buffer whole requests.",
)


def whole_bodies(get_response):
    """Reads the body before all else; refuses one that is slow, too long or cut off."""

    def middleware(request):
        connection = request.META.get("gunicorn.socket")
        refusal = body_refusal(request, connection) if connection else None
        if refusal:
            # Nobody reads the rest of the body.
            hang_up(connection)
            return error_response(request, *refusal)
        return get_response(request)

    return middleware


def body_refusal(request, connection) -> tuple[int, str, str] | None:
    if "HTTP_TRANSFER_ENCODING" in request.META:
        return NO_LENGTH
    length = int(request.META.get("CONTENT_LENGTH") or 0)
    if not length:
        return None
    timer = threading.Timer(BODY_SECONDS, hang_up, [connection])
    timer.start()
    try:
        return None if len(request.body) == length else TOO_SLOW
    except RequestDataTooBig:
        return TOO_LONG
    except UnreadablePostError:
        return TOO_SLOW
    finally:
        timer.cancel()


def hang_up(connection):
    """Reading ends as if the client had left; the response can still be sent."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RD)


# Browser features that no page needs and no injected script may have.
NOT_NEEDED = (
    *("accelerometer", "autoplay", "camera", "display-capture", "encrypted-media", "fullscreen"),
    *("geolocation", "gyroscope", "hid", "magnetometer", "microphone", "midi", "payment"),
    *("picture-in-picture", "screen-wake-lock", "serial", "usb", "xr-spatial-tracking"),
)
HEADERS = {
    "Content-Security-Policy": content_policy(),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{feature}=()" for feature in NOT_NEEDED),
    "Reporting-Endpoints": 'csp="/csp-report/"',
}


def security_headers(get_response):
    """
    Sets headers on every response, even those that never reach Django's middleware: probes and
    requests with a bad Host header. Keeps conversations out of every cache, the browser's included:
    only static files, whose names change with their content, may be cached.
    """
    security = SecurityMiddleware(get_response)

    def middleware(request):
        response = security.process_response(request, get_response(request))
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if "Cache-Control" not in response:
            add_never_cache_headers(response)
        return response

    return middleware


# Pages with a secret: the authenticator app's key, recovery codes. An attacker who makes a browser
# send requests could guess such a secret letter by letter from the size of compressed responses.
UNCOMPRESSED = {"mfa_activate_totp", "mfa_view_recovery_codes"}


def compressed_pages(get_response):
    """Shrinks HTML to a fifth; Django pads it with random bytes. Files are not compressed."""
    gzip = GZipMiddleware(get_response)

    def middleware(request):
        response = get_response(request)
        is_page = response.get("Content-Type", "").startswith("text/html")
        found = request.resolver_match
        if response.streaming or not is_page or (found and found.view_name in UNCOMPRESSED):
            return response
        return gzip.process_response(request, response)

    return middleware


def method_not_allowed_page(get_response):
    """Shows a page where Django answers a wrong method with an empty body."""

    def middleware(request):
        response = get_response(request)
        if response.status_code == 405 and not response.streaming and not response.content:
            page = method_not_allowed(request)
            page["Allow"] = response["Allow"]
            return page
        return response

    return middleware


NOT_SAVED = "You were not signed in, so nothing was changed. Sign in, then send it again."


class LoginRequiredMiddleware(auth.LoginRequiredMiddleware):
    """
    htmx follows a redirect and would swap the sign-in page into the list. So send the whole page
    there, and after signing in back to the page, not to its fragment. A filter's fragment has the
    address of the page that the user asked for.
    """

    def handle_no_permission(self, request, view_func):
        if request.method not in ("GET", "HEAD"):
            messages.warning(request, NOT_SAVED)
        if not request.htmx:
            return super().handle_no_permission(request, view_func)
        try:
            page = request.htmx.current_url_abs_path or "/"
        except ValueError:
            page = "/"
        if request.method == "GET" and request.htmx.target == LIST_TARGET:
            # Without the form's empty fields.
            chosen = [(name, value) for name, value in request.GET.items() if value]
            page = f"{request.path}?{urlencode(chosen)}" if chosen else request.path
        if not url_has_allowed_host_and_scheme(page, allowed_hosts=None):
            page = "/"
        login = auth.redirect_to_login(page, self.get_login_url(view_func))
        return HttpResponseClientRedirect(login.url)


def viewer_time_zone(get_response):
    """
    Show and read times in the browser's zone, from its `timezone` cookie. If we do not know the
    zone, use UTC; base.html then says so.
    """

    def middleware(request):
        name = request.COOKIES.get("timezone", "")
        zone = time_zones.named(name)
        request.unknown_time_zone = "" if zone else name
        # Leaving this block also undoes time zones that a view activates.
        with timezone.override(zone or (UTC if name else None)):
            return get_response(request)

    return middleware


def streams_keep_context(get_response):
    """Keeps the middleware's context for a stream, which is read after the middleware has ended."""

    def middleware(request):
        response = get_response(request)
        if response.streaming:
            response.streaming_content = in_this_context(response.streaming_content)
        return response

    return middleware


def in_this_context(chunks):
    context = copy_context()
    chunks = iter(chunks)

    def each():
        end = object()
        while (chunk := context.run(next, chunks, end)) is not end:
            yield chunk

    return each()
