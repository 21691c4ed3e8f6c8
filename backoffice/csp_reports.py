"""What browsers tell of the Content-Security-Policy: a line of the log each, and no more."""

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

# Bytes of one request, which may hold several reports.
LONGEST = 65_536
# Anybody may send reports: of each process, the log gets so many lines a minute.
LINES_A_MINUTE = 10
MINUTE = 60
DIRECTIVE = re.compile(r"[a-z-]{1,40}")
# What is blocked that has no address: inline, eval, trusted-types-sink, data, blob.
KEYWORD = re.compile(r"[a-z-]{1,40}")
HOST = re.compile(r"[a-z0-9.-]{1,100}")


class Allowance:
    """So many times a minute; what was beyond it is counted."""

    def __init__(self):
        self.lock = threading.Lock()
        self.began, self.used, self.passed_over = 0.0, 0, 0

    def take(self) -> tuple[bool, int]:
        """(whether once more is allowed, how many were not since the last that was)"""
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
            request, 400, "That is no report", "Browsers report here what a page was kept from."
        )
    for report in reports:
        log(*report)
    return HttpResponse(status=204)


def parse(content_type: str, body: bytes) -> list[tuple[str, str, str]]:
    """
    (directive, what was blocked, the page) of each report in one of the two forms that there are.
    None of them holds a stranger's words, but for the name of a host.
    """
    found = json.loads(body)
    if content_type == "application/csp-report":
        report = found["csp-report"]
        directive = report.get("effective-directive") or report["violated-directive"]
        return [described(directive, report["blocked-uri"], report["document-uri"])]
    if content_type != "application/reports+json":
        raise ValueError("Neither of the two forms.")
    violations = [each["body"] for each in found if each["type"] == "csp-violation"]
    return [
        described(each["effectiveDirective"], each["blockedURL"], each["documentURL"])
        for each in violations
    ]


def described(directive: str, blocked: str, page: str) -> tuple[str, str, str]:
    # An older browser gives the directive with its values.
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
        more = f" ({passed_over} reports before it were passed over)" if passed_over else ""
        logger.warning("CSP: %s blocked %s on %s%s", directive, blocked, page, more)
