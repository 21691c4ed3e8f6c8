"""
One pass of the rollup, step by step.

Each step is a transaction in our own database under one lock, and reads there what it goes on from:
it does not matter which process makes the next step, or whether one was killed.
"""

import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from itertools import islice

from django.db import connections, transaction
from django.db.models import F
from django.utils import timezone

from audit.keys import key_name, keys
from backoffice import jobs
from backoffice.databases.time_limits import time_limit
from conversations.agentdb import revision

from ..models import Activity, Cell, Changed, Fact, Progress, Stale
from . import cells, changes, facts, workflows
from .writing import mark_stale

# Goes up whenever all tables have to be made anew.
FORM = 1
LOCK = "SELECT pg_advisory_xact_lock(1684370289)"
TRY_LOCK = "SELECT pg_try_advisory_xact_lock(1684370289)"
STATEMENT_SECONDS = 60
# How many conversations are read in one step.
BATCH = 500
EVERY_SECONDS = 30
# For what the site does by itself: its other jobs wait for so long.
JOB_SECONDS = 15


class Stopped(Exception):
    """There is no time left, or another process is at it."""


@contextmanager
def patient() -> Iterator[None]:
    """Nobody waits for an answer."""
    with time_limit("default", STATEMENT_SECONDS), time_limit("agents", STATEMENT_SECONDS):
        yield


class Pass:
    """`wait`: for other processes, which otherwise stop it; `seconds`: how long it may take."""

    def __init__(self, *, wait: bool, seconds: float | None = None):
        self.wait = wait
        self.ends = None if seconds is None else time.monotonic() + seconds
        # How many conversations were read.
        self.read = 0

    @contextmanager
    def step(self) -> Iterator[None]:
        is_late = self.ends is not None and time.monotonic() > self.ends
        if is_late or jobs.rest(0):
            raise Stopped
        with transaction.atomic(using="default"), connections["default"].cursor() as cursor:
            cursor.execute(LOCK if self.wait else TRY_LOCK)
            if not (self.wait or cursor.fetchone()[0]):
                raise Stopped
            yield

    @patient()
    def run(self):
        """Everything that happened until now."""
        with self.step():
            is_complete = begin()
        while self.reread():
            pass
        while self.walk() and not is_complete:
            pass
        self.catch_up()
        with self.step():
            workflows.note_changes()
        self.make_cells()
        self.finish()

    @patient()
    def rebuild(self, since: datetime, until: datetime):
        """Read again whatever was active in this time, and make its cells anew."""
        with self.step():
            begin()
        since = max(since, changes.beginning())
        # A conversation goes on after what happened in it.
        for window in changes.windows(since, changes.now() + changes.OVERLAP):
            self.replace(changes.begun_before(until, *window), thoroughly=True)
        for window in changes.windows(since, until):
            self.replace(changes.active(*window), thoroughly=True)
            with self.step():
                mark_stale(changes.quarters_of_calls(*window) | changes.quarters_of_cells(*window))
        self.run()

    def replace(self, ids: Iterable[uuid.UUID], *, thoroughly: bool = False):
        rest = iter(ids)
        while batch := list(islice(rest, BATCH)):
            with self.step():
                facts.replace(batch, thoroughly=thoroughly)
            self.read += len(batch)

    def reread(self) -> int:
        """Conversations that we have changed ourselves."""
        with self.step():
            ids = list(Changed.objects.values_list("pk", flat=True)[:BATCH])
            # Whoever names one of them from now on waits until it is read.
            Changed.objects.filter(pk__in=ids).delete()
            facts.replace(ids, thoroughly=True)
        return len(ids)

    def walk(self) -> bool:
        """Compare the next conversations with their facts. False if these were the last."""
        with self.step():
            progress = Progress.objects.get()
            at = progress.walked_updated_at
            after = changes.Place(at, progress.walked_session_id) if at else None
            changed, last = changes.different(after)
            facts.replace(changed)
            progress.walked_updated_at = last and last.updated_at
            progress.walked_session_id = last and last.id
            progress.is_complete |= last is None
            progress.save()
        self.read += len(changed)
        return last is not None

    def catch_up(self):
        """Read what has happened since the last pass."""
        now = changes.now()
        seen = Progress.objects.values_list("seen", flat=True).get()
        self.replace(changes.unfinished())
        for since, until in changes.windows(seen - changes.OVERLAP, now + changes.OVERLAP):
            self.replace(changes.known_active(since, until) | changes.recent(since, until))
            with self.step():
                mark_stale(changes.quarters_of_calls(since, until))
                Progress.objects.filter(seen__lt=min(until, now)).update(seen=min(until, now))

    def make_cells(self):
        is_stale = True
        while is_stale:
            with self.step():
                is_stale = cells.make_stale_ones()

    def finish(self):
        with self.step():
            cells.delete_old_quarters()
            if not Stale.objects.exists():
                Progress.objects.filter(is_complete=True).update(as_of=F("seen"))


def begin() -> bool:
    """Whether there has been a whole pass already. Needs a transaction."""
    progress = Progress.objects.first() or Progress(form="")
    if progress.form == form():
        return progress.is_complete
    if int(progress.form.partition(" ")[0] or 0) > FORM:
        raise Stopped("A newer version of this site keeps the figures.")
    with connections["default"].cursor() as cursor:
        for model in (Fact, Activity, Cell, Stale, Changed, Progress):
            cursor.execute(f"TRUNCATE {model._meta.db_table}")
    Progress.objects.create(form=form(), seen=changes.now())
    for window in changes.windows(changes.beginning(), changes.now()):
        mark_stale(changes.quarters_of_calls(*window))
    return False


def form() -> str:
    """What the tables depend on besides the conversations."""
    columns = (
        revision.has_run_durations(),
        revision.has_model_call_links(),
        revision.has_token_details(),
    )
    return f"{FORM} {key_name(keys(facts.PURPOSE)[0])} {''.join(str(int(has)) for has in columns)}"


def roll_up_by_itself():
    """For the thread of jobs: what any process of the site did lately need not be done again."""
    progress = Progress.objects.first()
    recently = timezone.now() - timedelta(seconds=EVERY_SECONDS)
    if progress and progress.as_of and progress.as_of > recently:
        return
    with suppress(Stopped):
        Pass(wait=False, seconds=JOB_SECONDS).run()
