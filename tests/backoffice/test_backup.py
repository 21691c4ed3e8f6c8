"""Backs up our own database to a file and restores it to another one, with manage.py."""

import os
import re
from dataclasses import replace

import psycopg
import pytest
from django.conf import settings

from backoffice import backups
from backoffice.local_postgres import binaries

from ..support.deployment import Deployment, create_anew, deployment

CONTENT = {
    "agent_threshold": "*",
    "accounts_user": "id, username, password",
    "accounts_user_groups": "*",
    "auth_group": "*",
    "auth_group_permissions": "*",
    "auth_permission": "*",
    "audit_entry": "*",
    "django_migrations": "*",
}

pytestmark = pytest.mark.xdist_group("backup")


@pytest.fixture(scope="module")
def site():
    with deployment(f"backup_{os.getpid()}", settings.LOCAL_POSTGRES) as made:
        made.prepare()
        made.database.execute(
            "INSERT INTO agent_threshold (agent_id, problem_percent, minimum_conversations)"
            " VALUES (gen_random_uuid(), 40, 20)"
        )
        yield made


@pytest.fixture
def other(site):
    """A site with an empty database of its own."""
    name = f"restored_{os.getpid()}"
    create_anew(settings.LOCAL_POSTGRES, name)
    uri = settings.LOCAL_POSTGRES.uri(name)
    with psycopg.connect(uri, autocommit=True) as connection:
        # As for the first site, our tables are in the first schema of the search_path.
        connection.execute(f"ALTER DATABASE {name} SET search_path = agents, public")
        connection.execute("SET search_path = agents, public")
        yield Deployment(connection, uri, {"KAVALAI_DB_URI": site.uri})
    with psycopg.connect(settings.LOCAL_POSTGRES.uri("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def content(database: psycopg.Connection) -> dict:
    return {
        table: sorted(database.execute(f"SELECT {columns} FROM {table}").fetchall(), key=str)
        for table, columns in CONTENT.items()
    }


def manage(site, *arguments) -> str:
    """Run a command and return its exit code and output in one line."""
    result = site.run(*map(str, arguments), text=True)
    assert "Traceback" not in result.stderr
    return f"{result.returncode} {result.stdout}{result.stderr}".strip()


@pytest.mark.slow
def test_everything_is_restored_except_sessions_and_figures(site, other, tmp_path):
    file = tmp_path / "desk.dump"
    assert manage(site, "rollup").startswith("0 Read")
    assert site.database.execute("SELECT count(*) FROM overview_progress").fetchone() == (1,)
    assert manage(site, "backup", file) == f"0 Wrote {file}."
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["desk.dump"]
    before = content(site.database)
    assert all(before.values())
    assert manage(other, "restore", file).startswith("0 Restored")
    assert content(other.database) == before
    for table in ("django_session", "overview_progress"):
        assert other.database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    # The audit log is still append-only, and its ids go on from the last one.
    for statement in ("UPDATE audit_entry SET username = 'x'", "DELETE FROM audit_entry"):
        with pytest.raises(psycopg.Error, match="audit"):
            other.database.execute(statement)
    assert manage(other, "migrate", "--check").startswith("0")
    other.sign_in("Admin")
    assert len(content(other.database)["audit_entry"]) == len(before["audit_entry"]) + 1


@pytest.mark.slow
def test_nothing_is_ever_overwritten(site, other, tmp_path):
    file = tmp_path / "desk.dump"
    manage(site, "backup", file)
    written, before = file.read_bytes(), content(site.database)
    assert manage(site, "backup", file) == f"1 CommandError: {file} already exists."
    assert file.read_bytes() == written
    refusal = "1 CommandError: Our own database is not empty: nothing was restored."
    assert manage(site, "restore", file).startswith(refusal)
    assert content(site.database) == before
    other.database.execute("CREATE SCHEMA theirs; CREATE TABLE theirs.things ()")
    assert manage(other, "restore", file).startswith(refusal)


def test_a_link_left_by_somebody_else_is_not_followed(site, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.write_text("kept")
    (tmp_path / ".desk.dump.partial").symlink_to(theirs)
    assert manage(site, "backup", tmp_path / "desk.dump").startswith("0 Wrote")
    assert theirs.read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.slow
def test_a_truncated_file_restores_nothing(site, other, tmp_path):
    file = tmp_path / "desk.dump"
    manage(site, "backup", file)
    half = tmp_path / "half.dump"
    half.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    for wrong in (half, tmp_path / "none.dump", tmp_path):
        assert re.match(r"1 CommandError: (pg_restore failed: |There is no file )", manage(
            other, "restore", wrong))  # fmt: skip
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname IN ('agents', 'public')"
        assert other.database.execute(tables).fetchone() == (0,)


@pytest.mark.slow
def test_a_failure_prints_one_line(site, tmp_path):
    missing = tmp_path / "no" / "desk.dump"
    found = manage(site, "backup", missing)
    assert found == f"1 CommandError: {missing} could not be written: No such file or directory."
    gone = replace(site, settings={"DATABASE_URL": site.uri + "_gone"})
    found = manage(gone, "backup", tmp_path / "x")
    assert found.startswith("1 CommandError: Our own database does not answer: ")
    assert "\n" not in found


def test_the_password_is_in_no_argument(site, tmp_path, monkeypatch):
    """Anybody on the computer can read a program's arguments."""
    program = tmp_path / "pg_dump"
    program.write_text('#!/bin/sh\necho "$@" > "$0.told"; echo "$PGPASSWORD" > "$0.password"\n')
    program.chmod(0o755)
    monkeypatch.setattr(backups, "find", lambda *arguments: program)
    with psycopg.connect(site.uri, password="hunter2") as connection:
        wrapper = type("Wrapper", (), {"connection": connection, "close": lambda self: None})
        monkeypatch.setattr(backups, "connect", wrapper)
        backups.run("pg_dump", "--format=custom")
    arguments = (tmp_path / "pg_dump.told").read_text()
    assert f"dbname=backup_{os.getpid()}" in arguments
    assert "hunter2" not in arguments
    assert (tmp_path / "pg_dump.password").read_text() == "hunter2\n"


@pytest.mark.parametrize(
    ("installed", "server", "chosen"),
    [((18, 15, 17), 15, 15), ((18, 17), 15, 17), ((15,), 15, 15)],
)
def test_programs_of_the_servers_version_or_the_next_one_are_used(
    tmp_path, monkeypatch, installed, server, chosen
):
    fake_programs(tmp_path, monkeypatch, installed)
    assert backups.find("pg_dump", server) == tmp_path / str(chosen) / "pg_dump"


def test_older_programs_are_not_used(tmp_path, monkeypatch):
    fake_programs(tmp_path, monkeypatch, (15, 14))
    with pytest.raises(Exception, match="pg_dump of PostgreSQL 16 or later was not found"):
        backups.find("pg_dump", 16)


def test_a_program_that_cannot_run_is_skipped(tmp_path, monkeypatch):
    fake_programs(tmp_path, monkeypatch, (18, 17))
    (tmp_path / "17" / "pg_dump").chmod(0o644)
    assert backups.find("pg_dump", 17) == tmp_path / "18" / "pg_dump"


def test_no_programs_are_copied_for_a_backup(monkeypatch):
    """Programs are only copied for the local server, because root must not run that."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(binaries, "copy_wheel", lambda *args: pytest.fail("copied"))
    assert backups.find("pg_dump", 15)


def fake_programs(place, monkeypatch, versions):
    for version in versions:
        (place / str(version)).mkdir()
        program = place / str(version) / "pg_dump"
        program.write_text(f'#!/bin/sh\necho "pg_dump (PostgreSQL) {version}.4"\n')
        program.chmod(0o755)
    monkeypatch.setattr(
        backups, "candidates", lambda *_: [place / str(version) for version in versions]
    )
