"""
Work that the site does without a request. One thread in each gunicorn process runs all jobs, one
after another. Tests and commands have no such thread.
"""

import logging
import random
import threading
import time
from collections.abc import Callable

from django.db import connections

logger = logging.getLogger(__name__)

# At shutdown, a job still in a statement after this is cut off: its transaction is rolled back.
END_SECONDS = 3

_jobs: dict[Callable[[], None], float] = {}
_ending = threading.Event()
_threads: list[threading.Thread] = []


def every(seconds: float, job: Callable[[], None]):
    """Run the job regularly. It must itself keep other processes from doing the same work."""
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
    """Wait within a job. Returns True if the job should stop."""
    return _ending.wait(seconds)


def work():
    # Processes that started together should not all begin at the same moment.
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
            # Idle connections would add to those of the requests.
            connections.close_all()
        due[job] = time.monotonic() + _jobs[job]
