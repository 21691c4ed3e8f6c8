"""
Measures heavy conversations against an ordinary one, and the list and Home at several numbers of
sessions.

Everything happens in the local PostgreSQL, in the benchmark's own databases. The databases named in
the settings are never opened.
"""

import os
import signal
import sys
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial

import psycopg
from django.conf import settings
from django.core.management import CommandError, call_command
from django.core.management.base import BaseCommand

from backoffice import env
from backoffice.local_postgres.server import LocalPostgresError
from bench import databases
from bench.against import against_table, checked_out, compare, pairs, serving_beside, serving_both
from bench.conversation_cases import conversation_cases
from bench.conversation_rows import write_conversations
from bench.exports import export_tables
from bench.home import home_cases, home_table, live_cases, rolled_up, rollup_table
from bench.list_cases import NOTHING, list_cases
from bench.load import load_tables
from bench.measuring import count_queries, measure
from bench.others import others_first_page
from bench.site import serving, signed_in
from bench.sweep import sweep_tables
from bench.tables import INDEXED, ListResults, conversations_table
from conversations.agentdb.agent_tables import create_agent_tables

# The database with the signed-in users and the heavy conversations.
DATABASE = "bench"
# The largest size that is also measured without our indexes.
WITHOUT_INDEXES = 100_000
RESULTS = settings.BASE_DIR / "docs" / "benchmarks.md"
MARK = "<!-- Below: written by manage.py bench --write -->\n"
# The default number of processes in gunicorn.conf.py.
WORKERS = 4
MINUTES = 5
COMPARED = ("conversations", "list")
PARTS = ("conversations", "list", "sweep", "home", "exports", "load")


def sizes(text: str) -> list[int]:
    found = sorted({int(size) for size in text.split(",")})
    if found[0] < 10_000:
        raise ValueError
    return found


class Command(BaseCommand):
    help = "Measures heavy conversations, the list, Home, exports, and many people at once."
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument(
            "--rounds", type=int, default=7, help="at least 7, which is the default"
        )
        parser.add_argument(
            "--sizes",
            type=sizes,
            default="10000,100000",
            help="the numbers of sessions to measure the list and Home with; default 10000,100000",
        )
        parser.add_argument("--only", choices=PARTS, help="measure only this part")
        parser.add_argument(
            "--keep",
            action="store_true",
            help="keep the list's databases afterwards, and reuse those kept by an earlier run",
        )
        parser.add_argument(
            "--against",
            metavar="REV",
            help="compare pages of conversations and the list with another Git revision's",
        )
        parser.add_argument(
            "--beside",
            metavar="URI",
            help="compare pages with those of another agent database that has the same history",
        )
        parser.add_argument(
            "--write", metavar="MACHINE", help="update docs/benchmarks.md; MACHINE describes yours"
        )

    def handle(self, *, rounds, sizes, only, keep, against, beside, write, **options):
        if rounds < 7:
            raise CommandError("Medians of fewer than 7 rounds say little.")
        if only and write:
            raise CommandError("--write needs all figures: leave out --only.")
        if against and (write or only not in (None, *COMPARED)):
            raise CommandError(
                f"--against only compares {' and '.join(COMPARED)}, without --write."
            )
        if beside and (against or only or write or len(sizes) > 1):
            raise CommandError(
                "--beside takes one size, and neither --against, --only nor --write."
            )
        self.restart_with_own_database()
        # Also stop the servers on SIGTERM.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.rounds = rounds
        self.failures = []
        with ExitStack() as stack:
            stack.enter_context(self.local_postgres())
            stack.enter_context(databases.new_database(DATABASE))
            call_command("migrate", verbosity=0)
            call_command("collectstatic", interactive=False, verbosity=0)
            self.reader, self.searcher = signed_in("reader"), signed_in("searcher")
            if against:
                self.compare_with(against, sizes, only, keep)
            elif beside:
                self.compare_databases(beside, sizes[-1], keep)
            else:
                text = self.measure_parts(sizes, only, keep)
        if write:
            head = RESULTS.read_text().split(MARK)[0]
            when = datetime.now(UTC).strftime("%-d %B %Y")
            RESULTS.write_text(f"{head}{MARK}\n{when}; {write}; medians of {rounds}.\n{text}")
        if self.failures:
            raise CommandError(f"{len(self.failures)} pages failed.")

    def measure_parts(self, sizes, only, keep) -> str:
        text = ""
        if only in (None, "conversations"):
            text += self.measure_conversations()
        if only in (None, "list"):
            text += self.measure_list(sizes, keep, and_more=not only)
        if only == "sweep":
            text += self.measure_sweep(sizes[-1], keep)
        if only == "home":
            text += self.measure_home(sizes, keep)
        if only == "exports":
            text += self.measure_exports(sizes[-1], keep)
        if only == "load":
            text += self.measure_load(sizes[-1], keep)
        return text

    def compare_with(self, revision, sizes, only, keep):
        with ExitStack() as stack:
            enter = stack.enter_context
            root = enter(checked_out(revision))
            found = []
            if only in (None, "conversations"):
                made = self.write_conversations()
                sites = enter(serving_both(DATABASE, self.reader, root))
                found += pairs(sites, partial(conversation_cases, made=made))
            if only in (None, "list"):
                for size in sizes:
                    sites = enter(serving_both(enter(self.indexed(size, keep)), self.reader, root))
                    found += pairs(sites, partial(list_cases, size=size))
            self.compare(found)
        self.section(f"Against {revision}", against_table(revision, "today", found))

    def compare_databases(self, uri, size, keep):
        with (
            self.indexed(size, keep) as name,
            serving_beside(name, self.reader, uri) as sites,
        ):
            found = []
            for cases in (list_cases, live_cases):
                found += pairs(sites, partial(cases, size=size))
            self.compare(found)
        self.section("Beside another database", against_table("other", "ours", found))

    def compare(self, found):
        compare(found, self.rounds, self.say)
        self.failures += [case for pair in found for case in pair if case.failure]

    def restart_with_own_database(self):
        """Restart if the settings name another database, because settings are only read once."""
        try:
            uri = settings.LOCAL_POSTGRES.uri(DATABASE)
        except LocalPostgresError as error:
            raise CommandError(str(error)) from error
        ours = env.blank() | {
            "DATABASE_URL": uri,
            "KAVALAI_DB_URI": uri,
            "KAVALAI_DB_SCHEMA": databases.SCHEMA,
            # Its servers have different agent databases, but one for figures.
            "ROLLUP": "0",
        }
        if any(os.environ.get(name) != value for name, value in ours.items()):
            self.stdout.flush()
            os.environ.update(ours)
            os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606

    @contextmanager
    def local_postgres(self):
        try:
            started = settings.LOCAL_POSTGRES.start()
        except LocalPostgresError as error:
            raise CommandError(str(error)) from error
        try:
            yield
        finally:
            if started:
                settings.LOCAL_POSTGRES.stop()

    def say(self, line: str):
        self.stdout.write(line)
        self.stdout.flush()

    def measure(self, cases):
        measure(cases, self.rounds, self.say)
        self.failures += [case for case in cases if case.failure]

    def write_conversations(self):
        self.say("Writing the conversations …")
        with psycopg.connect(databases.uri(DATABASE)) as connection:
            create_agent_tables(connection, databases.SCHEMA)
            return write_conversations(connection)

    def measure_conversations(self) -> str:
        made = self.write_conversations()
        with serving(DATABASE, self.reader) as site:
            cases = conversation_cases(site, made)
            count_queries(cases)
            self.measure(cases)
        return self.section("Heavy conversations", conversations_table(cases))

    @contextmanager
    def indexed(self, size, keep):
        with databases.history_database(size, keep=keep, say=self.say) as name:
            self.say(f"Building the indexes for {size:,} sessions …")
            databases.build_indexes(name)
            yield name

    def measure_home(self, sizes, keep) -> str:
        with ExitStack() as stack:
            names = {size: stack.enter_context(self.indexed(size, keep)) for size in sizes}
            return self.home(names)

    def measure_sweep(self, size, keep) -> str:
        with self.indexed(size, keep) as name, serving(name, self.reader) as site:
            return self.sweep(site, size)

    def measure_exports(self, size, keep) -> str:
        with self.indexed(size, keep) as name, serving(name, self.reader) as site:
            return self.exports(site, size)

    def measure_load(self, size, keep) -> str:
        with self.indexed(size, keep) as name, serving(name, self.reader, WORKERS) as site:
            goals, measured = load_tables(site, MINUTES, self.say)
        return self.section("Load: goals", goals) + self.section(
            f"Load: {size:,} sessions", measured
        )

    def home(self, names) -> str:
        """One size after the other: all have their figures in the same database."""
        cases, rollups = [], []
        for size, name in names.items():
            # Without the figures of the size before.
            for state in (["zero"], []):
                call_command("migrate", "overview", *state, verbosity=0)
            rollups.append(rolled_up(name, size, self.say))
            with serving(name, self.reader) as site:
                self.say(f"Measuring Home at {size:,} sessions …")
                of_size = home_cases(site, size)
                count_queries(of_size)
                self.measure(of_size)
                cases += of_size
        return self.section("Home", home_table(cases)) + self.section(
            "Home: the rollup", rollup_table(rollups)
        )

    def sweep(self, site, size) -> str:
        self.say(f"Measuring combinations of filters at {size:,} sessions …")
        goals, slowest, cases = sweep_tables(site, self.say)
        self.failures += [case for case in cases if case.failure]
        return self.section("Combinations of filters: goals", goals) + self.section(
            f"Combinations of filters: the slowest at {size:,} sessions", slowest
        )

    def exports(self, site, size) -> str:
        self.say("Measuring exports …")
        goals, measured = export_tables(site, size, self.say)
        return self.section("Exports: goals", goals) + self.section(
            f"Exports: {size:,} sessions", measured
        )

    def measure_list(self, sizes, keep, *, and_more) -> str:
        with ExitStack() as stack:
            names = {
                size: stack.enter_context(databases.history_database(size, keep=keep, say=self.say))
                for size in sizes
            }
            bare = max([size for size in sizes if size <= WITHOUT_INDEXES] or sizes[:1])
            without = self.measure_without_indexes(names[bare], bare)
            for size, name in names.items():
                self.say(f"Building the indexes for {size:,} sessions …")
                databases.build_indexes(name)
            sites = [
                (size, stack.enter_context(serving(name, self.reader)))
                for size, name in names.items()
            ]
            self.say("Measuring the list …")
            cases = [case for size, site in sites for case in list_cases(site, size)]
            count_queries(cases)
            self.measure(cases)
            self.say("Measuring the first page while somebody else searches …")
            others = others_first_page(sites[-1][1], self.searcher)
            more = ""
            if and_more:
                largest = sites[-1][1], sizes[-1]
                more = self.sweep(*largest) + self.home(names) + self.exports(*largest)
        results = ListResults(cases)
        return (
            self.section("The list: goals", results.goals())
            + self.section("The list: every page", results.table())
            + self.section(f"The list: somebody else's search, {sizes[-1]:,} sessions", others)
            + self.section(
                f"The list: without our indexes and with them, {bare:,} sessions",
                results.indexes_table(without),
            )
            + more
        )

    def measure_without_indexes(self, name, size):
        databases.drop_indexes(name)
        with serving(name, self.reader) as site:
            self.say(f"Measuring the list without our indexes, {size:,} sessions …")
            cases = [case for case in list_cases(site, size) if case.page.startswith(INDEXED)]
            for case in cases:
                case.bare, case.original = NOTHING, None
            self.measure(cases)
        return cases

    def section(self, title: str, text: str) -> str:
        self.say(f"\n{title}\n\n{text}")
        return f"\n## {title}\n\n{text}"
