"""
Runs the site as a deployment does: gunicorn in its own processes, with its own database and
committed rows.
"""

import fcntl
import http.client
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import psycopg
from django.conf import settings

from backoffice.local_postgres.server import LocalPostgres
from conversations.agentdb.agent_tables import create_agent_tables

from .environment import BLANK

HOST = "127.0.0.1"
SECONDS = 30
PROJECT = settings.BASE_DIR
RUN = Path(os.environ["DESK_TEST_RUN"])
TEMPLATE = RUN.name.replace("-", "_")
MIGRATE = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
"""
SIGN_IN = """
from tests.support.signing_in import cookie_of, make_user
print(cookie_of(make_user("{group}".lower(), "{group}", password=None)))
"""
EXPORTING = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY %'
"""


@dataclass
class Deployment:
    # A direct connection to the database, without a proxy or pooler in between.
    database: psycopg.Connection
    # The database URI for the site, and its other settings.
    uri: str
    settings: dict[str, str] = field(default_factory=dict)
    cookie: str = ""
    is_migrated: bool = False
    # Where the site's code is.
    home: Path = PROJECT

    def environment(self) -> dict[str, str]:
        ours = {"DATABASE_URL": self.uri, "KAVALAI_DB_URI": self.uri, "KAVALAI_DB_SCHEMA": "agents"}
        return {**os.environ, **BLANK, **ours, **self.settings}

    def run(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        """Run manage.py with these arguments."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.home,
            env=self.environment(),
            capture_output=True,
            **options,
        )

    def prepare(self):
        self.cookie = self.sign_in("Support", "" if self.is_migrated else MIGRATE)

    def sign_in(self, group: str, before="") -> str:
        """The cookie of a new, signed-in user in this group."""
        script = before + SIGN_IN.format(group=group)
        # The script imports from tests/, which a copy of the site need not have.
        ours = replace(self, home=PROJECT)
        found = ours.run("shell", "--verbosity=0", "-c", script, check=True, text=True)
        return found.stdout.strip()

    @contextmanager
    def serving(self, *arguments: str, workers=2, output=None):
        """
        Run gunicorn as `make run` does, on a free port. Its output goes to `output`, if given.
        """
        with socket.create_server((HOST, 0)) as listening:
            port = listening.getsockname()[1]
            command = [sys.executable, "-m", "gunicorn", f"--workers={workers}"]
            command += ["--bind", f"fd://{listening.fileno()}"]
            command += [] if output else ["--log-level", "critical"]
            command += arguments
            process = subprocess.Popen(
                command,
                cwd=self.home,
                env=self.environment(),
                pass_fds=[listening.fileno()],
                stdout=output,
                stderr=output,
            )
        try:
            yield Server(self, port, process.pid)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()

    def exporting(self) -> list[int]:
        """The ids of PostgreSQL's processes that are running an export."""
        return [pid for (pid,) in self.database.execute(EXPORTING)]

    @contextmanager
    def locked(self, table="chat_messages"):
        """In the block, everybody who reads the table has to wait."""
        with psycopg.connect(self.database.info.dsn, options="-c search_path=agents") as connection:
            connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield


@dataclass
class Server:
    deployment: Deployment
    port: int
    pid: int

    def get(self, path: str, **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=SECONDS)
        connection.request("GET", path, headers={"Cookie": self.deployment.cookie, **headers})
        response = connection.getresponse()
        response.connection = connection
        return response

    @staticmethod
    def stop(response):
        """Hang up, like a reader who does not want the rest."""
        response.close()
        response.connection.close()

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in children.split()]


def once(name: str, make):
    """Call make() in only one process of a test run. The others wait until it is done."""
    with (RUN / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (RUN / name).exists():
            make()
            (RUN / name).touch()


@cache
def static_files() -> str:
    """The directory with the static files of all deployments."""
    place = str(RUN / "static")

    def collect():
        command = [sys.executable, "manage.py", "collectstatic", "--no-input", "--verbosity=0"]
        environment = {**os.environ, **BLANK, "STATIC_ROOT": place}
        subprocess.run(command, cwd=settings.BASE_DIR, env=environment, check=True)

    once("collected", collect)
    return place


def drop_database(name: str, postgres: LocalPostgres):
    with psycopg.connect(postgres.uri("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def create_anew(postgres: LocalPostgres, name: str):
    """
    Create an empty database. One of that name may be left over from a test that was killed and had
    the same process id.
    """
    drop_database(name, postgres)
    postgres.create_database(name)


def create_database(name: str, postgres: LocalPostgres):
    create_anew(postgres, name)
    with psycopg.connect(postgres.uri(name)) as connection:
        create_agent_tables(connection, "agents")
        set_search_path(connection, name)


def set_search_path(connection: psycopg.Connection, name: str):
    connection.execute(f"ALTER DATABASE {name} SET search_path = agents, public")


def copy_template(name: str, postgres: LocalPostgres):
    """
    Create a database with our tables and the agent tables, copied from a template: migrating would
    take a hundred times longer.
    """

    def make():
        create_database(TEMPLATE, postgres)
        uri = postgres.uri(TEMPLATE)
        with psycopg.connect(uri) as connection:
            Deployment(connection, uri).run("migrate", "--verbosity=0", check=True)

    once("migrated", make)
    drop_database(name, postgres)
    with psycopg.connect(postgres.uri("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        set_search_path(connection, name)


@contextmanager
def deployment(name: str, postgres: LocalPostgres):
    is_migrated = postgres is settings.LOCAL_POSTGRES
    try:
        (copy_template if is_migrated else create_database)(name, postgres)
        with psycopg.connect(postgres.uri(name), autocommit=True) as connection:
            more = {"STATIC_ROOT": static_files()}
            yield Deployment(connection, postgres.uri(name), more, is_migrated=is_migrated)
    finally:
        drop_database(name, postgres)


def write_sessions(database: psycopg.Connection, sessions: int, messages: int, length: int):
    """Write this many sessions, with this many messages each."""
    database.execute(
        """
        INSERT INTO agents (id, name, created_at, updated_at)
            VALUES (md5('agent')::uuid, 'Shop', now(), now()) ON CONFLICT DO NOTHING;
        """
    )
    database.execute(
        """
        INSERT INTO sessions (id, agent_id, external_id, created_at, updated_at)
        SELECT md5('session' || s)::uuid, md5('agent')::uuid, 'user-' || s,
            now() - s * interval '1 minute', now() - s * interval '1 minute'
        FROM generate_series(1, %s) AS s
        """,
        [sessions],
    )
    database.execute(
        """
        INSERT INTO chat_messages (id, agent_id, session_id, role, content, created_at, updated_at)
        SELECT gen_random_uuid(), md5('agent')::uuid, md5('session' || s)::uuid, 'user',
            repeat('word ', %s / 5), now(), now()
        FROM generate_series(1, %s) AS s, generate_series(1, %s)
        """,
        [length, sessions, messages],
    )
    database.execute("ANALYZE")


def wait_until(holds, seconds=SECONDS):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
