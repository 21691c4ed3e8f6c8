"""
What a heavy conversation costs beside an ordinary one, and beside the same rows by bare SQL.

Everything happens in the local PostgreSQL, in a database that is made anew: whatever databases the
settings name are never opened.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from statistics import median

import psycopg
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.core.management.base import BaseCommand
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from psycopg import sql

from backoffice.local_postgres import LocalPostgresError
from conversations.agent_tables import create_agent_tables
from conversations.bench.cases import cases
from conversations.bench.rows import write_conversations

DATABASE = "bench"
SCHEMA = "agents"
HOST = "127.0.0.1"
SECONDS = 60
RESULTS = settings.BASE_DIR / "docs" / "benchmarks.md"
MARK = "<!-- Below: written by manage.py bench --write -->\n"
# Taken from neither the environment nor .env: a name that is set, though empty, wins over .env.
BLANK = (
    *("ALLOWED_HOSTS", "BEHIND_PROXY", "CSRF_TRUSTED_ORIGINS", "DATABASE_POOL_SIZE", "DEBUG"),
    *("KAVALAI_DB_READ_ONLY", "KAVALAI_DB_REPLICA_URI", "KAVALAI_DB_WRITE_URI", "SECRET_KEY"),
    *("STATEMENT_TIMEOUT_SECONDS", "TIME_ZONE"),
)


class Command(BaseCommand):
    help = "Measure heavy conversations in a database of its own in the local PostgreSQL."
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("--rounds", type=int, default=9, help="at least 7; default 9")
        parser.add_argument(
            "--write", metavar="MACHINE", help="update docs/benchmarks.md, naming the machine so"
        )

    def handle(self, *, rounds, write, **options):
        if rounds < 7:
            raise CommandError("Medians of fewer than 7 rounds say little.")
        self.begin_anew_in_the_benchs_own_database()
        # Also when something else ends this, the servers are stopped.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        with ExitStack() as stack:
            stack.enter_context(self.local_postgres())
            stack.enter_context(self.database())
            connection = stack.enter_context(self.connect())
            self.stdout.write("Writing the conversations …")
            call_command("migrate", verbosity=0)
            call_command("collectstatic", interactive=False, verbosity=0)
            create_agent_tables(connection, SCHEMA)
            measured = cases(write_conversations(connection))
            client = self.signed_in()
            server = stack.enter_context(self.web_server())
            self.stdout.write(f"Measuring, {rounds} rounds …")
            for number in range(rounds + 1):
                for case in measured:
                    self.measure(case, server, client.cookies, connection, warm_up=not number)
            for case in measured:
                case.queries = self.count_queries(case, client)
            connections.close_all()
        table = as_table(measured)
        self.stdout.write(table)
        if write:
            head = RESULTS.read_text().split(MARK)[0]
            when = datetime.now(UTC).strftime("%-d %B %Y")
            RESULTS.write_text(f"{head}{MARK}\n{when}; {write}; medians of {rounds}.\n\n{table}")

    def begin_anew_in_the_benchs_own_database(self):
        """Settings are read once, so the process begins again where they name another database."""
        try:
            uri = settings.LOCAL_POSTGRES.uri(DATABASE)
        except LocalPostgresError as error:
            raise CommandError(str(error)) from error
        ours = {"DATABASE_URL": uri, "KAVALAI_DB_URI": uri, "KAVALAI_DB_SCHEMA": SCHEMA}
        ours |= dict.fromkeys(BLANK, "")
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

    @contextmanager
    def database(self):
        self.drop_database()
        settings.LOCAL_POSTGRES.create_database(DATABASE)
        try:
            yield
        finally:
            self.drop_database()

    def drop_database(self):
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(DATABASE))
        uri = settings.LOCAL_POSTGRES.uri("postgres")
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute(drop)

    def connect(self):
        return psycopg.connect(settings.LOCAL_POSTGRES.uri(DATABASE))

    def signed_in(self) -> Client:
        user = get_user_model().objects.create(username="bench")
        user.groups.add(Group.objects.get(name="Support"))
        client = Client(SERVER_NAME=HOST)
        client.force_login(user)
        return client

    @contextmanager
    def web_server(self):
        """gunicorn as `make run` starts it, on a port that is free; gives a connection to it."""
        with socket.create_server((HOST, 0)) as listening:
            # As gunicorn sets it; a connection that is made before gunicorn is up would lack it.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            port = listening.getsockname()[1]
            command = [sys.executable, "-m", "gunicorn", "backoffice.wsgi"]
            command += ["--bind", f"fd://{listening.fileno()}", "--workers", "2", "--threads", "8"]
            command += ["--no-control-socket", "--log-level", "warning"]
            process = subprocess.Popen(  # noqa: S603
                command, cwd=settings.BASE_DIR, pass_fds=[listening.fileno()]
            )
        connection = http.client.HTTPConnection(HOST, port, timeout=SECONDS)
        try:
            yield connection
        finally:
            connection.close()
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()

    def measure(self, case, server, cookies, connection, *, warm_up):
        headers = {"Cookie": "; ".join(f"{key}={each.value}" for key, each in cookies.items())}
        began = time.perf_counter()
        server.request("GET", case.path, headers=headers)
        response = server.getresponse()
        start = response.read(1)
        first = time.perf_counter() - began
        case.size = len(start + response.read())
        page = first if case.first_byte else time.perf_counter() - began
        if response.status != 200:
            raise CommandError(f"{case.path} answered {response.status}.")
        began = time.perf_counter()
        case.read(connection)
        bare = time.perf_counter() - began
        if not warm_up:
            case.page_times.append(page)
            case.sql_times.append(bare)

    def count_queries(self, case, client) -> int:
        """Everything that one request sends to both databases."""
        client.get(case.path).getvalue()
        with ExitStack() as stack:
            captured = [
                stack.enter_context(CaptureQueriesContext(connections[alias]))
                for alias in ("default", "agents")
            ]
            client.get(case.path).getvalue()
        return sum(len(queries) for queries in captured)


def as_table(measured) -> str:
    lines = [
        "| page | conversation | page, ms | bare SQL, ms | bytes | queries |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for case in measured:
        page, bare = (median(times) * 1000 for times in (case.page_times, case.sql_times))
        size = "" if case.first_byte else f"{case.size:,}"
        lines.append(
            f"| {case.page} | {case.kind} | {page:.1f} | {bare:.1f} | {size} | {case.queries} |"
        )
    return "\n".join(lines) + "\n"
