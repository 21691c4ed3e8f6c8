"""How a page waits for the agent database: as long as it answers and the client is there."""

import selectors
import socket
import threading
import time
from contextlib import contextmanager, suppress

import psycopg
import pytest
from django.conf import settings
from django.http import HttpResponse
from psycopg.conninfo import conninfo_to_dict

from backoffice.client import Client, current_client, watch_client
from backoffice.databases.postgresql import connection as waiting
from backoffice.databases.postgresql.connection import Connection, Unanswered, Watch, greets

from ..support.deployment import HOST

SLEEP = "SELECT pg_sleep(5)"


class Relay:
    """A connection to the local PostgreSQL that passes nothing on while it is blocked."""

    def __init__(self):
        self.open, self.ended = threading.Event(), threading.Event()
        self.open.set()
        where = conninfo_to_dict(settings.LOCAL_POSTGRES.uri("postgres"))
        self.server = f"{where['host']}/.s.PGSQL.{where.get('port', 5432)}"
        self.listening = socket.create_server((HOST, 0))
        # With a small buffer, data that is not read soon stops the sender.
        self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with suppress(OSError):
            while True:
                here, _ = self.listening.accept()
                threading.Thread(target=self.carry, args=[here], daemon=True).start()

    def carry(self, here):
        with here, socket.socket(socket.AF_UNIX) as there, selectors.DefaultSelector() as ready:
            there.connect(self.server)
            for one, other in ((here, there), (there, here)):
                ready.register(one, selectors.EVENT_READ, other)
            # The first bytes are a greeting, which is always answered.
            greeted = False
            with suppress(OSError):
                while not self.ended.is_set():
                    for key, _ in ready.select(0.1):
                        if greeted:
                            self.open.wait()
                        data = key.fileobj.recv(65536)
                        if not data:
                            return
                        key.data.sendall(data)
                        greeted = greeted or key.fileobj is there

    @contextmanager
    def blocked(self, seconds: float):
        self.open.clear()
        timer = threading.Timer(seconds, self.open.set)
        timer.start()
        try:
            yield
        finally:
            self.open.set()
            timer.cancel()

    def close(self):
        self.ended.set()
        self.open.set()
        self.listening.close()


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(Watch, "is_on", True)
    monkeypatch.setattr(Connection, "limit_seconds", 10)
    monkeypatch.setattr(Connection, "ends_with_client", True)


@pytest.fixture
def relay():
    made = Relay()
    yield made
    made.close()


@pytest.fixture
def database(site):
    with Connection.connect(settings.LOCAL_POSTGRES.uri("postgres"), autocommit=True) as made:
        yield made


@pytest.fixture
def client(rf):
    """A client that has left."""
    ours, theirs = socket.socketpair()
    client = Client(rf.get("/", **{"gunicorn.socket": ours}))
    token = current_client.set(client)
    theirs.close()
    yield client
    current_client.reset(token)
    ours.close()


def test_a_long_statement_is_sent_completely(site, relay):
    uri = settings.LOCAL_POSTGRES.uri("postgres")
    with Connection.connect(uri, host=HOST, port=relay.port, autocommit=True) as connection:
        # More than the sockets can buffer.
        long = "word " * 4_000_000
        began = time.monotonic()
        with relay.blocked(2.5):
            found = connection.execute("SELECT length(%s::text)", [long]).fetchone()
        assert time.monotonic() - began > 2 * waiting.QUIET_SECONDS
        assert found == (len(long),)


def test_no_more_queries_run_for_a_client_that_left(database, client):
    """Code that caught the first query's timeout goes on with the next query."""
    began = time.monotonic()
    for _ in range(5):
        with pytest.raises(psycopg.errors.QueryCanceled):
            database.execute(SLEEP)
    assert time.monotonic() - began < 2 * waiting.QUIET_SECONDS
    # Others may use the connection afterwards.
    current_client.set(None)
    assert database.execute("SELECT 1").fetchone() == (1,)


def test_a_query_that_cannot_be_cancelled_is_abandoned(database, client, monkeypatch):
    def refuse(self, **kwargs):
        raise psycopg.errors.CancellationTimeout

    monkeypatch.setattr(Connection, "cancel_safe", refuse)
    with pytest.raises(Unanswered):
        database.execute(SLEEP)
    assert database.closed


def test_a_missing_server_does_not_answer_a_greeting():
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        assert not greets(ours.fileno())
    with socket.socket() as unconnected:
        assert not greets(unconnected.fileno())


# Requests whose client left before they began


@pytest.mark.parametrize(("method", "begun"), [("GET", False), ("HEAD", False), ("POST", True)])
def test_requests_whose_client_left_are_not_begun(rf, method, begun):
    asked = []
    ours, theirs = socket.socketpair()
    request = rf.generic(method, "/conversations/", **{"gunicorn.socket": ours})
    answer = watch_client(lambda request: asked.append(request) or HttpResponse())
    assert answer(request).status_code == 200
    theirs.close()
    assert answer(request).status_code == (200 if begun else 499)
    assert len(asked) == 1 + begun
    current_client.set(None)
