"""All supported versions of PostgreSQL give the same pages, files and changes."""

import json
import os
import shutil
import tempfile
from itertools import zip_longest
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from ..support.deployment import deployment
from ..support.server_versions import copy_rows, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.system,
    pytest.mark.xdist_group("server_versions"),
]

# Runs in a process of the site, and prints what a function returned.
SCRIPT = "from tests.support import server_versions as v; v.told(v.{})"
OLD = """
    UPDATE {} SET created_at = created_at - interval '400 days',
        updated_at = updated_at - interval '400 days'
"""
DATED = ("sessions", "runs", "tasks", "chat_messages", "model_call_stats")


def find(site, function: str):
    result = site.run("shell", "--verbosity=0", "-c", SCRIPT.format(function), text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout)


def manage(site, *arguments: str) -> str:
    result = site.run(*arguments, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def ours():
    """
    (database, pages, pages with our indexes, changes) for a demo history in the local server, which
    has the newest version.
    """
    with deployment(f"versions_{os.getpid()}", settings.LOCAL_POSTGRES) as site:
        manage(site, "migrate", "--verbosity=0")
        manage(site, "demo_conversations", "--count=40", "--database=agents_write")
        for table in DATED:
            # Within an hour, "400 days ago" is the same in all responses.
            site.database.execute(OLD.format(table))
        with deployment(f"versions_changed_{os.getpid()}", settings.LOCAL_POSTGRES) as changed:
            manage(changed, "migrate", "--verbosity=0")
            copy_rows(site.database, changed.database)
            changes = find(changed, "changes")
        pages = find(site, "pages")
        manage(site, "agent_indexes", "--apply")
        yield site.database, pages, find(site, "pages"), changes


def differences(pages: dict, others: dict) -> list[str]:
    """The first lines that differ on each page."""
    found = []
    for path, (status, text) in pages.items():
        lines, others_lines = text.splitlines(), others[path][1].splitlines()
        if (status, lines) != (others[path][0], others_lines):
            differing = [pair for pair in zip_longest(lines, others_lines) if pair[0] != pair[1]]
            found.append(f"{path}: {status} {others[path][0]} {differing[:1]}")
    return found


@pytest.fixture
def place():
    """A directory that the server's user can read."""
    path = Path(tempfile.mkdtemp(prefix="desk-versions-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("version", [14, 15, 16, 17, 18])
def test_pages_files_and_changes_are_the_same(ours, place, version, tmp_path):
    rows, our_pages, our_pages_with_indexes, our_changes = ours
    with (
        running(version, place) as postgres,
        deployment("versions", postgres) as site,
        deployment("versions_restored", postgres) as restored,
    ):
        assert site.database.info.server_version // 10_000 == version
        manage(site, "migrate", "--verbosity=0")
        copy_rows(rows, site.database)
        pages = find(site, "pages")
        assert len(pages) > 100
        assert {status for status, _ in our_pages.values()} == {200}
        assert differences(pages, our_pages) == []

        # Uses the programs of the server's version.
        file = tmp_path / "desk.dump"
        manage(site, "backup", str(file))
        users = "SELECT username, date_joined FROM accounts_user ORDER BY id"
        restored.database.execute("DROP SCHEMA agents CASCADE")
        manage(restored, "restore", str(file))
        there = restored.database.execute(users).fetchall()
        assert there == site.database.execute(users).fetchall() != []

        manage(site, "agent_indexes", "--apply")
        assert ": missing" not in manage(site, "agent_indexes")
        assert differences(find(site, "pages"), our_pages_with_indexes) == []
        assert find(site, "changes") == our_changes
        with pytest.raises(psycopg.Error, match="audit"):
            site.database.execute("DELETE FROM audit_entry")
