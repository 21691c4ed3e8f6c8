"""The benchmark's own databases in the local PostgreSQL."""

import hashlib
from contextlib import contextmanager
from pathlib import Path

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from psycopg import sql

from conversations.agentdb import agent_tables
from conversations.indexes import state

from . import history

SCHEMA = "agents"


def uri(name: str) -> str:
    return settings.LOCAL_POSTGRES.uri(name)


def connect(name: str, **more: object) -> psycopg.Connection:
    """A connection like the site's own for reading, but without a time limit."""
    options = settings.DATABASES["agents"]["OPTIONS"]["options"]
    for setting, value in {"statement_timeout": 0, **more}.items():
        options += f" -c {setting}={value}"
    # As in psql, each statement is planned with its values.
    return psycopg.connect(uri(name), options=options, autocommit=True, prepare_threshold=None)


def execute(statement: str, **names: str):
    identifiers = {key: sql.Identifier(name) for key, name in names.items()}
    with psycopg.connect(uri("postgres"), autocommit=True) as connection:
        return connection.execute(sql.SQL(statement).format(**identifiers))


def drop(name: str):
    execute("DROP DATABASE IF EXISTS {name} WITH (FORCE)", name=name)


@contextmanager
def new_database(name: str):
    drop(name)
    settings.LOCAL_POSTGRES.create_database(name)
    try:
        yield name
    finally:
        drop(name)


@contextmanager
def history_database(size: int, *, keep: bool, say):
    """A database with `size` sessions. With `keep`, reuse one that an earlier run has kept."""
    name = f"bench_{size}"
    if not (keep and is_complete(name, size)):
        drop(name)
        settings.LOCAL_POSTGRES.create_database(name)
        say(f"Writing {size:,} sessions …")
        with psycopg.connect(uri(name)) as connection:
            agent_tables.create_agent_tables(connection, SCHEMA)
        history.write_history(uri(name), SCHEMA, size)
        execute(f"COMMENT ON DATABASE {{name}} IS '{written_by()}'", name=name)
    try:
        yield name
    finally:
        if not keep:
            drop(name)


def written_by() -> str:
    """A mark for databases whose history was completely written by exactly this code."""
    sources = [Path(history.__file__), agent_tables.DDL]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def is_complete(name: str, size: int) -> bool:
    comment = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
    with psycopg.connect(uri("postgres")) as connection:
        if connection.execute(comment, [name]).fetchone() != (written_by(),):
            return False
    # After a crash, unlogged tables are empty.
    with connect(name) as connection:
        return connection.execute("SELECT count(*) FROM sessions").fetchone() == (size,)


@contextmanager
def reading(name: str):
    """For the duration of the block, this process reads `name` as its agent database."""
    aliases = ("agents", "agents_write")
    before = [connections.settings[alias]["NAME"] for alias in aliases]

    def switch_to(*names):
        for alias, database in zip(aliases, names, strict=True):
            connections[alias].close()
            connections.settings[alias]["NAME"] = database
        state.forget()

    switch_to(name, name)
    try:
        yield
    finally:
        switch_to(*before)


def build_indexes(name: str):
    with reading(name):
        call_command("agent_indexes", apply=True, verbosity=0)


def drop_indexes(name: str):
    with reading(name):
        call_command("agent_indexes", drop=True, verbosity=0)
