"""Answers for load balancers and process supervisors, without sign-in or content."""

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connections
from django.http import HttpResponse, JsonResponse


@login_not_required
def livez(request):
    return HttpResponse("ok\n", content_type="text/plain")


def answers(alias: str) -> bool:
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


@login_not_required
def readyz(request):
    """{alias: "ok" or "unavailable"}, with 503 when a database that pages need does not answer."""
    states = {alias: answers(alias) for alias in ("default", "agents")}
    return JsonResponse(
        {alias: "ok" if state else "unavailable" for alias, state in states.items()},
        status=200 if all(states.values()) else 503,
    )
