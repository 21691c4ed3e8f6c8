"""Exports through gunicorn: consistent while others write, in little memory, cleaned up after."""

import http.client
import itertools
import os
import threading
import time
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from ..support.deployment import deployment, wait_until, write_sessions
from ..support.exports import URL, read_csv

SESSIONS = 20_000
MESSAGES = 3
LENGTH = 2_000
CONVERSATIONS = f"{URL}conversations.csv"
MESSAGES_CSV = f"{URL}messages.csv"
MEGABYTE = 2**20
ENTRIES = "SELECT details FROM audit_entry WHERE act = 'exported' ORDER BY id"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("export_running")]


@pytest.fixture(scope="module")
def site():
    name = f"exports_{os.getpid()}"
    with deployment(name, settings.LOCAL_POSTGRES) as made:
        # Waiting for a lock takes longer than a page's query may.
        made.settings["STATEMENT_TIMEOUT_SECONDS"] = "1"
        write_sessions(made.database, SESSIONS, MESSAGES, LENGTH)
        made.prepare()
        yield made


@pytest.fixture(scope="module")
def server(site):
    with site.serving() as serving:
        yield serving


@pytest.fixture(autouse=True)
def _nothing_runs_on(site):
    yield
    wait_until(lambda: not site.exporting())


def writing(site, stop: threading.Event, commits: list):
    """
    In each transaction, one conversation with its messages is erased, another is written, and
    others move to the top and bottom of the list: their number never changes.
    """
    number = 0
    options = "-c search_path=agents"
    with psycopg.connect(site.uri, options=options) as connection:
        while not stop.is_set():
            number += 1
            with connection.transaction():
                connection.execute(
                    "DELETE FROM sessions WHERE id = (SELECT id FROM sessions "
                    "WHERE id > ('7' || left(md5(%s::text), 31))::uuid ORDER BY id LIMIT 1)",
                    [number],
                )
                connection.execute(
                    "WITH made AS (INSERT INTO sessions (id, agent_id, created_at, updated_at) "
                    "VALUES (gen_random_uuid(), md5('agent')::uuid, now(), now()) RETURNING *) "
                    "INSERT INTO chat_messages (id, agent_id, session_id, role, content, "
                    "created_at, updated_at) SELECT gen_random_uuid(), agent_id, id, 'user', "
                    "'new', now(), now() FROM made, generate_series(1, %s)",
                    [MESSAGES],
                )
                for moved in ("now()", "now() - interval '1 year'"):
                    connection.execute(
                        f"UPDATE sessions SET updated_at = {moved} WHERE id IN (SELECT id FROM "
                        "sessions WHERE id > md5(%s::text || 'x')::uuid ORDER BY id LIMIT 20)",
                        [number],
                    )
            commits.append(number)


def test_an_export_shows_one_moment_while_others_write(site, server):
    stop, commits = threading.Event(), []
    writer = threading.Thread(target=writing, args=[site, stop, commits])
    writer.start()
    try:
        for path, key, number in (
            (CONVERSATIONS, "session_id", SESSIONS),
            (MESSAGES_CSV, "id", SESSIONS * MESSAGES),
        ):
            response = server.get(path)
            response.read(1)
            before = len(commits)
            found = read_csv(b"\xef" + response.read())
            assert len(commits) - before > 20, "nothing was written meanwhile"
            assert len(found) == number
            assert len({row[key] for row in found}) == number
            if key == "session_id":
                assert {row["messages_count"] for row in found} == {str(MESSAGES)}
                times = [row["updated_at"] for row in found]
                assert times == sorted(times, reverse=True)
            else:
                of = [row["session_id"] for row in found]
                # Rows of one conversation are consecutive.
                assert sum(one != other for one, other in itertools.pairwise(of)) == SESSIONS - 1
    finally:
        stop.set()
        writer.join()


def peak(server) -> int:
    """The most memory that any of the server's processes has used, in bytes."""
    lines = [Path(f"/proc/{pid}/status").read_text() for pid in server.workers()]
    return max(int(text.split("VmHWM:")[1].split()[0]) for text in lines) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the memory")
def test_memory_does_not_grow(site, server):
    for _ in range(10):
        assert server.get(f"{MESSAGES_CSV}?external_id=user-77").read()
        assert server.get("/conversations/").read()
    before = peak(server)
    for _ in range(2):
        response = server.get(MESSAGES_CSV)
        size = 0
        while block := response.read(MEGABYTE):
            size += len(block)
        assert size > 100 * MEGABYTE
    assert peak(server) - before < 30 * MEGABYTE


def test_the_first_byte_comes_at_once(server):
    for path in (CONVERSATIONS, MESSAGES_CSV):
        began = time.monotonic()
        response = server.get(path)
        assert len(response.read(30_000)) == 30_000
        assert time.monotonic() - began < 1
        server.stop(response)


def test_the_first_line_comes_within_seconds_whatever_the_database_does(site, server):
    began = time.monotonic()
    with site.locked():
        response = server.get(MESSAGES_CSV)
        assert response.status == 200
        assert response.read1().startswith(b"\xef\xbb\xbfid,session_id,")
        assert time.monotonic() - began < 3
        # Longer than a page's query may take.
        time.sleep(1.5)
        assert len(site.exporting()) == 1
    assert len(response.read()) > 100 * MEGABYTE


def test_a_stopped_download_leaves_no_query(site, server):
    response = server.get(MESSAGES_CSV)
    response.read(100_000)
    assert len(site.exporting()) == 1
    server.stop(response)
    wait_until(lambda: not site.exporting(), seconds=2)
    wait_until(lambda: site.database.execute(ENTRIES).fetchall()[-1][0].get("complete") is False)
    places = "SELECT FROM pg_locks WHERE locktype = 'advisory'"
    wait_until(lambda: not site.database.execute(places).fetchall())


def test_a_download_stopped_before_its_first_byte_leaves_no_query(site, server):
    with site.locked():
        response = server.get(MESSAGES_CSV)
        assert len(site.exporting()) == 1
        server.stop(response)
        wait_until(lambda: not site.exporting(), seconds=4)


def test_an_aborted_file_does_not_look_complete(site, server):
    def break_off(response):
        for pid in site.exporting():
            site.database.execute("SELECT pg_cancel_backend(%s)", [pid])
        with pytest.raises(http.client.IncompleteRead):
            response.read()

    with site.locked():
        break_off(server.get(MESSAGES_CSV))
    response = server.get(MESSAGES_CSV)
    assert len(response.read(100_000)) == 100_000
    break_off(response)
    wait_until(lambda: site.database.execute(ENTRIES).fetchall()[-1][0].get("complete") is False)


def test_a_file_whose_database_went_away_does_not_look_complete(site, server):
    response = server.get(MESSAGES_CSV)
    response.read(100_000)
    for pid in site.exporting():
        site.database.execute("SELECT pg_terminate_backend(%s)", [pid])
    with pytest.raises(http.client.IncompleteRead):
        response.read()
    # Every thread reconnects to the database.
    for _ in range(20):
        response = server.get(f"{CONVERSATIONS}?external_id=user-77")
        assert response.status == 200
        # Read to the end, or the slot stays taken.
        response.read()


def test_the_third_export_at_once_is_refused_in_every_process(site, server):
    with site.locked():
        running = [server.get(MESSAGES_CSV) for _ in range(2)]
        assert [response.status for response in running] == [200, 200]
        for _ in range(6):
            refused = server.get(CONVERSATIONS)
            assert refused.status == 429
            assert refused.headers["Retry-After"] == "60"
            assert b"exports are already running" in refused.read()
    sizes = {len(response.read()) for response in running}
    assert len(sizes) == 1
    assert server.get(f"{CONVERSATIONS}?external_id=user-77").status == 200
