"""Whether a slow search by one person is felt by another who opens the list."""

import threading
import time
from itertools import cycle
from statistics import median, quantiles
from urllib.parse import urlencode

from django.core.management import CommandError

from .history import RARE_PAIR
from .list_cases import LIST
from .site import Site

BLOCKS = 7
SECONDS = 5
# More than one, so that each of the server's processes has its share.
CONNECTIONS = 4


def others_first_page(site: Site, searcher) -> str:
    """The first page while nobody searches and while somebody does, in turns; as a table."""
    connections = cycle([site.connect() for _ in range(CONNECTIONS)])
    alone, meanwhile, searches = [], [], []

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

    def search(stop):
        connection = site.connect()
        path = f"{LIST}?{urlencode({'search': RARE_PAIR})}"
        while not stop.is_set():
            began = time.perf_counter()
            site.request(path, connection=connection, client=searcher).read()
            searches.append(time.perf_counter() - began)
        connection.close()

    pages([])
    for _ in range(BLOCKS):
        pages(alone)
        stop = threading.Event()
        thread = threading.Thread(target=search, args=[stop])
        thread.start()
        try:
            pages(meanwhile)
        finally:
            stop.set()
            thread.join()
    for _ in range(CONNECTIONS):
        next(connections).close()
    return "\n".join(
        [
            "| first page | requests | median, ms | 95th percentile, ms |",
            "|---|--:|--:|--:|",
            line("nobody searches", alone),
            line("somebody else searches for two letters", meanwhile),
            "",
            f"In turns of {SECONDS} s; {len(searches)} searches, one after the other, of "
            f"{median(searches):.1f} s each.",
            "",
        ]
    )


def line(name: str, times: list[float]) -> str:
    high = quantiles(times, n=20)[-1]
    return f"| {name} | {len(times)} | {median(times) * 1000:.1f} | {high * 1000:.1f} |"
