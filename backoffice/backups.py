"""Back up and restore our own database with pg_dump and pg_restore."""

import os
import subprocess
import tempfile
from pathlib import Path

import psycopg
from django.core.management import CommandError
from django.db import Error, connections
from psycopg import pq
from psycopg.conninfo import make_conninfo

from .local_postgres.binaries import candidates, version_of

ANYTHING = """
    SELECT EXISTS (
        SELECT FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
        AND relnamespace NOT IN (
            SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_' OR nspname = 'information_schema'
        )
    )
"""


# pg_dump 17 and later writes this setting, which older servers reject.
NEWER_SETTING = b"SET transaction_timeout = 0;"


def backup(file: Path):
    """
    Write a new file, readable only by its owner. It leaves out the users' sign-ins and the figures:
    they are counted again, so that nothing returns of conversations erased since.
    """
    try:
        descriptor, partial = tempfile.mkstemp(prefix=".backup-", dir=file.parent)
        os.close(descriptor)
        try:
            run(
                "pg_dump",
                "--format=custom",
                "--no-owner",
                "--no-privileges",
                # The sign-ins would let anyone who has the file act as a signed-in user.
                "--exclude-table-data=django_session",
                "--exclude-table-data=overview_*",
                f"--file={partial}",
            )
            # Unlike a rename, a link does not replace a file.
            os.link(partial, file)
        finally:
            os.unlink(partial)
    except FileExistsError:
        raise CommandError(f"{file} already exists.") from None
    except OSError as error:
        raise CommandError(f"{file} could not be written: {error.strerror}.") from None


def restore(file: Path):
    """Fill our empty database from the file, completely or not at all."""
    if not file.is_file():
        raise CommandError(f"There is no file {file}.")
    with connect().cursor() as cursor:
        cursor.execute(ANYTHING)
        if cursor.fetchone()[0]:
            raise CommandError(
                "Our own database is not empty: nothing was restored. Create a new one and name "
                "it in DATABASE_URL."
            )
    # pg_restore would send version 17's setting to older servers too; a script can be edited first.
    with tempfile.NamedTemporaryFile(prefix="desk-restore-") as script:
        options = ("--no-owner", "--no-privileges", "--no-comments")
        run("pg_restore", *options, f"--file={script.name}", str(file), connected=False)
        run(
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--single-transaction",
            "--set=ON_ERROR_STOP=1",
            f"--file={without_newer_settings(Path(script.name))}",
        )


def without_newer_settings(script: Path) -> Path:
    """Blank out, at the top of the script, the setting that older servers do not know."""
    with script.open("r+b") as file:
        head = file.read(2000)
        file.seek(0)
        file.write(head.replace(NEWER_SETTING, b" " * len(NEWER_SETTING), 1))
    return script


def connect():
    connection = connections["default"]
    try:
        connection.ensure_connection()
    except Error as error:
        reason = str(error).strip().splitlines()[0]
        raise CommandError(f"Our own database does not answer: {reason}") from None
    return connection


def run(program: str, *arguments: str, connected: bool = True):
    connection = connect()
    info = connection.connection.info
    path = find(program, info.server_version // 10_000)
    target, environment = connection_for(info)
    connection.close()
    result = subprocess.run(  # noqa: S603
        [path, *([f"--dbname={target}"] if connected else ()), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no message"])[0]
        raise CommandError(f"{program} failed: {reason}")


def connection_for(info: psycopg.ConnectionInfo) -> tuple[str, dict[str, str]]:
    """
    (connection string, environment) for a program. Settings go into the environment: a program
    ignores those its version does not know, and other users of this computer cannot read them.
    """
    variables = {each.keyword.decode(): each.envvar for each in pq.Conninfo.get_defaults()}
    environment = {"PGPASSWORD": info.password}
    in_arguments = {"dbname": info.dbname}
    for name, value in info.get_parameters().items():
        if variable := variables[name]:
            environment[variable.decode()] = value
        else:
            in_arguments[name] = value
    return make_conninfo(**in_arguments), environment


def find(program: str, server: int) -> Path:
    """The program in the server's version, else the next newer one: older ones refuse to work."""
    found = {}
    for directory in candidates():
        path = directory / program
        if version := version_of(path):
            found.setdefault(version, path)
    fitting = [version for version in found if version >= server]
    if not fitting:
        raise CommandError(
            f"{program} of PostgreSQL {server} or later was not found: install PostgreSQL's "
            "client programs."
        )
    return found[min(fitting)]
