"""manage.py export_conversations: the list's files on a schedule."""

import os
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from audit.models import Act, Entry
from conversations.management.commands import export_conversations

from ..support.exports import (
    SLEEP,
    export,
    read_csv,
    read_jsonl,
    read_xlsx,
    rows,
    slots_taken,
)
from ..support.factories import make_agent, make_conversation, make_session
from ..support.trail import read

pytestmark = pytest.mark.django_db


def run(**options):
    call_command("export_conversations", **options)


@pytest.mark.parametrize("name", ["conversations", "messages", "tasks"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_the_files_are_the_lists_own(support_client, tmp_path, name, form):
    for _ in range(3):
        make_conversation()
    path = tmp_path / "file"
    with override_settings(PORT=8123):
        run(file=name, format=form, output=str(path))
    links = (b"http://testserver/", b"http://127.0.0.1:8123/")
    assert path.read_bytes() == export(support_client, f"{name}.{form}").replace(*links)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_it_writes_to_standard_output(capfdbinary):
    make_conversation(messages=2)
    run(file="messages")
    out, err = capfdbinary.readouterr()
    assert len(read_csv(out)) == 2
    assert b"Wrote 2 rows." in err


def test_it_takes_the_lists_filters(tmp_path):
    shop = make_agent("Shop")
    for external_id in ("a-1", "a-2", "b-1"):
        make_session(shop, external_id=external_id)
    make_session(external_id="a-3")
    path = tmp_path / "file"
    run(output=str(path), agent=str(shop.id), external_id="a-")
    assert {row["external_id"] for row in read_csv(path.read_bytes())} == {"a-1", "a-2"}


def test_payloads_and_the_site_can_be_set(tmp_path):
    session = make_conversation(tasks=1)
    path = tmp_path / "file"
    run(file="tasks", payloads=True, output=str(path))
    assert "prompt" in read_csv(path.read_bytes())[0]
    run(format="jsonl", site="https://desk.example.com/", output=str(path))
    [row] = read_jsonl(path.read_bytes())
    assert row["link"] == f"https://desk.example.com/conversations/{session.id}/"
    with override_settings(LOCAL=False, ALLOWED_HOSTS=["example.com", "desk.example.com"]):
        run(format="jsonl", output=str(path))
    [row] = read_jsonl(path.read_bytes())
    assert row["link"] == f"https://example.com/conversations/{session.id}/"


def test_csv_has_the_separator_that_is_asked_for(tmp_path):
    make_session()
    path = tmp_path / "file"
    run(separator="semicolon", output=str(path))
    assert path.read_text("utf-8-sig").startswith("session_id;agent_id;")


@pytest.mark.parametrize("dates", [{}, {"start_date": "2026-06-01"}])
@pytest.mark.parametrize("tz", ["Asia/Tokyo", "America/Havana", ""])
def test_times_are_in_the_zone_that_is_named(support_client, tmp_path, dates, tz):
    make_session(created_at=datetime(2026, 6, 1, 20, tzinfo=UTC))
    path = tmp_path / "file"
    run(format="xlsx", output=str(path), tz=tz, **dates)
    [row] = read_xlsx(path.read_bytes())
    # Day 0 of spreadsheets.
    shown = datetime(1899, 12, 30, tzinfo=UTC) + timedelta(days=row["created_at"])
    local = datetime(2026, 6, 1, 20, tzinfo=UTC).astimezone(ZoneInfo(tz or "UTC"))
    assert abs(shown - local.replace(tzinfo=UTC)) < timedelta(seconds=1)
    run(output=str(path), tz=tz, **dates)
    [row] = read_csv(path.read_bytes())
    assert row["created_on"] == str(local.date())
    # The site's own file is the same.
    if dates:
        [theirs] = rows(support_client, tz=tz, **dates)
        assert theirs["created_on"] == row["created_on"]


def test_it_is_recorded(tmp_path):
    make_session()
    run(output=str(tmp_path / "file"), search="hello")
    first, last = Entry.objects.filter(act=Act.EXPORTED).order_by("pk")
    assert (first.username, first.user_id, first.address) == ("system", None, None)
    assert read(first.details) == {
        "file": "conversations.csv",
        "query": "search=hello",
        "payloads": False,
    }
    assert last.details == {"export": first.pk, "rows": 0, "complete": True}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start_date": "someday"}, "Enter a date like"),
        ({"agent": "nobody"}, "Agent: "),
        ({"payloads": True}, "Only tasks have payloads"),
        ({"format": "jsonl", "separator": "tab"}, "Only CSV has a separator"),
        ({"output": "/nowhere/file"}, "/nowhere/file could not be written: No such file"),
    ],
)
def test_an_error_is_a_single_line(options, words):
    with pytest.raises(CommandError, match=words):
        run(**options)


def test_a_failed_export_keeps_the_previous_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("the one before")
    monkeypatch.setattr(export_conversations, "export_file", lambda *args, **kwargs: SLEEP)
    with (
        override_settings(EXPORT_TIMEOUT_SECONDS=1.5),
        pytest.raises(CommandError, match="The database did not deliver all rows: canceling"),
    ):
        run(output=str(path))
    assert path.read_text() == "the one before"
    assert os.listdir(tmp_path) == ["file"]
    assert Entry.objects.latest("pk").details["complete"] is False


def test_the_command_counts_towards_the_limit_at_once(tmp_path):
    with (
        slots_taken(1, 2),
        pytest.raises(CommandError, match="The limit of exports at once"),
    ):
        run(output=str(tmp_path / "file"))
    assert os.listdir(tmp_path) == []
