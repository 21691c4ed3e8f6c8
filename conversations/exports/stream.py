"""Streams an export: one transaction, one COPY, blocks of bytes, constant memory."""

import errno
import select
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from typing import Any

import psycopg
from django.conf import settings
from django.db import connections, transaction
from psycopg import errors, pq

from audit.recording import Act, record
from backoffice.client import give_way
from backoffice.databases.errors import timeouts_ignored
from backoffice.databases.postgresql.connection import Unanswered, Watch, greets
from backoffice.databases.time_limits import time_limit
from backoffice.databases.work_slots import WorkSlot, try_slot
from backoffice.metrics import EXPORTS, EXPORTS_RUNNING

from ..models import Session
from .files import File
from .workbook import TooManyRows

BLOCK = 65_536
# After this many seconds a block is sent, however small it is.
SECONDS = 1
CANCEL_SECONDS = 5
# How long it works before it gives way. The client reads buffered blocks faster than they were
# made: with a shorter burst, PostgreSQL would never get a rest.
BURST = 0.2
REST_SECONDS = 8
# Nobody watches an export, so it rests this many times longer than a search.
PATIENCE = 2
# After this share of its time limit it stops resting, so that rests cannot make it fail.
REST_SHARE = 0.5
# A frozen server does not even enforce the time limit.
SILENT_SECONDS = 10
# How long a workbook's rows may take to count before they are read.
COUNT_SECONDS = 2
# An export needs more than a page's time limit. JIT compilation of a query with many subqueries
# takes longer than its first rows.
SETTINGS = """
    SELECT set_config('statement_timeout', %s, true), set_config('jit', 'off', true)
"""


class TooManyExports(Exception):
    """All work slots for exports are taken."""


class Export:
    """
    A file as blocks of bytes: iterate over it once, and close it in any case.

    The constructor starts it, records an audit entry, and raises errors of the first second:
    TooManyExports, or django.db's errors. Iterating raises later errors: if it raises none, the
    file is complete. A second audit entry records the number of rows and whether the file is
    complete.

    `is_wanted` is called while PostgreSQL is busy. A workbook's first bytes exist only after
    prepare(), which raises TooManyRows if the workbook would have too many. `total` is its number
    of rows, if known.
    """

    def __init__(
        self,
        file: File,
        request,
        /,
        *,
        is_wanted: Callable[[], bool] = lambda: True,
        **details: Any,
    ):
        self.file, self.request, self.is_wanted = file, request, is_wanted
        self.rows = 0
        self.total: int | None = None
        self.complete = False
        self.ended = False
        self.blocks = self.read()
        self.first = next(self.blocks)
        try:
            self.entry = record(request, Act.EXPORTED, **details)
        except BaseException:
            self.blocks.close()
            raise
        EXPORTS_RUNNING.inc()

    def prepare(self) -> Iterator[int]:
        """Yields the number of rows read so far, until there is something to send."""
        try:
            while not self.first:
                self.first = next(self.blocks)
                yield self.rows
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield self.first
            yield from self.blocks
            self.complete = True
        finally:
            self.close()

    def close(self):
        """Also cancels the query if it is still running."""
        if self.ended:
            return
        self.ended = True
        EXPORTS_RUNNING.dec()
        EXPORTS.labels("complete" if self.complete else "broken").inc()
        self.blocks.close()
        # After an hour, our own connection may be gone.
        ours = connections["default"]
        if not ours.in_atomic_block:
            ours.close_if_unusable_or_obsolete()
        # The export may end outside the request, and so without the request's time limit.
        with time_limit("default", settings.STATEMENT_TIMEOUT_SECONDS):
            record(
                self.request,
                Act.EXPORTED,
                export=self.entry.pk,
                rows=self.rows,
                complete=self.complete,
            )

    def read(self) -> Generator[bytes, None, None]:
        workbook = self.file.workbook
        with workbook.made() if workbook else nullcontext():
            yield from self.read_rows()
            if workbook:
                yield from workbook.blocks()

    def read_rows(self) -> Iterator[bytes]:
        connection = connections[Session.objects.db]
        with (
            connection.wrap_database_errors,
            transaction.atomic(using=connection.alias),
            connection.cursor() as cursor,
        ):
            if not try_slot(connection.alias, WorkSlot.EXPORT, settings.EXPORTS_AT_ONCE):
                EXPORTS.labels("refused").inc()
                raise TooManyExports
            if self.file.count:
                self.total = self.counted(connection)
            cursor.execute(SETTINGS, [f"{settings.EXPORT_TIMEOUT_SECONDS}s"])
            statement = cursor.cursor.mogrify(self.file.statement, self.file.params)
            try:
                yield from self.copied(connection.connection.pgconn, statement.encode())
            except BaseException:
                cancel(connection.connection)
                raise
            if self.file.workbook:
                self.file.workbook.finish()

    def counted(self, connection) -> int | None:
        """The number of rows, if counting ends in time."""
        total = None
        with (
            timeouts_ignored(),
            time_limit(connection.alias, COUNT_SECONDS),
            connection.cursor() as cursor,
        ):
            cursor.execute(self.file.count, self.file.params)
            [total] = cursor.fetchone()
        if total is not None and total > settings.XLSX_MAX_ROWS:
            raise TooManyRows
        return total

    def copied(self, pgconn, statement: bytes) -> Iterator[bytes]:
        # psycopg's own COPY would wait forever, even for COPY to begin: PostgreSQL announces that
        # only with the first rows.
        arrival = select.poll()
        arrival.register(pgconn.socket, select.POLLIN)
        line = self.file.line
        lines, size, began = [self.file.head], 0, time.monotonic()
        heard = began
        rested_by = began + settings.EXPORT_TIMEOUT_SECONDS * REST_SHARE
        pgconn.send_query(statement)
        copying, worked = False, 0.0
        while True:
            if copying:
                length, row = pgconn.get_copy_data(1)
            elif pgconn.flush() or pgconn.is_busy():
                length = 0
            else:
                check(pgconn.get_result(), pgconn)
                copying = True
                continue
            if length < 0:
                break
            if length:
                lines.append(line(row))
                size += length
                self.rows += 1
            elif arrival.poll(max(0, began + SECONDS - time.monotonic()) * 1000):
                pgconn.consume_input()
                heard = time.monotonic()
            late = not length and time.monotonic() - began >= SECONDS
            if late or size >= BLOCK:
                worked += time.monotonic() - began
                # Even if empty, because the constructor waits for the first block.
                yield b"".join(lines)
                # Otherwise, we would only notice by writing to the client.
                if (late or self.file.workbook) and not self.is_wanted():
                    raise ConnectionResetError(errno.ECONNRESET, "The client has left.")
                silent = late and Watch.is_on and time.monotonic() - heard > SILENT_SECONDS
                if silent and not greets(pgconn.socket):
                    raise Unanswered("The server does not answer.")
                if worked > BURST:
                    # PostgreSQL rests too while nobody reads its rows.
                    at_most = min(REST_SECONDS, rested_by - time.monotonic())
                    give_way(worked * PATIENCE, at_most)
                    worked = 0.0
                lines, size, began = [], 0, time.monotonic()
        check(pgconn.get_result(), pgconn)
        rest(pgconn)
        yield b"".join(lines)


def check(result, pgconn):
    if result.status not in (pq.ExecStatus.COPY_OUT, pq.ExecStatus.COMMAND_OK):
        # So that the connection can be used again.
        rest(pgconn)
        raise errors.error_from_result(result, encoding="utf-8")


def rest(pgconn):
    """Read the remaining results of a statement."""
    while result := pgconn.get_result():
        if result.status == pq.ExecStatus.COPY_OUT:
            while pgconn.get_copy_data(0)[0] > 0:
                pass


def cancel(connection: psycopg.Connection):
    """Make sure that no query is running: afterwards, the connection is usable or closed."""
    if connection.pgconn.transaction_status != pq.TransactionStatus.ACTIVE:
        return
    try:
        connection.cancel_safe(timeout=CANCEL_SECONDS)
        rest(connection.pgconn)
    except psycopg.Error:
        connection.close()
