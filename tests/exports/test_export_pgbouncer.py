"""Exports through PgBouncer in transaction mode, which reuses connections between transactions."""

import psycopg
import pytest

from ..support.deployment import deployment, wait_until, write_sessions
from ..support.exports import URL, read_csv
from ..support.servers import OpenPostgres, pgbouncer, running

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("export_pgbouncer")]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    with running(OpenPostgres(tmp_path_factory.mktemp("postgres"))) as server:
        yield server


@pytest.fixture(scope="module")
def bouncer(postgres):
    """A function that returns the URI of a database through PgBouncer."""
    with pgbouncer(postgres) as uri:
        yield uri


@pytest.fixture(scope="module")
def site(postgres, bouncer):
    with deployment("desk", postgres) as made:
        write_sessions(made.database, sessions=5_000, messages=2, length=2_000)
        made.uri = bouncer("desk")
        made.prepare()
        yield made


@pytest.fixture(scope="module")
def server(site):
    with site.serving() as serving:
        yield serving


def test_pgbouncer_gives_a_connection_away_between_two_transactions(site):
    """Otherwise the tests below would prove nothing."""
    with psycopg.connect(site.uri, autocommit=True) as one, psycopg.connect(site.uri) as other:
        one.execute("SET work_mem = '123kB'")
        assert other.execute("SHOW work_mem").fetchone() == ("123kB",)
        other.execute("RESET work_mem")


def test_exports_are_complete(server):
    for path, number in ((f"{URL}conversations.csv", 5_000), (f"{URL}messages.csv", 10_000)):
        found = read_csv(server.get(path).read())
        assert len(found) == number


def test_two_run_at_once_and_the_third_is_refused(site, server):
    with site.locked():
        running = [server.get(f"{URL}messages.csv") for _ in range(2)]
        for _ in range(4):
            refused = server.get(f"{URL}conversations.csv")
            assert refused.status == 429
            assert refused.headers["Retry-After"]
        assert len(site.exporting()) == 2
    assert {len(read_csv(response.read())) for response in running} == {10_000}
    # Their slots are not left on a connection that others use now.
    locks = "SELECT FROM pg_locks WHERE locktype = 'advisory'"
    wait_until(lambda: not site.database.execute(locks).fetchall(), seconds=2)


def test_an_exports_time_limit_stays_with_it(site, server):
    """What an export sets is no longer set on the connection afterwards."""
    limits = set()
    for _ in range(4):
        server.get(f"{URL}conversations.csv?external_id=user-77").read()
        with psycopg.connect(site.uri, autocommit=True, prepare_threshold=None) as connection:
            limits |= set(connection.execute("SHOW statement_timeout").fetchone())
            limits |= set(connection.execute("SHOW jit").fetchone())
    assert limits <= {"0", "on"}


@pytest.mark.parametrize("locked", [False, True])
def test_a_stopped_download_leaves_no_query(site, server, locked):
    def stop():
        response = server.get(f"{URL}messages.csv")
        assert response.read(10)
        assert len(site.exporting()) == 1
        server.stop(response)
        wait_until(lambda: not site.exporting(), seconds=4)

    if locked:
        with site.locked():
            stop()
    else:
        stop()
    assert len(read_csv(server.get(f"{URL}conversations.csv").read())) == 5_000
