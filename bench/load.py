"""Fifty people at once, while others download everything and search without a pause."""

import json
import os
import subprocess
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from django.core.management import CommandError

from .history import COMMON, RARE_PAIR
from .others import p95
from .site import HOST, Site, signed_in
from .tables import goal_row, table

PEOPLE = Path(__file__).with_name("people.py")
READERS, SEARCHERS, EXPORTERS = 50, 3, 2
IDLE_SECONDS = 60
# How long it takes until everybody has arrived and every process is warm.
SETTLING_SECONDS = 30
# Seconds between two samples of the processes' memory.
MEMORY_EVERY = 10
MEGABYTE = 10**6


class Answers:
    """
    What locust measured: `times`, {name: milliseconds of each answer}, the failures, and how many
    `pages` there were, also those before everything had settled.
    """

    def __init__(self, rows, settled: float):
        self.times = defaultdict(list)
        self.failures = []
        self.pages = sum(is_page(name) for name, *_ in rows)
        for name, began, milliseconds, failure in rows:
            if failure:
                self.failures.append(f"{name}: {failure}")
            elif began >= settled:
                self.times[name].append(milliseconds)

    def of_pages(self) -> list[float]:
        return [each for name in self.times if is_page(name) for each in self.times[name]]


def is_page(name: str) -> bool:
    return name != "export" and "fragment" not in name


def locust(site: Site, seconds: int, settling: int, **people: int) -> Answers:
    number = sum(people.values())
    cookies = [site.cookies(signed_in(f"person-{n}-of-{number}")) for n in range(number)]
    with TemporaryDirectory() as folder:
        answers = Path(folder) / "answers.json"
        environment = {
            **os.environ,
            "BENCH_ANSWERS": str(answers),
            "BENCH_COOKIES": json.dumps(cookies),
            "BENCH_COMMON": COMMON,
            "BENCH_RARE": RARE_PAIR,
            **{f"BENCH_{role.upper()}": str(count) for role, count in people.items()},
        }
        command = [os.environ.get("LOCUST", "locust"), "--locustfile", str(PEOPLE), "--headless"]
        command += ["--users", str(number), "--spawn-rate", "10"]
        command += ["--run-time", f"{seconds}s", "--stop-timeout", "30s", "--only-summary"]
        command += ["--host", f"http://{HOST}:{site.port}"]
        found = subprocess.run(  # noqa: S603
            command, env=environment, capture_output=True, text=True, check=False
        )
        if not answers.exists():
            raise CommandError(f"locust ended with {found.returncode}: {found.stderr[-2000:]}")
        rows = json.loads(answers.read_text())
    began = min(row[1] for row in rows)
    return Answers(rows, began + settling)


class Memory(threading.Thread):
    """Samples how much memory the worker processes use together, in megabytes."""

    def __init__(self, site: Site):
        super().__init__(daemon=True)
        self.site = site
        self.samples = []
        self.ended = threading.Event()

    def run(self):
        while not self.ended.wait(MEMORY_EVERY):
            self.samples.append(sum(self.site.bytes_held("VmRSS")) / MEGABYTE)

    def stop(self) -> tuple[float, float]:
        """The medians of the second and the last quarter. The first quarter is for warming up."""
        self.ended.set()
        quarter = max(len(self.samples) // 4, 1)
        return median(self.samples[quarter : 2 * quarter]), median(self.samples[-quarter:])


def load_tables(site: Site, minutes: int, say: Callable[[str], None]) -> tuple[str, str]:
    """Measure the site under load: (a table of the goals, a table of the figures)."""
    say("Measuring one person alone …")
    idle = locust(site, IDLE_SECONDS + 10, 10, readers=1)
    say(f"Measuring {READERS} people for {minutes} minutes, while others export and search …")
    memory = Memory(site)
    memory.start()
    began = site.processor_seconds()
    people = {"readers": READERS, "searchers": SEARCHERS, "exporters": EXPORTERS}
    busy = locust(site, minutes * 60 + SETTLING_SECONDS, SETTLING_SECONDS, **people)
    worked = site.processor_seconds() - began
    before, after = memory.stop()
    for failure in sorted(set(busy.failures))[:20]:
        say(f"Failed: {failure}")
    usual, most = median(idle.of_pages()), p95(busy.of_pages())
    requests = sum(len(times) for times in busy.times.values()) + len(busy.failures)
    growth = after / before - 1
    goals = [
        goal_row("errors", "0", f"{len(busy.failures)} of {requests:,}", not busy.failures),
        goal_row(
            "pages, 95th percentile, to the median of one person alone",
            "at most 2.00 times",
            f"{most / usual:.2f} times ({most:.0f} ms, {usual:.0f} ms)",
            most <= 2 * usual,
        ),
        goal_row(
            "memory of all processes, from the second quarter to the last",
            "at most 10% more",
            f"{growth:+.0%} ({before:.0f} MB, {after:.0f} MB)",
            growth <= 0.1,
        ),
    ]
    head = ["what", "alone, median, ms", "requests", "median, ms", "95th percentile, ms"]
    rows = [
        [
            name,
            f"{median(idle.times[name]):.0f}" if idle.times[name] else "",
            f"{len(times):,}",
            f"{median(times):,.0f}",
            f"{p95(times):,.0f}" if len(times) > 1 else "",
        ]
        for name, times in sorted(busy.times.items())
    ]
    measured = table(head, rows, 1)
    measured += (
        f"\nFor each second of processor time, the web processes made {busy.pages / worked:.0f} "
        "pages with their fragments, beside searches and exports.\n"
    )
    return table(["figure", "goal", "reached", "met"], goals, 4), measured
