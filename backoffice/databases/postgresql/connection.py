"""
Connections with a limit on every wait.

A server that is frozen or cut off answers nothing, not even a request to cancel a query: libpq
would wait forever. A server that is merely slow still answers new clients.
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

# After QUIET_SECONDS without an answer we greet the server and wait GREETING_SECONDS for a reply.
QUIET_SECONDS = 1
GREETING_SECONDS = 1
# A query whose client has left is cancelled once it runs for longer than this.
LEFT_SECONDS = 0.01
# For checking whether an idle connection still works.
CHECK_SECONDS = 2
# A server that did not answer is left alone for this long.
REST_SECONDS = 0.5
# PostgreSQL itself stops a statement at its time limit, unless its server process hangs.
GRACE_SECONDS = 1
# The time limit for a page's statements where their connection sets none; None outside of pages.
# Set by time_limits.limit_pages().
page_seconds: ContextVar[float | None] = ContextVar("page_seconds", default=None)
# A new client's request to use TLS. Every server, PgBouncer included, answers it with one byte
# before it knows the user, and it does not count against max_connections.
SSL_REQUEST = bytes.fromhex("0000000804d2162f")


class Unanswered(psycopg.OperationalError):
    """The server does not answer."""


class Watch:
    """What this process knows about one database that may have stopped answering."""

    # On only in the site: commands wait as long as it takes. See wsgi.py.
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
        After a silence, one thread at a time tries to connect again. The others wait only as long
        as a healthy server would take: they may serve pages that do not need this database.
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
    """Whether the server at the other end of that socket answers a new client."""
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
    Wrap a psycopg generator so that several waits in a row can drive it. Each wait begins with
    next(), which sends None, but a generator that has begun expects a ready state: 0, not ready.
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
    # The time limit that was sent with the running statement.
    statement_seconds: float | None = None

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        if args or kwargs or not Watch.is_on:
            return super().wait(gen, *args, **kwargs)
        end = time.monotonic() + self.seconds_to_wait()
        client = current_client.get() if self.ends_with_client else None
        # Code that caught a query's timeout may go on with the next query.
        seconds = LEFT_SECONDS if client and client.has_left else QUIET_SECONDS
        gen = resumable(gen)
        while True:
            try:
                # Resumes the generator where it stopped.
                return super().wait(gen, timeout=seconds)
            except _WaitTimeout:
                seconds = QUIET_SECONDS
                if client and not client.is_there():
                    # The query ends like one that hit its time limit.
                    client = None
                    if not self.is_cancelled():
                        break
                elif time.monotonic() >= end or self.is_unanswered():
                    break
        self.close()
        raise Unanswered("The server does not answer.")

    def seconds_to_wait(self) -> float:
        """A commit has no time limit of its own; within a page it gets a statement's."""
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
