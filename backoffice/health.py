"""Answers for load balancers, process supervisors and Prometheus, without sign-in or content."""

from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from django.db import Error, connections
from django.http import HttpResponse, JsonResponse

from .metrics import metrics


def probes(get_response):
    """
    /livez, /readyz and, where it has a token, /metrics, before anything that looks at the Host
    header, a cookie or a database: probes name hosts of their own, and must be answered when
    nothing else can be.
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
    """Whether a new connection can be made; its own time limit also ends a frozen server's."""
    connection = connections.create_connection(alias)
    try:
        connection.ensure_connection()
    except Error:
        return False
    finally:
        connection.close()
    return True


def readyz() -> JsonResponse:
    """{alias: "ok" or "unavailable"}, with 503 when a database that pages need does not answer."""
    aliases = ("default", "agents")
    with ThreadPoolExecutor(len(aliases)) as pool:
        states = dict(zip(aliases, pool.map(answers, aliases), strict=True))
    return JsonResponse(
        {alias: "ok" if state else "unavailable" for alias, state in states.items()},
        status=200 if all(states.values()) else 503,
    )
