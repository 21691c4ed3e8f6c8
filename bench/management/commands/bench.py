"""
Measures heavy conversations against an ordinary one, and the list at several numbers of sessions.

Everything happens in the local PostgreSQL, in databases made for it: the databases that the
settings name are never opened.
"""

import os
import signal
import sys
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import psycopg
from django.conf import settings
from django.core.management import CommandError, call_command
from django.core.management.base import BaseCommand

from backoffice import env
from backoffice.local_postgres.server import LocalPostgresError
from bench import databases
from bench.conversation_cases import conversation_cases
from bench.conversation_rows import write_conversations
from bench.exports import export_tables
from bench.list_cases import NOTHING, list_cases
from bench.load import load_tables
from bench.measuring import count_queries, measure
from bench.others import others_first_page
from bench.site import serving, signed_in
from bench.tables import INDEXED, ListResults, conversations_table
from conversations.agentdb.agent_tables import create_agent_tables

# Holds the signed-in users and the heavy conversations.
DATABASE = "bench"
# The largest size that is also measured without our indexes.
WITHOUT_INDEXES = 100_000
RESULTS = settings.BASE_DIR / "docs" / "benchmarks.md"
MARK = "<!-- Below: written by manage.py bench --write -->\n"
# gunicorn's default number of processes, see gunicorn.conf.py.
WORKERS = 4
MINUTES = 5
PARTS = ("conversations", "list", "exports", "load")


def sizes(text: str) -> list[int]:
    found = sorted({int(size) for size in text.split(",")})
    if found[0] < 10_000:
        raise ValueError
    return found


class Command(BaseCommand):
    help = "Measure heavy conversations, the list, exports, and many people at once."
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("--rounds", type=int, default=7, help="at least 7, the default")
        parser.add_argument(
            "--sizes",
            type=sizes,
            default="10000,100000",
            help="how many sessions the list is measured at; default 10000,100000",
        )
        parser.add_argument("--only", choices=PARTS, help="measure nothing else")
        parser.add_argument(
            "--keep",
            action="store_true",
            help="keep the databases of the list, and take those that were kept",
        )
        parser.add_argument(
            "--write", metavar="MACHINE", help="update docs/benchmarks.md, naming the machine so"
        )

    def handle(self, *, rounds, sizes, only, keep, write, **options):
        if rounds < 7:
            raise CommandError("Medians of fewer than 7 rounds say little.")
        if only and write:
            raise CommandError("--write takes what is measured without --only.")
        self.begin_anew_in_the_benchs_own_database()
        # Stops the servers at SIGTERM too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.rounds = rounds
        self.failures = []
        text = ""
        with ExitStack() as stack:
            stack.enter_context(self.local_postgres())
            stack.enter_context(databases.new_database(DATABASE))
            call_command("migrate", verbosity=0)
            call_command("collectstatic", interactive=False, verbosity=0)
            self.reader, self.searcher = signed_in("reader"), signed_in("searcher")
            if only in (None, "conversations"):
                text += self.measure_conversations()
            if only in (None, "list"):
                text += self.measure_list(sizes, keep, and_exports=not only)
            if only == "exports":
                text += self.measure_exports(sizes[-1], keep)
            if only == "load":
                text += self.measure_load(sizes[-1], keep)
        if write:
            head = RESULTS.read_text().split(MARK)[0]
            when = datetime.now(UTC).strftime("%-d %B %Y")
            RESULTS.write_text(f"{head}{MARK}\n{when}; {write}; medians of {rounds}.\n{text}")
        if self.failures:
            raise CommandError(f"{len(self.failures)} pages did not answer as they should.")

    def begin_anew_in_the_benchs_own_database(self):
        """Restart the process if the settings name another database: they are read only once."""
        try:
            uri = settings.LOCAL_POSTGRES.uri(DATABASE)
        except LocalPostgresError as error:
            raise CommandError(str(error)) from error
        ours = env.blank() | {
            "DATABASE_URL": uri,
            "KAVALAI_DB_URI": uri,
            "KAVALAI_DB_SCHEMA": databases.SCHEMA,
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

    def measure_conversations(self) -> str:
        self.say("Writing the conversations …")
        with psycopg.connect(databases.uri(DATABASE)) as connection:
            create_agent_tables(connection, databases.SCHEMA)
            made = write_conversations(connection)
        with serving(DATABASE, self.reader) as site:
            cases = conversation_cases(site, made)
            count_queries(cases)
            self.measure(cases)
        return self.section("Heavy conversations", conversations_table(cases))

    @contextmanager
    def indexed(self, size, keep):
        with databases.history_database(size, keep=keep, say=self.say) as name:
            self.say(f"Building the indexes of {size:,} sessions …")
            databases.build_indexes(name)
            yield name

    def measure_exports(self, size, keep) -> str:
        with self.indexed(size, keep) as name, serving(name, self.reader) as site:
            return self.exports(site, size)

    def measure_load(self, size, keep) -> str:
        with self.indexed(size, keep) as name, serving(name, self.reader, WORKERS) as site:
            goals, measured = load_tables(site, MINUTES, self.say)
        return self.section("Load: goals", goals) + self.section(
            f"Load: {size:,} sessions", measured
        )

    def exports(self, site, size) -> str:
        self.say("Measuring exports …")
        goals, measured = export_tables(site, size, self.say)
        return self.section("Exports: goals", goals) + self.section(
            f"Exports: {size:,} sessions", measured
        )

    def measure_list(self, sizes, keep, *, and_exports) -> str:
        with ExitStack() as stack:
            names = {
                size: stack.enter_context(databases.history_database(size, keep=keep, say=self.say))
                for size in sizes
            }
            bare = max([size for size in sizes if size <= WITHOUT_INDEXES] or sizes[:1])
            without = self.measure_without_indexes(names[bare], bare)
            for size, name in names.items():
                self.say(f"Building the indexes of {size:,} sessions …")
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
            exported = self.exports(sites[-1][1], sizes[-1]) if and_exports else ""
        results = ListResults(cases)
        return (
            self.section("The list: goals", results.goals())
            + self.section("The list: every page", results.table())
            + self.section(f"The list: somebody else's search, {sizes[-1]:,} sessions", others)
            + self.section(
                f"The list: without our indexes and with them, {bare:,} sessions",
                results.indexes_table(without),
            )
            + exported
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
