"""
How far a streaming replica is behind its primary, and what users are told about it.

We compare positions in the write-ahead log, not just times: a replica's last change is also old if
nothing has been written since.
"""

import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib import messages
from django.db import DatabaseError, InterfaceError, connections
from django.utils import timezone

from backoffice.fragments import wants_fragment

from .base import DatabaseWrapper

READER, WRITER, PRIMARY = "agents", "agents_write", "agents_primary"
# A lag of this much is normal and not shown.
USUAL = timedelta(seconds=3)
KEPT_SECONDS = 3
# Used if the primary did not answer, because asking it again may take a whole connect timeout.
KEPT_WITHOUT_PRIMARY = 30
# How long a user who changed something waits for the replica to catch up.
FOLLOW_SECONDS = 2
NOT_YET = (
    "The change was saved. This site reads from a copy of the database that does not have it yet,"
    " so pages may show the old text for a while."
)

# Positions as numbers, because masking changes texts.
WRITTEN = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn, now()"
INSERTED = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
# A promoted replica, which replays nothing, returns no row.
REPLAYED = """
    SELECT pg_last_wal_replay_lsn() - '0/0'::pg_lsn, pg_last_xact_replay_timestamp()
    WHERE pg_is_in_recovery()
"""


@dataclass(frozen=True)
class Lag:
    """The replica has everything committed up to `until`; None if it cannot tell."""

    until: datetime | None
    # Whether we are sure that more has been committed since.
    known: bool = True

    @property
    def form(self) -> str:
        same_day = self.until and timezone.localdate(self.until) == timezone.localdate()
        return "time" if same_day else "full"


_lock = threading.Lock()
_kept: tuple[float, Lag | None] = (0.0, None)


def is_used() -> bool:
    return PRIMARY in settings.DATABASES


def lag() -> Lag | None:
    """None if the replica is practically up to date. The value may be seconds old; never raises."""
    global _kept
    if reads_primary():
        return None
    # One thread measures; meanwhile the others use the previous value.
    if time.monotonic() >= _kept[0] and _lock.acquire(blocking=False):
        try:
            found = measure()
            seconds = KEPT_SECONDS if found is None or found.known else KEPT_WITHOUT_PRIMARY
            _kept = (time.monotonic() + seconds, found)
        except (DatabaseError, InterfaceError):
            # The page will meet the same error and say so.
            _kept = (time.monotonic() + KEPT_SECONDS, None)
        finally:
            _lock.release()
    return _kept[1]


def reads_primary() -> bool:
    """Whether this thread reads the primary, because the replica did not answer."""
    reader = connections[READER]
    return (
        isinstance(reader, DatabaseWrapper) and reader.connection is not None and reader.fell_back
    )


def forget():
    """Measure again at the next use; for tests."""
    global _kept
    _kept = (0.0, None)


def measure() -> Lag | None:
    reader = connections[READER]
    reader.ensure_connection()
    if reads_primary():
        return None
    written = now = None
    # The primary first: what is written between the two queries does not count as lag.
    with suppress(DatabaseError, InterfaceError), closing(primary()) as connection:
        written, now = ask(connection, WRITTEN)
    answer = ask(reader, REPLAYED)
    if answer is None:
        return None
    replayed, until = answer
    if written is None:
        return Lag(until, known=False)
    if replayed is not None and replayed >= written:
        return None
    return None if until and now - until < USUAL else Lag(until)


def primary():
    # Closed after use: otherwise each thread would keep one more connection just for this.
    return connections.create_connection(PRIMARY)


def ask(connection, query: str):
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()


def follow(request):
    """After a change, wait briefly for the replica; if it has not caught up, tell the user."""
    if not is_used():
        return
    try:
        if has_followed():
            return
    except (DatabaseError, InterfaceError):
        # The change is committed already.
        pass
    messages.warning(request, NOT_YET)


def has_followed() -> bool:
    [position] = ask(connections[WRITER], INSERTED)
    end = time.monotonic() + FOLLOW_SECONDS
    while answer := ask(connections[READER], REPLAYED):
        if answer[0] is not None and answer[0] >= position:
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    # Not in recovery: we are reading from the primary.
    return True


def context(request) -> dict:
    """For templates, which measure the lag only if they show it."""
    return {"reads_replica": True, "lag": lag, "in_fragment": wants_fragment(request)}
