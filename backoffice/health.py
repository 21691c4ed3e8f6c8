"""Answers for load balancers, process supervisors and Prometheus, without sign-in or content."""

from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from django.db import Error, connections
from django.http import HttpResponse, JsonResponse

from .databases.replica import lag
from .metrics import metrics


def probes(get_response):
    """
    /livez, /readyz and, if a token is set, /metrics. They come before anything that reads the Host
    header, a cookie or a database: probes use host names of their own, and must get an answer when
    nothing else works.
    """

    def middleware(request):
        if request.path == "/livez":
            response = HttpResponse("ok\n", content_type="text/plain")
        elif request.path == "/readyz":
            response = readyz()
        elif request.path == "/metrics" and settings.METRICS_TOKEN:
            response = metrics(request)
        else:
            return get_response(request)
        response["Cache-Control"] = "no-store"
        return response

    return middleware


def answers(alias: str) -> bool:
    """Whether a new connection can be opened; its time limit also covers a frozen server."""
    connection = connections.create_connection(alias)
    # A replica must not fall back to its primary.
    connection.fallback = None
    try:
        connection.ensure_connection()
    except Error:
        return False
    finally:
        connection.close()
    return True


def readyz() -> JsonResponse:
    """
    {name: "ok" or "unavailable"}; 503 if a database that pages need does not answer. Of a replica
    and its primary, one is enough.
    """
    named = {"default": "default", "agents": "agents"}
    if lag.is_used():
        named = {"default": "default", "replica": lag.READER, "primary": lag.PRIMARY}
    with ThreadPoolExecutor(len(named)) as pool:
        states = dict(zip(named, pool.map(answers, named.values()), strict=True))
    readable = any(state for name, state in states.items() if name != "default")
    return JsonResponse(
        {name: "ok" if state else "unavailable" for name, state in states.items()},
        status=200 if states["default"] and readable else 503,
    )
