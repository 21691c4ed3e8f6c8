"""Shows, builds and removes our indexes on the agent runtime's tables while the runtime works."""

import re
import shutil
import signal
import threading
import time
from contextlib import contextmanager, suppress

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections, transaction

from conversations.indexes import partitions
from conversations.indexes.build_words import duration, one_line, progress, size
from conversations.indexes.catalogue import Index, indexes, known_names
from conversations.indexes.state import State, forget, states

WRITER = "agents_write"
# Seconds between progress reports: on a terminal, which shows a single line, and elsewhere.
LOOK = 0.5
LOOK_ELSEWHERE = 5

# No time limits: those of the role are meant for its usual queries. Waiting for a lock does no
# harm, because CONCURRENTLY's locks block neither readers nor writers.
SESSION = """
    SELECT set_config(name, '0', false) FROM pg_settings
    WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout')
"""
# With PostgreSQL's default of 64 MB, large builds sort on disk. Only one build runs at a time, and
# this is for all of it, including its workers.
MEMORY = """
    SELECT set_config(name, '512MB', false) FROM pg_settings
    WHERE name = 'maintenance_work_mem' AND setting::bigint < 512 * 1024
"""
BRIEFLY = "SET LOCAL lock_timeout = '5s'"
# Two builds on one table can wait for each other until PostgreSQL ends one of them as a deadlock.
ALONE = "SELECT pg_try_advisory_lock(hashtext('Conversation Desk: agent_indexes'))"
# Releases the lock explicitly: PostgreSQL may take a moment to notice a closed connection.
NOT_ALONE = "SELECT pg_advisory_unlock_all()"

TABLES = """
    SELECT c.relname, c.relkind = 'p' FROM unnest(%s::text[]) name
    JOIN pg_class c ON c.oid = to_regclass(quote_ident(name))
"""
# Of a build by another role, we only see the process: assume that it is on this table.
BUILDER = """
    SELECT min(pid) FROM pg_stat_progress_create_index WHERE datname = current_database()
      AND (relid IS NULL OR to_regclass(quote_ident(%s)) IN (relid, index_relid))
"""
PROGRESS = """
    SELECT pg_blocking_pids(pid), phase, blocks_done, blocks_total, tuples_done, tuples_total
    FROM pg_stat_activity LEFT JOIN pg_stat_progress_create_index USING (pid) WHERE pid = %s
"""
HAS_EXPRESSIONS = """
    SELECT indexprs IS NOT NULL FROM pg_index WHERE indexrelid = to_regclass(quote_ident(%s))
"""
IS_PARTITIONED = """
    SELECT EXISTS (SELECT FROM pg_class WHERE relkind = 'I' AND oid = to_regclass(quote_ident(%s)))
"""

ENCODING = "SELECT getdatabaseencoding()"
HAS_EXTENSION = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm')"
HAS_PUBLIC = """
    SELECT EXISTS (SELECT FROM pg_namespace
                   WHERE nspname = 'public' AND has_schema_privilege(oid, 'USAGE'))
"""
# Finds the tables, and the extension in the schema where it is or will be.
SEARCH_PATH = """
    SELECT concat_ws(', ', current_setting('search_path'), (
        SELECT quote_ident(nspname) FROM pg_namespace
        WHERE nspname <> ALL (current_schemas(false)) AND oid = coalesce(
            (SELECT extnamespace FROM pg_extension WHERE extname = 'pg_trgm'),
            to_regnamespace('public'))))
"""


def not_utf8(encoding: str) -> str:
    return f"the database's encoding is {encoding}, but PostgreSQL normalises texts only in UTF8"


class Terminated(KeyboardInterrupt):
    """SIGTERM. As after Ctrl-C, psycopg cancels the query that is running on the server."""


@contextmanager
def terminated_like_ctrl_c():
    """Make SIGTERM raise, even if our parent ignored it. An ignored Ctrl-C stays ignored."""

    def terminate(number, frame):
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Command(BaseCommand):
    help = (
        "Shows, builds or removes our indexes on the agent runtime's tables. Ctrl-C or SIGTERM "
        "stops it cleanly. In the background of a script, where Ctrl-C is ignored, only SIGTERM "
        "does."
    )
    requires_system_checks = []

    def add_arguments(self, parser):
        action = parser.add_mutually_exclusive_group()
        action.add_argument("--apply", action="store_true", help="build what is missing")
        action.add_argument("--drop", action="store_true", help="remove them all")

    def handle(self, *, apply, drop, verbosity, **options):
        self.verbosity = verbosity
        # What could not be done: [(index name, reason, SQL to run by hand)].
        self.left: list[tuple[str, str, list[str]]] = []
        can_write = WRITER in connections
        if (apply or drop) and not can_write:
            raise CommandError(
                "KAVALAI_DB_READ_ONLY=1: this site does not change the agent database."
            )
        self.alias = WRITER if can_write else "agents"
        self.connection = connections[self.alias]
        try:
            with terminated_like_ctrl_c():
                self.connection.ensure_connection()
                if apply:
                    self.build_all()
                elif drop:
                    self.drop_all()
                else:
                    self.explain()
        except KeyboardInterrupt as error:
            message = "Stopped. Finished work is kept; run the same command again to continue."
            number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
            raise CommandError(message, returncode=128 + number) from None
        except DatabaseError as error:
            raise CommandError(f"The agent database failed: {one_line(error)}") from None
        finally:
            forget()
            # Ends this session's settings and releases its lock.
            self.connection.close()

    # Output

    def say(self, line: str):
        if self.verbosity:
            self.stdout.write(line)
            self.stdout.flush()

    def say_sql(self, statements: list[str]):
        for statement in statements:
            self.say("    " + re.sub(r"\s*\n\s*", " ", statement) + ";")

    def explain(self):
        self.say(
            "These indexes on the agent runtime's tables let searches cover the whole history."
        )
        self.say("--apply builds what is missing, blocking nobody; --drop removes them all.")
        tables, there = self.tables(), states(self.alias)
        encoding = self.value(ENCODING)
        if any(not self.serves(index, there) for index in indexes()):
            self.say("The SQL to build them by hand is below. In psql, begin with")
            self.say_sql([self.search_path_statement()])
        for index in indexes():
            self.say(f"\n{index.name}: {self.words(index, there)}\n    {index.purpose}")
            if index.needs_utf8 and encoding != "UTF8":
                self.say(f"    Not possible here: {not_utf8(encoding)}.")
            elif index.table in tables and not self.serves(index, there):
                self.say_sql(self.statements(index, tables[index.table], there))
        if unused := self.unused(there):
            self.say(f"\nNo longer used; --drop removes them: {', '.join(unused)}")

    def serves(self, index: Index, there: dict[str, State]) -> bool:
        return index.name in there and there[index.name].serves(index)

    def words(self, index: Index, there: dict[str, State]) -> str:
        state = there.get(index.name)
        if state is None:
            return "missing"
        if state.serves(index):
            return f"present, {size(state)}"
        if state.valid:
            return "outdated: built by another version of Conversation Desk"
        if pid := self.value(BUILDER, index.name):
            return f"being built now, by process {pid}"
        return "invalid: a build was interrupted"

    def unused(self, there: dict[str, State]) -> list[str]:
        return sorted(known_names() & set(there) - {index.name for index in indexes()})

    def search_path_statement(self) -> str:
        return f"SET search_path TO {self.value(SEARCH_PATH)}"

    def extension_statement(self) -> str:
        # Otherwise it would go to the schema of the runtime's tables, which may be recreated.
        schema = " SCHEMA public" if self.value(HAS_PUBLIC) else ""
        return f"CREATE EXTENSION IF NOT EXISTS pg_trgm{schema}"

    def drop_statement(self, name: str) -> str:
        concurrently = "" if self.value(IS_PARTITIONED, name) else "CONCURRENTLY "
        return f"DROP INDEX {concurrently}{name}"

    def statements(self, index: Index, partitioned: bool, there: dict[str, State]) -> list[str]:
        """What an operator can run by hand; the site recognises its indexes by their comments."""
        goes_on = partitioned and self.is_begun(index, there)
        before = [self.drop_statement(index.name)] if index.name in there and not goes_on else []
        if index.needs_pg_trgm and not self.value(HAS_EXTENSION):
            before.append(self.extension_statement())
        if partitioned and self.can_be_parted(index):
            with self.connection.cursor() as cursor:
                steps = partitions.steps(cursor, index, exists=goes_on)
                return [*before, *(step.statement for step in steps)]
        return [*before, index.create(concurrently=not partitioned), index.describe()]

    def is_begun(self, index: Index, there: dict[str, State]) -> bool:
        """Whether a partitioned table's index exists but lacks parts."""
        state = there.get(index.name)
        return state is not None and not state.valid and index.digest in state.comment

    def can_be_parted(self, index: Index) -> bool:
        with self.connection.cursor() as cursor:
            return all(partition.plain for partition in partitions.partitions(cursor, index))

    # Queries

    def value(self, query: str, *parameters):
        with self.connection.cursor() as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchone()[0]

    def run(self, statement: str):
        with self.connection.cursor() as cursor:
            cursor.execute(statement)

    def tables(self) -> dict[str, bool]:
        """{table: whether it is partitioned} for the tables that exist."""
        with self.connection.cursor() as cursor:
            cursor.execute(TABLES, [[index.table for index in indexes()]])
            return dict(cursor.fetchall())

    # Building

    def build_all(self):
        self.begin()
        tables = self.tables()
        refused = self.create_extension()
        self.run(self.search_path_statement())
        wanted, encoding = indexes(), self.value(ENCODING)
        for index in wanted:
            there = states(self.alias)
            if self.serves(index, there):
                self.say(f"{index.name}: present, {size(there[index.name])}")
            elif index.table not in tables:
                self.leave(index.name, f"there is no table {index.table}")
            elif index.needs_utf8 and encoding != "UTF8":
                self.leave(index.name, not_utf8(encoding))
            elif index.needs_pg_trgm and refused:
                by_hand = self.statements(index, tables[index.table], there)
                self.leave(index.name, refused, by_hand)
            elif tables[index.table] and not self.can_be_parted(index):
                reason = (
                    f"the table {index.table} has foreign or nested partitions, so a build would "
                    "block writers"
                )
                self.leave(index.name, reason, self.statements(index, True, there))
            elif pid := self.value(BUILDER, index.table):
                reason = f"process {pid} is already building an index on {index.table}"
                self.leave(index.name, reason)
            else:
                self.build(index, tables[index.table], there)
        if unused := self.unused(states(self.alias)):
            self.say(f"No longer used; --drop removes them: {', '.join(unused)}")
        self.finish(f"of {len(wanted)} indexes were not built")

    def begin(self):
        self.run(SESSION)
        self.run(MEMORY)
        if not self.value(ALONE):
            raise CommandError("Another agent_indexes is already running in this database.")

    def create_extension(self) -> str | None:
        """Returns the reason if pg_trgm could not be created, else None."""
        if self.value(HAS_EXTENSION):
            return None
        try:
            self.run(self.extension_statement())
        except DatabaseError as error:
            if not self.connection.is_usable():
                raise
            return f"{one_line(error)}; a superuser must run {self.extension_statement()};"
        self.say("The extension pg_trgm was created.")
        return None

    def build(self, index: Index, partitioned: bool, there: dict[str, State]):
        try:
            goes_on = partitioned and self.is_begun(index, there)
            if index.name in there and not goes_on:
                self.drop(index.name)
            began = time.monotonic()
            if partitioned:
                self.build_parts(index, goes_on)
            else:
                with self.watched(index.name, describe=index.describe()):
                    self.run(index.create(concurrently=True))
                self.run(index.describe())
            took = time.monotonic() - began
            if self.value(HAS_EXPRESSIONS, index.name):
                # Without statistics, the planner guesses how often an expression has a value.
                self.run(f"ANALYZE {index.table}")
        except DatabaseError as error:
            if not self.connection.is_usable():
                raise
            if not partitioned:
                self.clear(index.name)
            by_hand = self.statements(index, partitioned, states(self.alias))
            self.leave(index.name, one_line(error), by_hand)
        else:
            state = states(self.alias)[index.name]
            self.say(f"{index.name}: {size(state)}, built in {duration(took)}")

    def build_parts(self, index: Index, goes_on: bool):
        with self.connection.cursor() as cursor:
            steps = list(partitions.steps(cursor, index, exists=goes_on))
        for step in steps:
            if step.brief:
                self.run_briefly(step.statement)
            else:
                with self.watched(index.name):
                    self.run(step.statement)

    def run_briefly(self, statement: str):
        """Limits the wait for a lock, because other queries queue behind this statement."""
        with transaction.atomic(using=self.alias):
            self.run(BRIEFLY)
            self.run(statement)

    def clear(self, name: str):
        """Drop what a failed build left: never used, it takes up space and slows updates."""
        state = states(self.alias).get(name)
        if state and not state.valid:
            with suppress(DatabaseError):
                self.drop(name)

    @contextmanager
    def watched(self, name: str, describe: str = ""):
        """Shows the progress of this connection's next statement if it takes a while."""
        pid = self.value("SELECT pg_backend_pid()")
        done = threading.Event()
        watcher = threading.Thread(target=self.watch, args=(name, pid, done, describe))
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def watch(self, name: str, pid: int, done: threading.Event, describe: str):
        # In a thread, Django opens another connection. If it cannot, there is no progress to see.
        connection = connections[self.alias]
        terminal = self.stdout.isatty()
        shown = ""
        with suppress(DatabaseError), connection.cursor() as cursor:
            while not done.wait(LOOK if terminal else LOOK_ELSEWHERE):
                cursor.execute(PROGRESS, [pid])
                blocking, phase, *amounts = cursor.fetchone()
                if describe and phase not in (None, "initializing"):
                    # Early, because the build continues even if its client is lost.
                    cursor.execute(describe)
                    describe = ""
                line = f"{name}: {progress(blocking, phase, *amounts)}"
                if terminal and self.verbosity:
                    width = shutil.get_terminal_size().columns - 1
                    self.stdout.write("\r" + line[:width].ljust(width), ending="")
                    self.stdout.flush()
                elif line != shown:
                    self.say(line)
                shown = line
        if terminal and shown and self.verbosity:
            width = shutil.get_terminal_size().columns - 1
            self.stdout.write("\r" + " " * width + "\r", ending="")
        connection.close()

    # Removing

    def drop_all(self):
        self.begin()
        names = sorted(known_names() & set(states(self.alias)))
        if not names:
            self.say("None of our indexes exist.")
        for name in names:
            if pid := self.value(BUILDER, name):
                self.leave(name, f"process {pid} is building it")
                continue
            try:
                self.drop(name)
            except DatabaseError as error:
                if not self.connection.is_usable():
                    raise
                self.leave(name, one_line(error), [self.drop_statement(name)])
            else:
                self.say(f"{name}: removed")
        self.drop_left()
        self.finish(f"of {len(names)} indexes were not removed")

    def drop(self, name: str):
        if self.value(IS_PARTITIONED, name):
            self.run_briefly(f"DROP INDEX {name}")
            return
        with self.watched(name):
            self.run(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")

    def drop_left(self):
        """Drop parts that an interrupted build left unattached."""
        for index in indexes():
            with self.connection.cursor() as cursor:
                left = partitions.left(cursor, index.table, index.name)
            for name in left:
                self.run(f"DROP INDEX CONCURRENTLY {name}")

    # What could not be done

    def leave(self, name: str, reason: str, statements: list[str] | None = None):
        self.say(f"{name}: left out, {reason}")
        self.left.append((name, reason, statements or []))

    def finish(self, what: str):
        self.run(NOT_ALONE)
        if not self.left:
            return
        by_hand = [statement for _, _, statements in self.left for statement in statements]
        if by_hand:
            self.say("\nSomeone with the permission can run this in psql:")
            self.say_sql([self.search_path_statement(), *by_hand])
        reasons = "; ".join(dict.fromkeys(reason for _, reason, _ in self.left))
        raise CommandError(f"{len(self.left)} {what}: {reasons}")
