"""Everything through PgBouncer in transaction mode, set up as in docs/operating.md."""

import re
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.conf import settings

from demo import write_demo

from ..support.deployment import Deployment, deployment, static_files
from ..support.exports import URL, read_csv
from ..support.person import make_person, sign_in
from ..support.servers import OpenPostgres, pgbouncer, running

PAGE = (settings.BASE_DIR / "docs/operating.md").read_text()
[ALTER_ROLES] = re.findall(r"```sql\n(ALTER ROLE reader .*?)```", PAGE, re.DOTALL)
LIST = "/conversations/"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pgbouncer")]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    with running(OpenPostgres(tmp_path_factory.mktemp("postgres"))) as server:
        yield server


@pytest.fixture(scope="module")
def database(postgres):
    """The agent database with three roles, in a time zone that is not ours."""
    with deployment("kavalai", postgres) as made:
        postgres.create_database("desk")
        database = made.database
        write_demo(database, count=60)
        database.execute("ALTER DATABASE kavalai RESET search_path")
        database.execute("ALTER DATABASE kavalai SET timezone = 'Asia/Tokyo'")
        named = ("--schema=agents", "--reader=reader", "--editor=editor")
        roles = made.run("database_roles", *named, check=True, text=True).stdout
        database.execute(roles.partition("-- For our own database")[0])
        yield database


@pytest.fixture(scope="module")
def site(postgres, database):
    with pgbouncer(postgres, ("desk", "reader", "editor")) as uri:
        made = Deployment(database, uri("desk"))
        made.settings = {
            "KAVALAI_DB_URI": uri("kavalai", "reader"),
            "KAVALAI_DB_WRITE_URI": uri("kavalai", "editor"),
            "STATIC_ROOT": static_files(),
        }
        made.unprepared_check = made.run("check", text=True)
        database.execute(ALTER_ROLES)
        reconnect(made)
        made.prepare()
        yield made


@pytest.fixture(scope="module")
def server(site):
    with site.serving() as serving:
        yield serving


@pytest.fixture(scope="module")
def admin(site, server):
    person = make_person(site, "Admin")
    page = sign_in(person, server, "admin")
    assert (page.status, page.url) == (200, LIST)
    return person


def test_check_names_settings_that_pgbouncer_does_not_pass_on(site, database):
    said = site.unprepared_check.stderr
    assert "ALTER ROLE reader SET search_path = 'agents';" in said
    database.execute("ALTER ROLE reader RESET statement_timeout")
    database.execute("ALTER ROLE reader RESET jit")
    database.execute("ALTER ROLE editor RESET search_path")
    reconnect(site)
    try:
        said = site.run("check", text=True).stderr
        assert "ALTER ROLE reader SET statement_timeout = '5000';" in said
        assert "ALTER ROLE reader SET jit = 'off';" in said
        assert "ALTER ROLE editor SET search_path = 'agents';" in said
        assert "read_only" not in said
    finally:
        database.execute(ALTER_ROLES)
        reconnect(site)
    checked = site.run("check", text=True)
    assert "no issues" in checked.stdout + checked.stderr


def reconnect(site):
    uri = site.uri.replace("/desk?", "/pgbouncer?")
    with psycopg.connect(uri, autocommit=True) as console:
        console.execute("RECONNECT")


def test_check_says_how_to_configure_pgbouncer(postgres, site):
    with pgbouncer(postgres, ("desk", "reader"), more="") as uri:
        refusing = Deployment(site.database, site.uri)
        refusing.settings = {"KAVALAI_DB_URI": uri("kavalai", "reader")}
        said = refusing.run("check", text=True).stderr
    assert "PgBouncer needs ignore_startup_parameters = options" in said


def test_every_page_answers_and_concurrent_users_get_their_own(server, admin, database):
    [agent] = database.execute("SELECT id FROM agents.agents LIMIT 1").fetchone()
    runs = "SELECT session_id, id FROM agents.runs ORDER BY id LIMIT 20"
    conversations = database.execute(runs).fetchall()
    paths = [
        LIST,
        f"{LIST}?agent={agent}",
        f"{LIST}?search=the&scope=all",
        f"{LIST}?problem=any",
        f"{LIST}?start_date=2020-01-01&end_date=2030-01-01",
        f"{LIST}counts/",
        "/conversations/errors/",
        "/admin/conversations/session/",
    ]
    for session_id, run_id in conversations:
        paths += [f"{LIST}{session_id}/", f"{LIST}{session_id}/runs/{run_id}/"]
    alone = {path: admin.get(server, path) for path in paths}
    assert {path: page.status for path, page in alone.items() if page.status != 200} == {}
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda path: (path, admin.get(server, path)), paths * 3))
    for path, page in together:
        assert page.status == 200, path
        if "runs" in path:
            assert path.rstrip("/").rpartition("/")[2] in page.text
            assert heading(page) == heading(alone[path])


def heading(page):
    return re.findall(r"<h1.*?</h1>", page.text)


def test_exports_are_complete_and_their_times_are_in_utc(server, admin, database):
    for file, table in (("conversations", "sessions"), ("messages", "chat_messages")):
        found = read_csv(admin.get(server, f"{URL}{file}.csv").body)
        [number] = database.execute(f"SELECT count(*) FROM agents.{table}").fetchone()
        assert len(found) == number
        assert {row["created_at"][-6:] for row in found} == {"+00:00"}
    first = found[0]
    query = "SELECT created_at = %s FROM agents.chat_messages WHERE id = %s"
    assert database.execute(query, [first["created_at"], first["id"]]).fetchone() == (True,)


def test_an_edit_and_its_audit_are_written(server, admin, database):
    [agent] = database.execute("SELECT id FROM agents.agents LIMIT 1").fetchone()
    path = f"/admin/conversations/agent/{agent}/change/"
    page = admin.post(server, path, name="Through PgBouncer", description="")
    assert page.status == 200
    query = "SELECT name FROM agents.agents WHERE id = %s"
    assert database.execute(query, [agent]).fetchone() == ("Through PgBouncer",)
    assert "Through PgBouncer" in admin.get(server, LIST + f"?agent={agent}").text


def test_the_reader_cannot_write_and_no_setting_leaks(site, server, admin):
    """Otherwise, what a page or an export sets would still be set for the next client."""
    for path in (f"{LIST}?search=th", f"{LIST}counts/", f"{URL}conversations.csv"):
        admin.get(server, path)
    uri = site.settings["KAVALAI_DB_URI"]
    limits = set()
    for _ in range(8):
        with psycopg.connect(uri, autocommit=True, prepare_threshold=None) as connection:
            limits |= set(connection.execute("SHOW statement_timeout").fetchone())
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                connection.execute("DELETE FROM sessions")
    assert limits == {"5s"}
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    assert site.database.execute(locks).fetchone() == (0,)


def test_pooled_connections_go_through_it_as_well(site, admin):
    pooled = Deployment(site.database, site.uri, {**site.settings, "DATABASE_POOL_SIZE": "4"})
    with pooled.serving() as server, ThreadPoolExecutor(12) as pool:
        pages = pool.map(lambda _: admin.get(server, LIST).status, range(40))
        assert set(pages) == {200}
