"""Does one person's work slow down the list for another?"""

import threading
import time
from collections.abc import Callable
from itertools import cycle
from statistics import median, quantiles
from urllib.parse import urlencode

from django.core.management import CommandError

from .history import RARE_PAIR
from .list_cases import LIST
from .site import Site

BLOCKS = 7
SECONDS = 5
# Several, so that each of the server's processes gets requests.
CONNECTIONS = 4


def in_turns(
    site: Site, busy: Callable[[threading.Event], None]
) -> tuple[list[float], list[float]]:
    """Seconds for each first page: while nobody does anything else, and while `busy` runs."""
    connections = cycle([site.connect() for _ in range(CONNECTIONS)])
    alone, meanwhile = [], []

    def pages(times):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            connection = next(connections)
            began = time.perf_counter()
            response = site.request(LIST, connection=connection)
            response.read()
            times.append(time.perf_counter() - began)
            if response.status != 200:
                raise CommandError(f"{LIST} answered {response.status}.")

    pages([])
    for _ in range(BLOCKS):
        pages(alone)
        stop = threading.Event()
        thread = threading.Thread(target=busy, args=[stop])
        thread.start()
        try:
            pages(meanwhile)
        finally:
            stop.set()
            thread.join()
    for _ in range(CONNECTIONS):
        next(connections).close()
    return alone, meanwhile


def others_first_page(site: Site, searcher) -> str:
    """A table: the first page while nobody searches, and while somebody does."""
    searches = []

    def search(stop):
        connection = site.connect()
        path = f"{LIST}?{urlencode({'search': RARE_PAIR})}"
        while not stop.is_set():
            began = time.perf_counter()
            site.request(path, connection=connection, client=searcher).read()
            searches.append(time.perf_counter() - began)
        connection.close()

    alone, meanwhile = in_turns(site, search)
    return first_page_table(
        {"nobody searches": alone, "somebody else searches for two letters": meanwhile},
        f"{len(searches)} searches, one after the other, of {median(searches):.1f} s each.",
    )


def first_page_table(times: dict[str, list[float]], about: str) -> str:
    return "\n".join(
        [
            "| first page | requests | median, ms | 95th percentile, ms |",
            "|---|--:|--:|--:|",
            *(line(name, each) for name, each in times.items()),
            "",
            f"In turns of {SECONDS} s; {about}",
            "",
        ]
    )


def p95(times: list[float]) -> float:
    return quantiles(times, n=20)[-1]


def line(name: str, times: list[float]) -> str:
    return f"| {name} | {len(times)} | {median(times) * 1000:.1f} | {p95(times) * 1000:.1f} |"
