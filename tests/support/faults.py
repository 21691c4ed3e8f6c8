"""Causes faults in real servers, and checks what readers see during and after them."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from backoffice.local_postgres.server import LocalPostgres

from .deployment import HOST, Deployment, Server, deployment, wait_until, write_sessions

LIST = "/conversations/?search=word&external_id=user"
# The promised time, and what a busy machine may take on top of that.
CALM_SECONDS = 3
NOISE_SECONDS = 3
# How long the site may take to notice that a silent database answers again.
REST_SECONDS = 0.7
AT_ONCE = 24

FIGURES: list[tuple] = []


@dataclass
class Answer:
    status: int
    body: str
    seconds: float


class OurPostgres(LocalPostgres):
    """A server that accepts replication connections, so that a standby can follow it."""

    def _write_access_rules(self):
        super()._write_access_rules()
        with (self.place / "postgres_hba.conf").open("a") as rules:
            rules.write("local replication all trust\n")

    def processes(self) -> list[int]:
        pid = self._postmaster()
        if pid is None:
            return []
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def signal(self, number: int):
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    @contextmanager
    def frozen(self):
        self.signal(signal.SIGSTOP)
        # Once more, for a process that the postmaster was just about to start.
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    @contextmanager
    def frozen_after(self, seconds: float):
        timer = threading.Timer(seconds, self.signal, [signal.SIGSTOP])
        timer.start()
        try:
            yield
        finally:
            timer.join()
            self.signal(signal.SIGCONT)

    def backends(self) -> list[int]:
        query = "SELECT pid FROM pg_stat_activity WHERE datname = 'history'"
        with psycopg.connect(self.uri("postgres")) as connection:
            return [pid for (pid,) in connection.execute(query)]

    @contextmanager
    def gone(self):
        self.stop()
        try:
            yield
        finally:
            self.start()

    def execute(self, *statements: str, database="postgres"):
        with psycopg.connect(self.uri(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    @contextmanager
    def configured(self, name: str, value: str):
        reload = "SELECT pg_reload_conf()"
        self.execute(f"ALTER SYSTEM SET {name} = {value}", reload)
        time.sleep(0.3)
        try:
            yield
        finally:
            # As a connection option, because the setting itself may forbid the change.
            options = f"-c {name}=off"
            with psycopg.connect(self.uri("postgres"), autocommit=True, options=options) as to:
                to.execute(f"ALTER SYSTEM RESET {name}")
                to.execute(reload)
            time.sleep(0.3)

    @contextmanager
    def full_of_clients(self):
        kept = []
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        with suppress(psycopg.OperationalError):
            while True:
                kept.append(psycopg.connect(self.uri("postgres")))
        try:
            yield
        finally:
            for connection in kept:
                connection.close()

    @contextmanager
    def holding(self, statement: str, database: str):
        """In the block, whoever needs what the statement locks has to wait."""
        with psycopg.connect(self.uri(database), options="-c search_path=agents,public") as holder:
            holder.execute(statement)
            yield
            holder.rollback()

    def locked(self):
        """In the block, whoever reads a message has to wait, as on an overloaded server."""
        return self.holding("LOCK TABLE chat_messages IN ACCESS EXCLUSIVE MODE", "history")

    @contextmanager
    def slow_to_write(self, table: str, database: str):
        """In the block, each row written to the table takes a minute."""
        self.execute(
            "CREATE FUNCTION public.sleepy() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN PERFORM pg_sleep(60); RETURN coalesce(NEW, OLD); END'",
            f"CREATE TRIGGER sleepy BEFORE INSERT OR UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION public.sleepy()",
            database=database,
        )
        try:
            yield
        finally:
            self.execute("DROP FUNCTION public.sleepy CASCADE", database=database)

    @contextmanager
    def full_disk(self, tables: list[str], fill):
        """In the block, the tables are on their own disk, and that disk is full."""
        disk = Path(tempfile.mkdtemp(prefix="desk-disk-"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", disk], check=True)
        place = disk / "place"
        place.mkdir(mode=0o700)
        shutil.chown(place, self._user.pw_uid, self._user.pw_gid)
        moves = [f"ALTER TABLE {table} SET TABLESPACE {{}}" for table in tables]
        try:
            self.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
            self.execute(*[move.format("small") for move in moves], database="desk")
            with suppress(OSError), (disk / "file").open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            fill()
            yield
            (disk / "file").unlink()
        finally:
            (disk / "file").unlink(missing_ok=True)
            self.execute(*[move.format("pg_default") for move in moves], database="desk")
            self.execute("DROP TABLESPACE small")
            subprocess.run(["umount", disk], check=True)
            disk.rmdir()

    def standby(self, home: Path) -> "OurPostgres":
        """Another server that follows this one."""
        other = OurPostgres(home)
        user = self._user
        other.place.mkdir()
        command = [Path(f"/proc/{self.processes()[0]}/exe").resolve().with_name("pg_basebackup")]
        command += [
            "-d",
            self.uri("postgres"),
            "-D",
            other.data,
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
        ]
        subprocess.run(command, check=True, capture_output=True)
        if os.geteuid() == 0:
            shutil.chown(other.place, user.pw_uid, user.pw_gid)
            for path in (other.data, *other.data.rglob("*")):
                shutil.chown(path, user.pw_uid, user.pw_gid)
        other.start()
        return other


@dataclass
class Site:
    """gunicorn with our database and the agent database, each in its own PostgreSQL server."""

    ours: OurPostgres
    agents: OurPostgres
    address: Path
    deployment: Deployment
    log: Path
    server: Server | None = None

    @contextmanager
    def serving(self, *arguments: str):
        with self.log.open("w") as log, self.deployment.serving(*arguments, output=log) as server:
            site = replace(self, server=server)
            assert site.get(LIST).status == 200
            yield site

    def get(self, path: str, seconds: float = 30) -> Answer:
        return self.ask("GET", path, seconds=seconds)

    def ask(self, method, path, body=None, cookie=None, seconds: float = 30) -> Answer:
        began = time.monotonic()
        connection = http.client.HTTPConnection(HOST, self.server.port, timeout=seconds)
        headers = {"Cookie": cookie or self.deployment.cookie}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        return Answer(response.status, text, time.monotonic() - began)

    def get_at_once(self, path: str, number: int = AT_ONCE) -> list[Answer]:
        with ThreadPoolExecutor(number) as readers:
            return list(readers.map(self.get, [path] * number))

    def ready(self) -> tuple[int, dict]:
        answer = self.get("/readyz")
        return answer.status, json.loads(answer.body)

    def endure(
        self, name, fault, *, path=LIST, status=503, words="", seconds=CALM_SECONDS, **ready: str
    ):
        """
        Check that during `fault`, a context manager, every page is a calm one in time, and that
        the first page after it works.
        """
        # First give every thread a good connection: some may still have one from an earlier fault.
        wait_until(lambda: {answer.status for answer in self.get_at_once(path)} == {200})
        logged = self.log.stat().st_size
        with fault:
            answers = [self.get(path), *self.get_at_once(path), self.get(path)]
            alive, (readiness, parts) = self.get("/livez"), self.ready()
        ended, early = time.monotonic(), 0
        while self.get(path).status != 200:
            assert time.monotonic() - ended < REST_SECONDS, (
                "the first page after the recovery failed"
            )
            early += 1
            time.sleep(0.05)
        back = time.monotonic() - ended
        for answer in answers:
            assert answer.status == status
            assert words in answer.body
            assert "Traceback" not in answer.body
            assert answer.seconds < seconds + NOISE_SECONDS, [a.seconds for a in answers]
        assert (alive.status, alive.body) == (200, "ok\n")
        expected = {"default": "ok", "agents": "ok"} | ready
        assert parts == expected
        assert readiness == (503 if ready else 200)
        lines = self.log.read_text()[logged:].splitlines()
        assert not [line for line in lines if "Traceback" in line or line.startswith(" ")]
        own = [line for line in lines if "django.request" in line]
        # /readyz is logged as well.
        assert len(own) <= len(answers) + early + 1, own
        FIGURES.append(
            (name, status, answers[0].seconds, max(a.seconds for a in answers), readiness, back)
        )


def write_table(write):
    """Write the measured figures as a Markdown table."""
    if FIGURES:
        write("| fault | answer | first page | slowest of 26 | `/readyz` | recovered after |")
        write("|---|---|---|---|---|---|")
    for name, status, first, slowest, ready, back in FIGURES:
        row = f"| {name} | {status} | {first:.1f} s | {slowest:.1f} s | {ready} | {back:.1f} s |"
        write(row)


@contextmanager
def two_servers(place: Path, **settings: str):
    ours, agents = OurPostgres(place / "ours"), OurPostgres(place / "agents")
    # The site connects to the agent database through this link, which can point to another server.
    address = place / "address"
    address.symlink_to(agents.socket_directory)
    for server in (ours, agents):
        server.start()
    try:
        ours.create_database("desk")
        with deployment("history", agents) as made:
            made.uri = f"postgresql://desk@/history?host={address}&port=5432"
            made.settings.update(DATABASE_URL=ours.uri("desk"), **settings)
            write_sessions(made.database, sessions=60, messages=2, length=50)
            made.prepare()
            made.database.close()
            yield Site(ours, agents, address, made, place / "site.log")
    finally:
        for server in (ours, agents):
            server.signal(signal.SIGCONT)
            server.stop()
            shutil.rmtree(server.place, ignore_errors=True)
