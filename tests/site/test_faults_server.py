"""gunicorn processes that are killed, hang or stop, and readers that stall."""

import http.client
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings

from ..support.deployment import HOST, Server, deployment, wait_until, write_sessions

LIST, LOGIN = "/conversations/", "/accounts/login/"
# Seconds within which a process starts, even on a busy machine.
BEGINS = "15"
BIG = 20
# Our own gunicorn settings.
OURS = """
import runpy
globals().update(runpy.run_path("gunicorn.conf.py"))
"""
# Our settings, with a shorter timeout for stalled readers.
PATIENCE = f"""{OURS}
def post_worker_init(worker):
    from backoffice import client
    client.STALLED_SECONDS = {{seconds}}
"""
# Our settings, plus a file with one letter for each request that gunicorn has started to answer.
BEGUN = f"""{OURS}
def pre_request(worker, request):
    with open({{file!r}}, "a") as file:
        file.write("x")
"""
WAITING = """
    SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults_server")]


@pytest.fixture(scope="module")
def site():
    with deployment(f"faults_{os.getpid()}", settings.LOCAL_POSTGRES) as made:
        write_sessions(made.database, sessions=50, messages=2, length=50)
        # A conversation whose files are larger than what the kernel buffers for a reader.
        made.database.execute(
            """
            INSERT INTO chat_messages
                (id, agent_id, session_id, role, content, created_at, updated_at)
            SELECT gen_random_uuid(), agent_id, id, 'user', repeat('word ', 200000), now(), now()
            FROM sessions, generate_series(1, %s) WHERE external_id = 'user-1'
            """,
            [BIG],
        )
        made.prepare()
        yield made


def status(server: Server, path=LIST) -> int:
    response = server.get(path)
    body = response.read()
    response.connection.close()
    assert len(body) == int(response.headers["Content-Length"])
    return response.status


def test_a_killed_worker_only_loses_the_requests_it_was_answering(site):
    with site.serving() as server:
        assert status(server) == 200
        one, other = server.workers()
        os.kill(one, signal.SIGKILL)
        with ThreadPoolExecutor(16) as readers:
            assert set(readers.map(lambda _: status(server), range(48))) == {200}
        wait_until(lambda: len(server.workers()) == 2)
        assert one not in server.workers()
        assert other in server.workers()


def test_a_worker_that_hangs_is_replaced_and_the_others_answer(site):
    with site.serving("--timeout", BEGINS) as server:
        assert status(server) == 200
        hanging = server.workers()[0]
        os.kill(hanging, signal.SIGSTOP)
        began = time.monotonic()
        while hanging in server.workers():
            assert status(server) == 200
            assert time.monotonic() - began < 60
        wait_until(lambda: len(server.workers()) == 2)


def test_a_worker_that_hangs_as_it_starts_is_replaced(site):
    with site.serving("--timeout", BEGINS) as server:
        assert status(server) == 200
        one, other = server.workers()
        os.kill(one, signal.SIGKILL)
        wait_until(lambda: len(server.workers()) == 2 and one not in server.workers())
        [starting] = set(server.workers()) - {other}
        # By now it has been forked and is importing Django.
        time.sleep(0.1)
        os.kill(starting, signal.SIGSTOP)
        wait_until(lambda: starting not in server.workers())
        wait_until(lambda: len(server.workers()) == 2)
        assert status(server) == 200


def test_a_stopping_server_answers_what_it_has_accepted(site, tmp_path):
    """It refuses all others, so that a balancer can try another server."""
    begun, hooks = tmp_path / "begun", tmp_path / "gunicorn_begun.py"
    begun.touch()
    hooks.write_text(BEGUN.format(file=str(begun)))
    answers, ended = [], threading.Event()

    def ask(server):
        while not ended.is_set():
            connection = http.client.HTTPConnection(HOST, server.port, timeout=20)
            try:
                connection.request("GET", LOGIN)
                response = connection.getresponse()
                body = response.read()
                whole = len(body) == int(response.headers["Content-Length"])
                answers.append("whole" if response.status == 200 and whole else "broken")
            except ConnectionRefusedError:
                answers.append("refused")
                time.sleep(0.05)
            except (http.client.RemoteDisconnected, ConnectionError):
                # There was no byte of an answer: gunicorn never saw this request, see below.
                answers.append("reset")
            except (http.client.HTTPException, OSError) as error:
                answers.append(f"broken: {error!r}")
            finally:
                connection.close()

    with (
        site.serving("-c", str(hooks)) as server,
        ThreadPoolExecutor(12) as readers,
    ):
        assert status(server) == 200
        slow = status_in_background(site, server)
        running = [readers.submit(ask, server) for _ in range(11)]
        wait_until(lambda: len(answers) > 100)
        os.kill(server.pid, signal.SIGTERM)
        assert slow() == 200
        wait_until(lambda: "refused" in answers)
        ended.set()
        for each in running:
            each.result()
    counted = {kind: answers.count(kind) for kind in sorted(set(answers))}
    print("SIGTERM:", counted)
    assert set(counted) <= {"whole", "refused", "reset"}
    # Plus the first request and the slow one.
    assert len(begun.read_text()) == counted["whole"] + 2


def status_in_background(site, server):
    """Request a page that waits for a lock past SIGTERM; return a function for its status."""
    found = []
    locked = threading.Event()

    def lock():
        with site.locked():
            locked.set()
            time.sleep(3)

    locking = threading.Thread(target=lock)
    locking.start()
    locked.wait()
    reading = threading.Thread(
        target=lambda: found.append(status(server, "/conversations/?search=word"))
    )
    reading.start()

    def result():
        reading.join()
        locking.join()
        return found[0]

    return result


def test_a_query_ends_when_its_client_leaves(site):
    """A browser that starts another search abandons the previous one."""

    def are_waiting() -> int:
        return len(site.database.execute(WAITING).fetchall())

    with site.serving() as server, site.locked():
        readers = [StalledReader(site, server, "/conversations/?search=word") for _ in range(3)]
        wait_until(lambda: are_waiting() == 3)
        began = time.monotonic()
        readers[0].close()
        readers[1].close()
        wait_until(lambda: are_waiting() == 1)
        # The remaining search has its full time limit.
        assert time.monotonic() - began < 2.5
        readers[2].close()


class StalledReader:
    """Requests a file and reads nothing of it."""

    def __init__(self, site, server, path):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect((HOST, server.port))
        head = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nCookie: {site.cookie}\r\n\r\n"
        self.socket.sendall(head.encode())

    def close(self):
        self.socket.close()


@pytest.mark.parametrize("file", ["conversation.json", "transcript.txt"])
def test_stalled_readers_do_not_stop_the_pages(site, tmp_path, file):
    """12 are fewer than the threads; 24 are more than the threads and get dropped."""
    settings_file = tmp_path / "gunicorn_patience.py"
    settings_file.write_text(PATIENCE.format(seconds=3))
    session = site.database.execute("SELECT md5('session1')::uuid").fetchone()[0]
    log = tmp_path / "log"
    with (
        log.open("w") as written,
        site.serving("-c", str(settings_file), "--log-level", "error", output=written) as server,
    ):
        assert status(server) == 200
        readers = []
        for number in (12, 12):
            readers += [
                StalledReader(site, server, f"/conversations/{session}/{file}")
                for _ in range(number)
            ]
            time.sleep(0.5)
            began = time.monotonic()
            assert status(server) == 200
            print(f"{len(readers)} stalled: {time.monotonic() - began:.1f} s")
        assert time.monotonic() - began < 15
        for reader in readers:
            reader.close()
    lines = log.read_text().splitlines()
    assert not [line for line in lines if line.startswith(("Traceback", " "))], lines[:5]
