"""Runs PostgreSQL servers for a test, streaming replicas of them, and PgBouncer in front."""

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from backoffice.local_postgres.binaries import find_binaries
from backoffice.local_postgres.server import ROLE, LocalPostgres

from .deployment import wait_until

PGBOUNCER_PORT = 6432
PGBOUNCER = """
[databases]
* = host={sockets} port=5432

[pgbouncer]
listen_addr =
listen_port = {port}
unix_socket_dir = {place}
pool_mode = transaction
default_pool_size = 8
auth_type = trust
auth_file = {place}/users
admin_users = desk
{more}
"""


class OpenPostgres(LocalPostgres):
    """Lets in everybody who can reach its socket directory: PgBouncer must not run as root."""

    def _write_access_rules(self):
        super()._write_access_rules()
        rules = "local all all trust\nlocal replication all trust\n"
        (self.place / "postgres_hba.conf").write_text(rules)


@contextmanager
def running(server: LocalPostgres):
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.place, ignore_errors=True)


def make_replica(primary: OpenPostgres, home: Path) -> OpenPostgres:
    """A streaming replica, not started yet."""
    replica = OpenPostgres(home)
    with replica._locked(create=True):
        user = primary._as_server_user()
        binaries, _ = find_binaries(primary.place, primary._user.pw_name, user)
        if os.geteuid() == 0:
            os.chown(replica.place, primary._user.pw_uid, primary._user.pw_gid)
        command = [binaries / "pg_basebackup", "--pgdata", replica.data, "--write-recovery-conf"]
        command += ["--checkpoint=fast", "--host", primary.socket_directory, "--username", ROLE]
        process, position = replica._spawn(command)
        assert process.wait() == 0, replica._log_excerpt(position)
    return replica


@contextmanager
def pgbouncer(server: OpenPostgres, users=(ROLE,), more="ignore_startup_parameters = options"):
    """Yields a function for the URI of a database through PgBouncer in transaction mode."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not program:
        pytest.fail("No PgBouncer: apt-get install pgbouncer.", pytrace=False)
    place = Path(tempfile.mkdtemp(prefix="bouncer-"))
    command = [program]
    configuration = place / "pgbouncer.ini"
    configuration.write_text(
        PGBOUNCER.format(
            sockets=server.socket_directory, place=place, port=PGBOUNCER_PORT, more=more
        )
    )
    (place / "users").write_text("".join(f'"{user}" ""\n' for user in users))
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(place, nobody.pw_uid, nobody.pw_gid)
        command += ["--user", "nobody"]
    with (place / "log").open("w") as log:
        process = subprocess.Popen([*command, str(configuration)], stderr=log, stdout=log)

    def uri(database: str, user: str = ROLE) -> str:
        return f"postgresql://{user}@/{database}?host={place}&port={PGBOUNCER_PORT}"

    try:
        wait_until((place / f".s.PGSQL.{PGBOUNCER_PORT}").exists, seconds=10)
        yield uri
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(place)
