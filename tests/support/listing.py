"""Helpers for tests of the list of conversations, and a slow database."""

import re
from contextlib import contextmanager

from django.db import OperationalError, connections
from psycopg.errors import QueryCanceled

from .pages import HTMX, LIST, get, words

COUNTS = "/conversations/counts/"
NEW = "/conversations/new/"
TYPING = {**HTMX, "HX-Target": "main#browse"}


def listed(response) -> list:
    return [row.pk for row in response.context["rows"]]


def match(client, path=LIST, **parameters) -> list:
    """The ids of the rows under these filters, which must be valid."""
    response = get(client, path, **parameters)
    assert response.context["filter"].is_valid(), response.context["filter"].errors
    return listed(response)


def shown_counts(response) -> dict[str, str]:
    """{label: number as shown} of the links to problems."""
    links = re.findall(r"<a [^>]*>(.*?)</a>", response.content.decode(), re.DOTALL)
    found = [words(link).split() for link in links]
    return {" ".join(each[:-1]): each[-1] for each in found if each[-1] != "All"}


def be_patient(monkeypatch):
    """Raise the time limits of a page's parts to what no test needs, even on a busy machine."""
    for name in (
        "listing.counts.SECONDS",
        "listing.counts.COMMON_SECONDS",
        "listing.counts.PROBLEM_SECONDS",
        "listing.counts.PROBLEMS_SECONDS",
        "listing.open_page.SECONDS",
        "listing.snippets.SECONDS",
        "errors.collect.FIRST_SEEN_SECONDS",
        "selection.model_calls.NEWEST_SECONDS",
        "detail.views.NEIGHBOUR_SECONDS",
    ):
        monkeypatch.setattr(f"conversations.{name}", 60)


def timed_out(*args):
    raise OperationalError from QueryCanceled()


@contextmanager
def slowed(pattern: str, seconds: float = 5):
    """
    In the block, statements on the agent database that match `pattern` first sleep in the server,
    for `seconds` or until their time limit. Yields the list of these statements.
    """
    slow = []

    def wrapper(execute, sql, params, many, context):
        if re.search(pattern, sql):
            slow.append(sql)
            execute("SELECT pg_sleep(%s)", [seconds], False, context)
        return execute(sql, params, many, context)

    with connections["agents"].execute_wrapper(wrapper):
        yield slow
