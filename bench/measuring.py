"""A case to measure, and the loop that measures all cases."""

import math
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from .site import Site

# On the page: how far back the search got, if it did not reach the end.
REACHED = re.compile(rb'class="reached".*?<time datetime="([0-9-]{10})', re.DOTALL)
CONVERSATION = re.compile(rb"/conversations/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/")


def plain(statements, **values):
    """A function that reads all rows of each statement, and returns how many the first one has."""

    def read(connection):
        results = [connection.execute(each, values).fetchall() for each in statements]
        return len(results[0])

    return read


def timed(call, *args):
    began = time.perf_counter()
    result = call(*args)
    return time.perf_counter() - began, result


@dataclass
class Case:
    site: Site
    page: str
    # Which conversation, or how many sessions there are.
    kind: str
    path: str
    # These read the same rows through a psycopg connection: the first as a person would in psql,
    # the second as the original system does.
    bare: Callable
    original: Callable | None = None
    headers: dict[str, str] = field(default_factory=dict)
    first_byte: bool = False
    # The results: seconds, and what the last answer contained.
    page_times: list[float] = field(default_factory=list)
    bare_times: list[float] = field(default_factory=list)
    original_seconds: float | None = None
    processor_times: list[float] = field(default_factory=list)
    size: int = 0
    conversations: int = 0
    reached: str = ""
    bare_rows: int = 0
    queries: int = 0
    # Why there are no figures, if there are none.
    failure: str = ""

    def measure(self, *, warm_up: bool):
        # The first request is not measured: other cases may have been filling the caches for half a
        # minute.
        for times in (None, self.page_times):
            worked = self.site.processor_seconds()
            seconds, response, body = self.request()
            worked = self.site.processor_seconds() - worked
            if response.status != 200:
                self.failure = f"{self.path} answered {response.status}"
                return
            if times is not None and not warm_up:
                times.append(seconds)
                self.processor_times.append(worked)
        self.size = len(body)
        self.conversations = len(set(CONVERSATION.findall(body)))
        self.reached = (REACHED.findall(body) or [b""])[0].decode()
        for times in (None, self.bare_times):
            seconds, self.bare_rows = timed(self.bare, self.site.database)
            if times is not None and not warm_up:
                times.append(seconds)
        # Once is enough: the original takes up to a minute, and is compared with milliseconds.
        if self.original and not warm_up and self.original_seconds is None:
            self.original_seconds = timed(self.original, self.site.original)[0]

    def request(self):
        """(seconds to the last byte, or to the first; the response; its body)"""
        began = time.perf_counter()
        response = self.site.request(self.path, self.headers)
        start = response.read(1)
        first = time.perf_counter() - began
        body = start + response.read()
        whole = time.perf_counter() - began
        return first if self.first_byte else whole, response, body

    @property
    def page_ms(self) -> float:
        return median(self.page_times) * 1000

    @property
    def processor_ms(self) -> float:
        return median(self.processor_times) * 1000

    @property
    def bare_ms(self) -> float:
        return median(self.bare_times) * 1000

    @property
    def original_ms(self) -> float:
        return (self.original_seconds or math.nan) * 1000


def count_queries(cases: list[Case]):
    for case in cases:
        case.queries = case.site.count_queries(case.path, case.headers)


def measure(cases: list[Case], rounds: int, say: Callable):
    """Measure every case once per round, each time in another order. Round 0 only warms up."""
    for number in range(rounds + 1):
        began = time.monotonic()
        order = [case for case in cases if not case.failure]
        random.Random(number).shuffle(order)  # noqa: S311
        for case in order:
            case.measure(warm_up=not number)
            if case.failure:
                say(f"{case.kind}: {case.failure}; leaving it out.")
        if not number:
            round_takes = time.monotonic() - began
            minutes = rounds * round_takes / 60
            say(f"A round takes {round_takes:.0f} s; {rounds} more will take {minutes:.0f} min.")
