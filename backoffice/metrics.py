"""
Metrics for Prometheus. Labels are names from our code, never ids, URLs or texts, so that requests
for odd URLs cannot add any. The processes' figures are added up in PROMETHEUS_MULTIPROC_DIR, which
gunicorn.conf.py creates.
"""

import os
import platform
import sys

import django
from django.conf import settings
from django.core.signals import got_request_exception
from django.db import Error, InterfaceError, OperationalError
from django.http import HttpResponse
from django.utils.crypto import constant_time_compare
from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from .client import current_client
from .databases.errors import alias_of, is_timeout

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

ours = CollectorRegistry()
REQUESTS = Counter(
    "desk_requests", "Requests answered", ["view", "method", "status"], registry=ours
)
DURATION = Histogram(
    "desk_request_duration_seconds", "Time until the answer begins", ["view"], registry=ours
)
DATABASE_FAILURES = Counter(
    "desk_database_failures",
    "Requests that failed because of a database",
    ["database", "kind"],
    registry=ours,
)
EXPORTS = Counter("desk_exports", "Exports by how they ended", ["outcome"], registry=ours)
EXPORTS_RUNNING = Gauge(
    "desk_exports_running", "Exports in progress", registry=ours, multiprocess_mode="livesum"
)
SIGN_INS_FAILED = Counter("desk_sign_ins_failed", "Failed sign-ins", registry=ours)
BUILD = Gauge(
    "desk_build_info",
    "The running version",
    ["version", "django", "python"],
    registry=ours,
    multiprocess_mode="livemax",
)


def answered(request, response, seconds: float):
    """Count an answered request."""
    match = request.resolver_match
    view = match.view_name if match else "none"
    method = request.method if request.method in METHODS else "other"
    REQUESTS.labels(view, method, response.status_code).inc()
    DURATION.labels(view).observe(seconds)


def request_failed(**kwargs):
    error = sys.exc_info()[1]
    if isinstance(error, Error):
        database_failed(error)


def database_failed(error: Error):
    """Count a request that failed because of a database. Code that catches the error calls this."""
    client = current_client.get()
    # A query cancelled because its client left looks like a timeout.
    if is_timeout(error) and client and client.has_left:
        return
    kind = "error"
    if is_timeout(error):
        kind = "timeout"
    elif isinstance(error, OperationalError | InterfaceError):
        kind = "unavailable"
    DATABASE_FAILURES.labels(alias_of(error), kind).inc()


def sign_in_failed(**kwargs):
    SIGN_INS_FAILED.inc()


def metrics(request) -> HttpResponse:
    """All metrics, for requests with METRICS_TOKEN."""
    given = request.headers.get("Authorization", "")
    if not constant_time_compare(given, f"Bearer {settings.METRICS_TOKEN}"):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    registry = ours
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def start():
    from django.contrib.auth.signals import user_login_failed

    got_request_exception.connect(request_failed, dispatch_uid="metrics")
    user_login_failed.connect(sign_in_failed, dispatch_uid="metrics")
    BUILD.labels(settings.VERSION, django.__version__, platform.python_version()).set(1)
