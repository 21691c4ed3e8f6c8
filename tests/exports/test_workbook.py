"""Exports as workbooks: what their cells hold, and that nothing is left behind."""

import gc
import io
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.http import QueryDict
from django.test import override_settings

from audit.models import Act, Entry
from backoffice import client as backoffice_client
from backoffice import jobs
from backoffice.client import Client
from conversations.exports import stream, workbook
from conversations.exports.files import export_file
from conversations.models import Session
from conversations.selection.filters import ConversationFilter

from ..support.exports import URL, export, read_sheets, read_xlsx, rows, slots_taken
from ..support.factories import (
    Json,
    make_agent,
    make_conversation,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..support.pages import text
from .test_export import COLUMNS, FILES, FORMULAS, HARMLESS, PAYLOADS

pytestmark = pytest.mark.django_db
EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001  # a cell has no zone


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The directory for temporary files, which must be empty in the end."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("desk-")] == []


def moment(number: float) -> datetime:
    return EPOCH + timedelta(milliseconds=round(number * 86_400_000))


def refused(client, file="conversations.xlsx", **parameters):
    response = client.get(URL + file, parameters)
    assert "Content-Disposition" not in response
    return response


# Cells


def test_the_columns_are_those_of_the_other_files(support_client):
    make_conversation()
    for name, columns in COLUMNS.items():
        assert list(rows(support_client, f"{name}.xlsx")[0]) == columns
    found = rows(support_client, "tasks.xlsx", payloads="1")
    assert list(found[0]) == [*COLUMNS["tasks"][:-1], *PAYLOADS, "created_on"]


def test_the_header_uses_the_deployments_name_for_external_ids(support_client, settings):
    settings.EXTERNAL_ID_LABEL = "Customer"
    make_conversation(external_id="ella")
    for name, columns in COLUMNS.items():
        [row, *_] = rows(support_client, f"{name}.xlsx")
        assert list(row) == [{"external_id": "Customer"}.get(each, each) for each in columns]
        assert row["Customer"] == "ella"
        assert "external_id" in rows(support_client, f"{name}.csv")[0]


@pytest.mark.parametrize("number", ["0002", "0003", "0004", "0005", "0006"])
def test_every_revision_has_them(support_client, at_revision, number):
    make_conversation()
    at_revision(number)
    for name, columns in COLUMNS.items():
        assert {tuple(row) for row in rows(support_client, f"{name}.xlsx")} == {tuple(columns)}


def test_the_values_are_those_of_json_lines(support_client):
    session = make_conversation(messages=3, runs=2, tasks=2, external_id="ticket-7")
    make_task(make_run(session, output_data=None), session, errors=Json(["boom"]), seq=-3)
    make_model_call(session, total_tokens=120, response_code=500)
    make_session()
    for name in FILES:
        found = rows(support_client, f"{name}.xlsx")
        expected = rows(support_client, f"{name}.jsonl")
        for row, same in zip(found, expected, strict=True):
            for column, value in same.items():
                cell = row[column]
                if column in ("created_at", "updated_at"):
                    exactly = datetime.fromisoformat(value).replace(tzinfo=None)
                    assert abs(moment(cell) - exactly) < timedelta(milliseconds=2)
                elif column == "created_on":
                    assert moment(cell).date().isoformat() == value
                elif column == "problems":
                    assert cell == " ".join(f"{kind}:{n}" for kind, n in value.items())
                elif isinstance(value, list | dict):
                    assert json.loads(cell) == value
                else:
                    assert cell == value, column


@pytest.mark.parametrize("is_masked", [False, True])
def test_every_text_is_a_text_and_comes_back(support_client, is_masked):
    texts = [
        *(text for text in [*FORMULAS, *HARMLESS] if len(text) < 32_767),
        *("00491701234567", "00042", "12345678901234567890", "1E5", "1/2", "2026-01-02", "TRUE"),
        *("http://a.example", "mailto:a@b.example", "internal:Sheet1!A1", "{=1}", "", " ", "\n"),
        *(
            "_x0041_",
            "_x005F_x0041_",
            "\x0b\x1f",
            "\ufffe\uffff",
            "a\rb",
            "\x85",
            "]]>",
            "<b>&amp;",
        ),
        *(
            "&amp;",
            "<r></r>",
            "<r><t>x</t></r>",
            "</t></is></c></row>",
            "<r>\x01</r>",
            "😀" * 16_383,
        ),
    ]
    for each in texts:
        session = make_session(make_agent(each), external_id=each)
        make_message(session, each, each)
        make_task(make_run(session), session, each, each, prompt=each, errors=Json([each[:9]]))
    named = {
        "conversations": ["agent_name", "external_id", "first_message", "last_message"],
        "messages": ["role", "content", "agent_name", "external_id"],
        "tasks": ["name", "node_type", "prompt", "agent_name", "external_id"],
    }
    for name, columns in named.items():
        more = {"payloads": "1"} if name == "tasks" else {}
        if is_masked:
            found = read_xlsx(made(make_file(name, bool(more))))
        else:
            found = rows(support_client, f"{name}.xlsx", **more)
        for column in columns:
            assert [row[column] for row in found] == texts[::-1]
        if name == "tasks":
            errors = [json.loads(row["errors"]) for row in found]
            assert errors == [[each[:9]] for each in texts[::-1]]


def make_file(name, payloads=False, change=lambda column, text: text):
    filters = ConversationFilter(QueryDict(), queryset=Session.objects.all())
    return export_file(
        name, "xlsx", filters.matching, site="http://x/", payloads=payloads, change=change
    )


def made(file) -> bytes:
    return b"".join(stream.Export(file, None))


def test_masked_texts_are_masked_in_workbooks(support_client):
    session = make_conversation(external_id="e", messages=1, tasks=1)
    make_task(make_run(session), session, "n", errors=Json(["x"]))
    for name in FILES:
        file = make_file(name, change=lambda column, text: '["hidden"]')
        for row in read_xlsx(made(file)):
            assert row["external_id"] == row["agent_name"] == '["hidden"]'


def test_texts_keep_their_form_when_they_are_edited(support_client):
    make_session(external_id="00042")
    sheet = sheets_source(export(support_client, "conversations.xlsx"))
    [style] = re.findall(r'<c r="D2" s="(\d)" t="inlineStr">', sheet)
    formats = part(export(support_client, "conversations.xlsx"), "xl/styles.xml")
    styles = re.findall(r'<xf numFmtId="(\d+)"', formats[formats.index("<cellXfs") :])
    # 49 is the format "@".
    assert styles[int(style)] == "49"


def part(data: bytes, name: str) -> str:
    return zipfile.ZipFile(io.BytesIO(data)).read(name).decode()


def sheets_source(data: bytes) -> str:
    return part(data, "xl/worksheets/sheet1.xml")


def test_a_text_too_long_for_a_cell_is_cut_with_a_note(support_client):
    session = make_session()
    for content in ("x" * 32_768, "😀" * 20_000, "x" * 32_767, "€" * 1_000_000):
        make_message(session, content=content)
    found = [row["content"] for row in rows(support_client, "messages.xlsx")]
    link = f"http://testserver/conversations/{session.id}/"
    for cell, letter, length in zip(
        [found[0], found[1], found[3]], "x😀€", ("32,768", "20,000", "1,000,000"), strict=True
    ):
        units = len(cell.encode("utf-16-le")) // 2
        assert 32_766 <= units <= 32_767
        begun, _, note = cell.partition(" … ")
        assert set(begun) == {letter}
        assert note == f"[The first part of {length} characters. All of it: {link}]"
    assert found[2] == "x" * 32_767


@pytest.mark.parametrize(
    ("seconds", "cell"),
    [
        ("1.250", 1.25),
        ("-3", -3.0),
        ("9007199254740991", 9007199254740991.0),
        ("9007199254740993", "9007199254740993"),
        ("12345678901234567890", "12345678901234567890"),
        ("-12345678901234567890.5", "-12345678901234567890.5"),
        ("1" + "0" * 400, "1" + "0" * 400),
        ("NaN", None),
        (None, None),
    ],
)
def test_a_number_that_would_be_rounded_is_written_as_text(support_client, seconds, cell):
    session = make_session()
    make_task(make_run(session), session, duration_seconds=seconds)
    assert rows(support_client, "tasks.xlsx")[0]["duration_seconds"] == cell


def test_times_are_in_the_viewers_zone_which_is_named(support_client):
    at = datetime(2026, 7, 31, 22, 30, 15, 250_000, tzinfo=UTC)
    make_session(created_at=at, updated_at=at + timedelta(days=150))
    support_client.cookies["timezone"] = "Europe/Tallinn"
    head, row = read_sheets(export(support_client, "conversations.xlsx"))["conversations"]
    cells = dict(zip(head, row, strict=True))
    created = datetime(2026, 8, 1, 1, 30, 15, 250_000)  # noqa: DTZ001
    assert moment(cells["created_at (Europe/Tallinn)"]) == created
    # An hour less, because it is winter.
    updated = created + timedelta(days=150, hours=-1)
    assert moment(cells["updated_at (Europe/Tallinn)"]) == updated
    assert moment(cells["created_on (Europe/Tallinn)"]) == datetime(2026, 8, 1)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("at", "cell", "day"),
    [
        ("infinity", "infinity", "infinity"),
        ("-infinity", "-infinity", "-infinity"),
        ("1899-12-31 22:00+00", "1899-12-31T22:00:00.000000+00:00", "1899-12-31"),
        ("0001-01-01 00:00+00", "0001-01-01T00:00:00.000000+00:00", "0001-01-01"),
        ("20000-01-01 00:00+00", "20000-01-01T00:00:00.000000+00:00", "20000-01-01"),
    ],
)
def test_times_that_spreadsheets_lack_are_written_as_text(support_client, at, cell, day):
    make_session(created_at=at)
    [row] = rows(support_client, "conversations.xlsx")
    assert row["created_at"] == cell
    assert row["created_on"] == day


def test_agents_messages_are_as_people_read_them(support_client):
    session = make_session()
    make_message(session, "assistant", '{"state": "t\\u00fchistatud"}')
    assert rows(support_client, "messages.xlsx")[0]["content"] == '{"state": "tühistatud"}'
    [row] = rows(support_client, "conversations.xlsx")
    assert row["first_message"] == row["last_message"] == '{"state": "tühistatud"}'


# Sheets


def test_more_rows_than_a_sheet_holds_continue_on_another(support_client, monkeypatch):
    monkeypatch.setattr(workbook, "SHEET_ROWS", 4)
    session = make_session()
    for number in range(8):
        make_message(session, content=str(number))
    sheets = read_sheets(export(support_client, "messages.xlsx"))
    assert [*sheets] == ["messages", "messages 2", "messages 3"]
    assert [len(sheet) for sheet in sheets.values()] == [4, 4, 3]
    heads = [sheet[0] for sheet in sheets.values()]
    assert heads[0] == heads[1] == heads[2]
    contents = [row[7] for sheet in sheets.values() for row in sheet[1:]]
    assert contents == [str(number) for number in range(8)]


def test_the_first_line_stays_and_filters(support_client):
    make_session()
    sheet = sheets_source(export(support_client, "conversations.xlsx"))
    assert '<pane ySplit="1"' in sheet
    assert 'state="frozen"' in sheet
    assert re.search(r'<autoFilter ref="A1:[A-Z]+2"/>', sheet)


def test_a_workbook_without_rows_has_its_first_line(support_client):
    make_conversation()
    [sheet] = read_sheets(export(support_client, "tasks.xlsx", search="nowhere")).values()
    assert len(sheet) == 1


# Answers


def test_the_response_has_its_type_name_and_length(support_client):
    make_conversation()
    response = support_client.get(f"{URL}messages.xlsx")
    body = b"".join(response.streaming_content)
    assert response["Content-Length"] == str(len(body))
    assert re.fullmatch(
        r'attachment; filename="messages-\d{4}-\d\d-\d\d\.xlsx"', response["Content-Disposition"]
    )
    last = Entry.objects.filter(act=Act.EXPORTED).latest("pk").details
    assert (last["rows"], last["complete"]) == (2, True)
    first = Entry.objects.get(pk=last["export"]).details
    assert first["file"] == "messages.xlsx"


@pytest.mark.parametrize("is_counted", [True, False])
def test_too_many_rows_are_a_page_that_offers_csv(support_client, monkeypatch, is_counted):
    session = make_conversation(messages=4)
    if not is_counted:
        monkeypatch.setattr(stream.Export, "counted", lambda self, connection: None)
    with override_settings(XLSX_MAX_ROWS=3):
        response = refused(support_client, "messages.xlsx", external_id="")
        assert response.status_code == 400
        assert "XLSX files are limited to 3 rows here" in text(response)
        assert f'href="{URL}messages.csv?external_id="' in response.content.decode()
        assert len(rows(support_client, "conversations.xlsx")) == 1
    with override_settings(XLSX_MAX_ROWS=4):
        found = rows(support_client, "messages.xlsx")
    assert {row["session_id"] for row in found} == {str(session.id)}
    assert len(found) == 4


def test_a_count_that_takes_too_long_is_skipped(monkeypatch):
    make_conversation(messages=4)
    monkeypatch.setattr(stream, "COUNT_SECONDS", 0.1)
    file = replace(make_file("messages"), count="SELECT count(*) FROM pg_sleep(3)")
    export = stream.Export(file, None)
    assert len(read_xlsx(b"".join(export))) == 4
    assert export.total is None


def test_workbooks_count_towards_the_limit_at_once(support_client):
    with slots_taken(1, 2):
        assert refused(support_client).status_code == 429


def test_a_full_disk_is_a_page(support_client, monkeypatch):
    make_conversation()

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workbook.Workbook, "finish", fail)
    response = refused(support_client)
    assert response.status_code == 503
    assert "No space left for this file" in text(response)
    assert Entry.objects.filter(act=Act.EXPORTED).latest("pk").details["complete"] is False


def test_a_database_that_fails_leaves_nothing(support_client, monkeypatch):
    make_conversation()
    support_client.raise_request_exception = False

    def fail(*args):
        raise OperationalError("gone")

    monkeypatch.setattr(workbook.Workbook, "finish", fail)
    assert refused(support_client).status_code == 503


def test_a_workbook_is_abandoned_when_its_client_leaves(support_client, monkeypatch, folder):
    make_conversation()
    seen = []

    def is_there(self):
        seen.append([each.name for each in folder.glob("desk-*")])
        return len(seen) < 3

    monkeypatch.setattr(Client, "is_there", is_there)
    monkeypatch.setattr(stream, "BLOCK", 1)
    make_conversation()
    make_conversation()
    response = support_client.get(f"{URL}tasks.xlsx")
    assert response.status_code == 499
    # The folder existed meanwhile.
    assert len(seen[-1]) == 1
    assert Entry.objects.filter(act=Act.EXPORTED).latest("pk").details["complete"] is False


def test_a_download_that_is_stopped_leaves_nothing(support_client, folder):
    make_conversation()
    response = support_client.get(f"{URL}tasks.xlsx")
    next(iter(response.streaming_content))
    assert list(folder.glob("desk-*"))
    response._iterator.close()
    assert not list(folder.glob("desk-*"))


def test_a_workbook_that_nobody_reads_leaves_nothing(support_client, folder):
    make_conversation()
    response = support_client.get(f"{URL}tasks.xlsx")
    for close in response._resource_closers[:1]:
        close()
    assert not list(folder.glob("desk-*"))


# Progress


def progress(client, file, **parameters) -> tuple[list[dict], bytes]:
    response = client.get(URL + file, parameters, headers={"X-Progress": "1"})
    assert response.status_code == 200
    lines, _, book = b"".join(response.streaming_content).partition(b"\n\n")
    return [json.loads(line) for line in lines.splitlines()], book


def test_progress_is_reported(support_client, monkeypatch):
    make_conversation(messages=5)
    monkeypatch.setattr(stream, "BLOCK", 1)
    monkeypatch.setattr("conversations.exports.views.PROGRESS_SECONDS", 0)
    lines, book = progress(support_client, "messages.xlsx")
    assert lines.pop() == {"size": len(book)}
    assert [line["total"] for line in lines] == [5] * len(lines)
    numbers = [line["rows"] for line in lines]
    assert numbers == sorted(numbers)
    assert {2, 3, 4, 5} <= set(numbers)
    assert len(read_xlsx(book)) == 5


def test_too_many_rows_are_reported_as_a_problem(support_client, monkeypatch):
    make_conversation(messages=5)
    monkeypatch.setattr(stream.Export, "counted", lambda self, connection: None)
    monkeypatch.setattr(stream, "BLOCK", 1)
    with override_settings(XLSX_MAX_ROWS=3):
        lines, book = progress(support_client, "messages.xlsx")
    assert "XLSX files are limited to 3 rows here" in lines[-1]["problem"]
    assert book == b""


# Killed processes

HOLD = """
import time
from conversations.exports.workbook import temporary_folder
with temporary_folder() as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


def test_files_of_a_killed_process_are_removed_by_the_next_workbook(support_client, folder):
    make_session()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    ) as process:
        left = Path(process.stdout.readline().strip())
        assert left.parent == folder
        rows(support_client, "conversations.xlsx")
        assert left.exists()
        process.send_signal(signal.SIGKILL)
    assert left.exists()
    rows(support_client, "conversations.xlsx")
    assert not left.exists()


def test_files_of_a_killed_process_are_removed_when_a_process_starts(settings, folder, monkeypatch):
    monkeypatch.setattr(backoffice_client, "processes", 1)
    left = folder / f"{workbook.FOLDER}killed"
    left.mkdir()
    (left / workbook.LOCK).touch()
    start = runpy.run_path(str(settings.BASE_DIR / "gunicorn.conf.py"))["post_worker_init"]
    try:
        start(SimpleNamespace(cfg=SimpleNamespace(workers=3)))
    finally:
        jobs.end()
        gc.unfreeze()
    assert not left.exists()
    assert backoffice_client.processes == 3


def test_folders_of_others_are_left_alone(folder):
    strange = folder / "other-workbook"
    strange.mkdir()
    (strange / "lock").touch()
    workbook.remove_abandoned()
    assert strange.exists()


# The command


def test_the_command_makes_workbooks(tmp_path):
    make_conversation(messages=3)
    path = tmp_path / "file.xlsx"
    call_command("export_conversations", file="messages", format="xlsx", output=str(path))
    assert len(read_xlsx(path.read_bytes())) == 3
    with override_settings(XLSX_MAX_ROWS=2), pytest.raises(CommandError, match="limited to 2 rows"):
        call_command("export_conversations", file="messages", format="xlsx", output=str(path))
    assert [each.name for each in tmp_path.iterdir()] == ["file.xlsx"]
