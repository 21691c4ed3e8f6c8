"""
The SQL that distributes an agent database, and the statements that are only sent to one: on plain
tables they find the same as the usual ones. tests/citus/ runs both where there is a Citus cluster.
"""

from io import StringIO
from itertools import product

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from conversations.agentdb import revision
from conversations.exports.files import FILES, FORMS

from ..support.exports import URL
from ..support.factories import make_agent, make_conversation
from ..support.histories import build_indexes
from ..support.limited import plain
from ..support.pages import body
from ..support.tables import everything
from ..support.walks import changes, make_side


def printed(*arguments) -> str:
    out = StringIO()
    call_command("distribute", "--print", *arguments, stdout=out)
    return out.getvalue()


def test_schema_and_shards_are_as_asked_and_quoted():
    found = printed("--schema", 'agents"; DROP', "--shards=48")
    assert 'SET LOCAL search_path TO "agents""; DROP";' in found
    assert "shard_count => 48);" in found
    assert "{" not in found


def test_the_schema_is_the_sites(settings):
    settings.AGENT_SCHEMA = "kavalai"
    assert 'SET LOCAL search_path TO "kavalai";' in printed()


@pytest.mark.parametrize("arguments", [["--shards=0"], ["--schema=a\0b"]])
def test_bad_options_are_refused(arguments):
    with pytest.raises(CommandError):
        printed(*arguments)


def test_it_must_be_asked_to_print():
    with pytest.raises(CommandError, match="--print"):
        call_command("distribute")


@pytest.fixture
def side(db, monkeypatch):
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now)
    for _ in range(2):
        make_conversation(agent=make_agent("Twin"))
    return make_side()


def answers(client, paths) -> dict[str, str]:
    return {path: plain(body(client.get(path))) for path in paths}


@pytest.mark.django_db
def test_pages_and_files_are_the_same(admin_client, side, monkeypatch):
    paths = ["/monitor/", "/conversations/", f"/conversations/{side.session.id}/"]
    paths += [f"{URL}{name}.{form}" for name, form in product(FILES, FORMS)]
    paths += [f"/model-calls/export/model-calls.{form}" for form in FORMS]
    expected = answers(admin_client, paths)
    monkeypatch.setattr(revision, "is_distributed", lambda: True)
    found = answers(admin_client, paths)
    assert [path for path in paths if found[path] != expected[path]] == []
    assert expected["/conversations/"].count("Twin (") >= 2
    assert min(map(len, expected.values())) > 1_000


@pytest.mark.django_db
def test_with_our_indexes_the_page_errors_is_the_same(admin_client, side, monkeypatch):
    build_indexes()
    page = "/conversations/errors/"
    paths = [page, f"{page}?agent={side.agent}", f"{page}?period=30d&sort=rising"]
    expected = answers(admin_client, paths)
    monkeypatch.setattr(revision, "is_distributed", lambda: True)
    assert answers(admin_client, paths) == expected
    assert 'class="row failure"' in expected[page]


@pytest.mark.django_db
def test_changes_leave_the_same_rows(admin_client, side, monkeypatch):
    def made():
        # Savepoints of our own: an edit may not be inside another atomic block.
        before = {alias: transaction.savepoint(alias) for alias in ("default", "agents_write")}
        found = {what: plain(body(do())) for what, do in changes(admin_client, side)}
        found["rows"] = everything()
        for alias, savepoint in before.items():
            transaction.savepoint_rollback(savepoint, alias)
        return found

    expected = made()
    monkeypatch.setattr(revision, "is_distributed", lambda: True)
    assert made() == expected
