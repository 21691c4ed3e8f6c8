"""Browsers' reports about the Content-Security-Policy: one line of the log each."""

import json
import logging
import re
import threading
import time
from urllib.parse import urlsplit

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import RequestDataTooBig
from django.http import HttpResponse
from django.urls import Resolver404, resolve
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from .error_pages import error_response

logger = logging.getLogger(__name__)

# The longest request in bytes; it may hold several reports.
LONGEST = 65_536
# Per process, because anybody may send reports.
LINES_A_MINUTE = 10
MINUTE = 60
DIRECTIVE = re.compile(r"[a-z-]{1,40}")
# What was blocked, where it has no URL: inline, eval, trusted-types-sink, data, blob.
KEYWORD = re.compile(r"[a-z-]{1,40}")
HOST = re.compile(r"[a-z0-9.-]{1,100}")


class Allowance:
    """Allows LINES_A_MINUTE lines and counts those refused."""

    def __init__(self):
        self.lock = threading.Lock()
        self.began, self.used, self.passed_over = 0.0, 0, 0

    def take(self) -> tuple[bool, int]:
        """(whether a line is allowed, how many were refused since the last allowed one)"""
        with self.lock:
            if time.monotonic() - self.began >= MINUTE:
                self.began, self.used = time.monotonic(), 0
            if self.used >= LINES_A_MINUTE:
                self.passed_over += 1
                return False, 0
            self.used += 1
            passed_over, self.passed_over = self.passed_over, 0
            return True, passed_over


allowance = Allowance()


@csrf_exempt
@login_not_required
@require_POST
def csp_report(request):
    body = request.read(LONGEST + 1)
    if len(body) > LONGEST:
        raise RequestDataTooBig
    try:
        reports = parse(request.content_type, body)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return error_response(
            request, 400, "Not a report", "Browsers report blocked content to this address."
        )
    for report in reports:
        log(*report)
    return HttpResponse(status=204)


def parse(content_type: str, body: bytes) -> list[tuple[str, str, str]]:
    """
    (directive, what was blocked, page) of each report, in either of the two formats that browsers
    use. Of the text that the sender chose, only a host name is kept.
    """
    found = json.loads(body)
    if content_type == "application/csp-report":
        report = found["csp-report"]
        directive = report.get("effective-directive") or report["violated-directive"]
        return [described(directive, report["blocked-uri"], report["document-uri"])]
    if content_type != "application/reports+json":
        raise ValueError("Neither of the two formats.")
    violations = [each["body"] for each in found if each["type"] == "csp-violation"]
    return [
        described(each["effectiveDirective"], each["blockedURL"], each["documentURL"])
        for each in violations
    ]


def described(directive: str, blocked: str, page: str) -> tuple[str, str, str]:
    # Older browsers send the directive with its values.
    directive = directive.split(" ")[0]
    if not DIRECTIVE.fullmatch(directive):
        raise ValueError("No directive.")
    if not KEYWORD.fullmatch(blocked):
        host = urlsplit(blocked).hostname or ""
        blocked = host if HOST.fullmatch(host) else "something"
    try:
        name = resolve(urlsplit(page).path).view_name
    except Resolver404:
        name = "another page"
    return directive, blocked, name


def log(directive: str, blocked: str, page: str):
    allowed, passed_over = allowance.take()
    if allowed:
        more = f" ({passed_over} reports before it were left out)" if passed_over else ""
        logger.warning("CSP: %s blocked %s on %s%s", directive, blocked, page, more)
