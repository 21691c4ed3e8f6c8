"""
Connections with an end to every wait.

A server that is frozen or cut off answers nothing, not even a cancelled query: libpq would wait for
ever. A server that only takes its time still greets whoever comes.
"""

import math
import os
import socket
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.errors import ConnectionTimeout, _WaitTimeout

from backoffice.client import current_client

# After so long without an answer we ask whether the server is there, and that long for its answer.
QUIET_SECONDS = 1
GREETING_SECONDS = 1
# What somebody who has left asks for is given up at once; what needs no longer is not worth it.
LEFT_SECONDS = 0.01
# What is no query of a page: a look at whether an idle connection still works.
CHECK_SECONDS = 2
# A server that was silent just now need not be asked again.
REST_SECONDS = 0.5
# PostgreSQL stops a statement at its time limit by itself, unless that one process hangs.
GRACE_SECONDS = 1
# What a statement of the page that is being made may take where its connection sets no limit; None
# outside of pages. Set by time_limits.limit_pages().
page_seconds: ContextVar[float | None] = ContextVar("page_seconds", default=None)
# A new client's question whether it may use TLS. Any server answers it with one byte before it
# knows who asks, PgBouncer too, and it takes no place among the connections.
SSL_REQUEST = bytes.fromhex("0000000804d2162f")


class Unanswered(psycopg.OperationalError):
    """The server does not answer."""


class Watch:
    """What this process knows of one database's silence."""

    # Commands are patient: only the site looks at the clock. See wsgi.py.
    is_on = False

    def __init__(self):
        self.silent_at = -math.inf
        self.suspect = False
        self.trying = threading.Lock()

    def note_silence(self):
        self.silent_at = time.monotonic()
        self.suspect = True

    def was_silent_just_now(self) -> bool:
        return time.monotonic() - self.silent_at < REST_SECONDS

    @contextmanager
    def connecting(self):
        """
        After a silence one thread at a time finds out whether it is over. The others wait no longer
        than a server that is well takes: they may have pages to serve that do not need this one.
        """
        first = False
        if self.is_on and self.suspect:
            first = self.trying.acquire(timeout=REST_SECONDS)
            if self.suspect and (not first or self.was_silent_just_now()):
                if first:
                    self.trying.release()
                raise Unanswered("The server did not answer a moment ago.")
        try:
            yield
            self.suspect = False
        except ConnectionTimeout:
            self.note_silence()
            raise
        finally:
            if first:
                self.trying.release()


def greets(connected: int) -> bool:
    """Whether the server at the other end of that socket answers a newcomer."""
    try:
        with socket.socket(fileno=os.dup(connected)) as known:
            family, address = known.family, known.getpeername()
        with socket.socket(family, socket.SOCK_STREAM) as newcomer:
            newcomer.settimeout(GREETING_SECONDS)
            newcomer.connect(address)
            newcomer.sendall(SSL_REQUEST)
            return bool(newcomer.recv(1))
    except OSError:
        return False


def resumable(generator: PQGen[RV]) -> PQGen[RV]:
    """
    One of psycopg's that may be waited for again. That begins with next(), which sends None, where
    one that is in the middle of sending takes nothing but what is ready: so far, nothing is.
    """
    try:
        awaited = next(generator)
        while True:
            awaited = generator.send((yield awaited) or 0)
    except StopIteration as end:
        return end.value


class Connection(psycopg.Connection):
    # Set by DatabaseWrapper.get_new_connection().
    watch = Watch()
    limit_seconds: float = CHECK_SECONDS
    ends_with_client = False
    # The time limit that was sent with the statement that runs now.
    statement_seconds: float | None = None

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        if args or kwargs or not Watch.is_on:
            return super().wait(gen, *args, **kwargs)
        end = time.monotonic() + self.seconds_to_wait()
        client = current_client.get() if self.ends_with_client else None
        # Whoever caught the end of one query, as of any that took too long, goes on with the next.
        seconds = LEFT_SECONDS if client and client.has_left else QUIET_SECONDS
        gen = resumable(gen)
        while True:
            try:
                # The generator goes on where it stood.
                return super().wait(gen, timeout=seconds)
            except _WaitTimeout:
                seconds = QUIET_SECONDS
                if client and not client.is_there():
                    # The query ends like one that ran into its time limit.
                    client = None
                    if not self.is_cancelled():
                        break
                elif time.monotonic() >= end or self.is_unanswered():
                    break
        self.close()
        raise Unanswered("The server does not answer.")

    def seconds_to_wait(self) -> float:
        """A commit has no time limit of its own: in a page it gets a statement's."""
        told = self.statement_seconds or page_seconds.get()
        if told and self.limit_seconds == math.inf:
            return told + GRACE_SECONDS
        return self.limit_seconds

    def is_cancelled(self) -> bool:
        try:
            self.cancel_safe(timeout=QUIET_SECONDS)
        except psycopg.Error:
            return False
        return True

    def is_unanswered(self) -> bool:
        if not self.watch.was_silent_just_now():
            if greets(self.pgconn.socket):
                return False
            self.watch.note_silence()
        return True
