import uuid
import zoneinfo
from functools import cache

from django.contrib.auth import middleware as auth
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.http import HttpResponseClientRedirect

# A reader who takes nothing in this time is as good as gone.
STALLED_SECONDS = 60


def stalled_readers(get_response):
    """Nobody holds a thread of gunicorn's by standing still; it has no time limit of its own."""

    def middleware(request):
        if client := request.META.get("gunicorn.socket"):
            client.settimeout(STALLED_SECONDS)
        return get_response(request)

    return middleware


def request_id(get_response):
    """Names each request, for the audit trail and whoever asks about an answer."""

    def middleware(request):
        request.id = uuid.uuid4().hex
        response = get_response(request)
        response["X-Request-ID"] = request.id
        return response

    return middleware


def never_store(get_response):
    """Conversations stay out of every cache, the browser's own included."""

    def middleware(request):
        response = get_response(request)
        if "Cache-Control" not in response:
            add_never_cache_headers(response)
        return response

    return middleware


class LoginRequiredMiddleware(auth.LoginRequiredMiddleware):
    """
    htmx follows a redirect and would swap the sign-in page into the list: send the whole page
    there instead, and back to the page that asked, not to its fragment.
    """

    def handle_no_permission(self, request, view_func):
        if not request.htmx:
            return super().handle_no_permission(request, view_func)
        try:
            page = request.htmx.current_url_abs_path or "/"
        except ValueError:
            page = "/"
        if not url_has_allowed_host_and_scheme(page, allowed_hosts=None):
            page = "/"
        login = auth.redirect_to_login(page, self.get_login_url(view_func))
        return HttpResponseClientRedirect(login.url)


@cache
def known_time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def viewer_time_zone(get_response):
    """Show and read times in the zone that the browser told in its `timezone` cookie."""

    def middleware(request):
        name = request.COOKIES.get("timezone", "")
        if name in known_time_zones():
            with timezone.override(name):
                return get_response(request)
        return get_response(request)

    return middleware
