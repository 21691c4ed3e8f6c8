"""The site as its users see it: requests to gunicorn over HTTP, by a signed-in user."""

import http.client
import os
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import psycopg
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from .databases import connect, reading, uri
from .original import SETTINGS

HOST = "127.0.0.1"
SECONDS = 60


def signed_in(username: str) -> Client:
    user = get_user_model().objects.create(username=username)
    user.groups.add(Group.objects.get(name="Support"))
    client = Client(raise_request_exception=False, SERVER_NAME=HOST)
    client.force_login(user)
    return client


@dataclass
class Site:
    """A web server for one agent database, with connections to the server and the database."""

    name: str
    port: int
    # gunicorn's main process.
    pid: int
    client: Client
    http: http.client.HTTPConnection
    database: psycopg.Connection
    # A connection with the settings for the original system's queries.
    original: psycopg.Connection

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(HOST, self.port, timeout=SECONDS)

    def request(self, path, headers=None, connection=None, client=None):
        cookie = self.cookies(client or self.client)
        connection = connection or self.http
        connection.request("GET", path, headers={"Cookie": cookie, **(headers or {})})
        return connection.getresponse()

    @staticmethod
    def cookies(client) -> str:
        return "; ".join(f"{key}={each.value}" for key, each in client.cookies.items())

    def bytes_held(self, which: str) -> list[int]:
        """The memory of each worker process. `which` is VmHWM for its peak, or VmRSS for now."""
        texts = [Path(f"/proc/{pid}/status").read_text() for pid in self.workers()]
        return [int(text.split(f"{which}:")[1].split()[0]) * 1024 for text in texts]

    def workers(self) -> list[str]:
        return Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()

    def processor_seconds(self) -> float:
        """For how long the threads of all worker processes have run so far."""
        threads = (Path(f"/proc/{pid}/task").glob("*/schedstat") for pid in self.workers())
        return sum(int(each.read_text().split()[0]) for each in chain(*threads)) / 1e9

    def count_queries(self, path, headers) -> int:
        """How many queries a request sends to both databases, counted inside this process."""
        with reading(self.name), ExitStack() as stack:
            self.client.get(path, headers=headers).getvalue()
            captured = [
                stack.enter_context(CaptureQueriesContext(connections[alias]))
                for alias in ("default", "agents")
            ]
            self.client.get(path, headers=headers).getvalue()
            return sum(len(queries) for queries in captured)


@contextmanager
def serving(name: str, client: Client, workers: int = 2, root=settings.BASE_DIR, environment=None):
    """gunicorn as `make run` starts it, on a free port, with the code in the folder `root`."""
    with socket.create_server((HOST, 0)) as listening:
        # gunicorn sets this too, but too late for connections made while it starts.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port = listening.getsockname()[1]
        command = [sys.executable, "-m", "gunicorn", "--workers", str(workers)]
        command += ["--bind", f"fd://{listening.fileno()}"]
        # Long enough to measure other cases between two requests on the same connection.
        command += ["--keep-alive", "3600"]
        process = subprocess.Popen(  # noqa: S603
            command,
            cwd=root,
            env=os.environ | {"KAVALAI_DB_URI": uri(name)} | (environment or {}),
            pass_fds=[listening.fileno()],
        )
    try:
        with connect(name) as database, connect(name, **SETTINGS) as original:
            http_connection = http.client.HTTPConnection(HOST, port, timeout=SECONDS)
            yield Site(name, port, process.pid, client, http_connection, database, original)
            http_connection.close()
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
