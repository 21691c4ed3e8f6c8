"""
What the site does by itself: one thread in each of gunicorn's processes does all of it, one job
after the other. Tests and commands have no such thread.
"""

import logging
import random
import threading
import time
from collections.abc import Callable

from django.db import connections

logger = logging.getLogger(__name__)

# A job that is in a statement at the end is cut off: its transaction is rolled back.
END_SECONDS = 3

_jobs: dict[Callable[[], None], float] = {}
_ending = threading.Event()
_threads: list[threading.Thread] = []


def every(seconds: float, job: Callable[[], None]):
    """Jobs see to it themselves that other processes do not do the same at that moment."""
    _jobs[job] = seconds


def begin():
    thread = threading.Thread(target=work, name="jobs", daemon=True)
    _threads.append(thread)
    thread.start()


def end():
    _ending.set()
    while _threads:
        _threads.pop().join(END_SECONDS)
    _ending.clear()


def rest(seconds: float) -> bool:
    """Wait within a job. Returns whether it should stop."""
    return _ending.wait(seconds)


def work():
    # Processes that were begun together should not all ask at the same time.
    due = {job: time.monotonic() + _jobs[job] * random.uniform(0.5, 1) for job in _jobs}  # noqa: S311
    while due:
        job = min(due, key=lambda each: due[each])
        if rest(max(due[job] - time.monotonic(), 0)):
            return
        try:
            job()
        except Exception:
            logger.warning("The job %s failed.", job.__name__, exc_info=True)
        finally:
            # Not idle ones, beside those of the requests.
            connections.close_all()
        due[job] = time.monotonic() + _jobs[job]
