"""conversations.csv through gunicorn, compared with a bare COPY of the same statement."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import psycopg
from django.core.management import CommandError
from django.http import QueryDict
from django.urls import reverse

from conversations.exports.files import File, export_file
from conversations.models import Session
from conversations.selection.filters import ConversationFilter

from .databases import reading
from .list_cases import LIST
from .others import first_page_table, in_turns, p95
from .site import HOST, Site
from .tables import goal_row, table

ROUNDS = 3
PATH = reverse("conversations:export", args=["conversations", "csv"])
READ = 65_536
MEGABYTE = 10**6


@dataclass
class Times:
    """How long downloads of one kind took, in seconds."""

    whole: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    size: int = 0

    def row(self, name: str, sessions: int) -> list[str]:
        seconds = median(self.whole)
        return [
            name,
            f"{seconds:,.1f}",
            f"{sessions / seconds:,.0f}",
            f"{self.size / MEGABYTE / seconds:.1f}",
            f"{median(self.first) * 1000:,.0f}",
        ]


def bare_copy(connection: psycopg.Connection, file: File, times: Times):
    """Read the rows with libpq alone, and throw them away."""
    began = time.perf_counter()
    size = 0
    with connection.cursor() as cursor, cursor.copy(file.statement, file.params):
        while True:
            length, _ = connection.pgconn.get_copy_data(0)
            if length < 0:
                break
            if not size:
                times.first.append(time.perf_counter() - began)
            size += length
        list(iter(connection.pgconn.get_result, None))
    times.whole.append(time.perf_counter() - began)
    times.size = size


def download(site: Site, times: Times):
    connection = site.connect()
    began = time.perf_counter()
    response = site.request(PATH, connection=connection)
    if response.status != 200:
        raise CommandError(f"{PATH} answered {response.status}.")
    size = len(response.read(1))
    times.first.append(time.perf_counter() - began)
    while block := response.read(READ):
        size += len(block)
    times.whole.append(time.perf_counter() - began)
    times.size = size
    connection.close()


def export_tables(site: Site, sessions: int, say: Callable[[str], None]) -> tuple[str, str]:
    """Measure exports: (a table of the goals, a table of the figures)."""
    with reading(site.name):
        matching = ConversationFilter(QueryDict(), queryset=Session.objects.all()).matching
        address = f"http://{HOST}:{site.port}{LIST}"
        file = export_file("conversations", "csv", matching, site=address)
    # Warm up both processes.
    connections = [site.connect() for _ in range(16)]
    for connection in connections:
        site.request(LIST, connection=connection).read()
        site.request(f"{PATH}?external_id=nobody", connection=connection).read()
    for connection in connections:
        connection.close()
    before = max(site.bytes_held("VmHWM"))
    bare, page = Times(), Times()
    for number in range(ROUNDS):
        bare_copy(site.database, file, bare)
        download(site, page)
        say(f"Round {number + 1} of {ROUNDS}: {bare.whole[-1]:.0f} s and {page.whole[-1]:.0f} s.")
    growth = (max(site.bytes_held("VmHWM")) - before) / MEGABYTE
    say("Measuring the first page while somebody exports …")

    def busy(stop: threading.Event):
        connection = site.connect()
        response = site.request(PATH, connection=connection)
        while not stop.is_set() and response.read(READ):
            pass
        response.close()
        connection.close()

    alone, meanwhile = in_turns(site, busy)
    share = median(bare.whole) / median(page.whole)
    first = max(page.first) * 1000
    slower = p95(meanwhile) / p95(alone)
    goals = [
        goal_row("throughput, to a bare COPY of the same statement", "at least 80%",
             f"{share:.0%}", share >= 0.8),
        goal_row("first byte", "at most 1,000 ms", f"{first:,.0f} ms", first <= 1000),
        goal_row("memory of a process grows", "at most 30 MB", f"{growth:.1f} MB", growth <= 30),
        goal_row("first page, 95th percentile, to nobody exporting", "at most 2.00 times",
             f"{slower:.2f} times", slower <= 2),
    ]  # fmt: skip
    measured = [bare.row("bare COPY", sessions), page.row("through gunicorn", sessions)]
    return (
        table(["figure", "goal", "reached", "met"], goals, 4),
        table(["conversations.csv", "seconds", "rows/s", "MB/s", "first byte, ms"], measured, 1)
        + f"\nIn turns, {ROUNDS} times each; {page.size / MEGABYTE:,.0f} MB.\n\n"
        + first_page_table(
            {"nobody exports": alone, "somebody else exports everything": meanwhile},
            "an export each, which is stopped at its end.",
        ),
    )
