"""The same history in a plain PostgreSQL database and in one that Citus distributes."""

import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from django.conf import settings
from django.core.cache import cache
from django.db import connections
from psycopg.conninfo import make_conninfo

from backoffice.backups import find
from backoffice.databases.uris import from_uri
from conversations.agentdb import compiled, revision
from conversations.agentdb.agent_tables import create_agent_tables
from conversations.agentdb.distributed import distribution_sql
from conversations.indexes import state
from demo import write_demo

from .deployment import wait_until
from .limited import Side
from .recorded import RECORDED, load
from .server_versions import copy_rows
from .walks import make_side

# The coordinator, as a superuser. Its workers must accept the same user.
URI = os.environ.get("DESK_CITUS_URI", "")
NOT_RUN = "DESK_CITUS_URI does not name the coordinator of a Citus cluster."
SHARDS = 8
NODES = """
    SELECT nodename, nodeport FROM pg_dist_node WHERE isactive
    ORDER BY groupid = 0 DESC, nodeid
"""


def nodes() -> list[tuple[str, int]]:
    """(host, port) of the coordinator and then of each worker."""
    with psycopg.connect(URI) as connection:
        return connection.execute(NODES).fetchall()


def address(database: str, node: tuple[str, int]) -> str:
    return make_conninfo(URI, dbname=database, host=node[0], port=node[1])


def coordinator(database: str) -> str:
    return make_conninfo(URI, dbname=database)


@contextmanager
def cluster(name: str):
    """A database of this name on all nodes of the cluster; yields a connection to it."""
    found = nodes()
    drop(name, found)
    for node in found:
        with psycopg.connect(address("postgres", node), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        with psycopg.connect(address(name, node), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION citus")
            connection.execute("CREATE EXTENSION pg_trgm")
    try:
        with psycopg.connect(coordinator(name), autocommit=True) as connection:
            connection.execute("SELECT citus_set_coordinator_host(%s, %s)", found[0])
            for worker in found[1:]:
                connection.execute("SELECT citus_add_node(%s, %s)", worker)
            yield connection
    finally:
        drop(name, found)


def drop(name: str, found: list[tuple[str, int]]):
    for node in found:
        with psycopg.connect(address("postgres", node), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def distribute(database: psycopg.Connection, schema="agents") -> subprocess.CompletedProcess:
    """Pass the SQL that `manage.py distribute` prints to psql."""
    program = find("psql", database.info.server_version // 10_000)
    return subprocess.run(
        [program, "--no-psqlrc", "--quiet", f"--dbname={coordinator(database.info.dbname)}"],
        input=distribution_sql(schema, SHARDS),
        capture_output=True,
        text=True,
    )


@contextmanager
def site_on(uri: str):
    """In the block, the site reads and changes this agent database, and really commits."""
    kept = {alias: connections[alias] for alias in ("agents", "agents_write")}
    for alias in kept:
        ours = connections.create_connection(alias)
        seconds = settings.STATEMENT_TIMEOUT_SECONDS
        found = from_uri(
            "DESK_CITUS_URI",
            uri,
            schema="agents",
            read_only=alias == "agents",
            timeout_seconds=seconds if alias == "agents" else 0,
        )
        ours.settings_dict = {**ours.settings_dict, **found}
        connections[alias] = ours
    forget()
    try:
        yield
    finally:
        for alias, usual in kept.items():
            connections[alias].close()
            connections[alias] = usual
        forget()


def forget():
    for known in (revision, state, compiled):
        known.forget()
    cache.clear()


@contextmanager
def killed(node: tuple[str, int]):
    """In the block, this server is dead: all its processes were killed."""
    with psycopg.connect(address("postgres", node)) as connection:
        [[lines]] = connection.execute("SELECT pg_read_file('postmaster.pid')").fetchall()
    pid, _, _, port, sockets, *_ = lines.split("\n")
    process = Path("/proc", pid)
    program, folder = os.readlink(process / "exe"), os.readlink(process / "cwd")
    arguments = (process / "cmdline").read_bytes().split(b"\0")[1:-1]
    environment = (process / "environ").read_bytes().decode().split("\0")[:-1]
    owner = process.stat()
    children = (process / "task" / pid / "children").read_text().split()
    for each in (pid, *children):
        with suppress(ProcessLookupError):
            os.kill(int(each), signal.SIGKILL)
    wait_until(lambda: not any(is_running(each) for each in (pid, *children)))
    try:
        yield
    finally:
        # PostgreSQL takes a dead process that its parent has not noticed yet for a running one.
        Path(folder, "postmaster.pid").unlink()
        Path(sockets, f".s.PGSQL.{port}.lock").unlink(missing_ok=True)
        subprocess.Popen(
            [program, *arguments],
            cwd=folder,
            env=dict(each.split("=", 1) for each in environment),
            user=owner.st_uid,
            group=owner.st_gid,
            extra_groups=[],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: answers(node))


def is_running(pid: str) -> bool:
    try:
        return " Z " not in Path("/proc", pid, "stat").read_text()
    except FileNotFoundError:
        return False


def answers(node: tuple[str, int]) -> bool:
    try:
        psycopg.connect(address("postgres", node)).close()
    except psycopg.OperationalError:
        return False
    return True


@dataclass
class Histories:
    """The addresses of two databases with the same rows, and rows with which to fill addresses."""

    plain: str
    distributed: str
    side: Side


def write_history(plain: str) -> Side:
    """Write what the real runtime recorded, or else the demo's conversations, and our own."""
    recorded = RECORDED / "kavalai-1.0.7.sql.gz"
    with psycopg.connect(plain, autocommit=True) as connection:
        if recorded.exists():
            load(recorded, connection)
        else:
            create_agent_tables(connection, "agents")
            write_demo(connection, count=80)
    with site_on(plain):
        return make_side()


def copy_history(plain: str, target: psycopg.Connection):
    create_agent_tables(target, "agents")
    with psycopg.connect(plain) as source:
        copy_rows(source, target)
    distributed = distribute(target)
    assert distributed.returncode == 0, distributed.stderr
