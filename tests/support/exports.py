"""Exported files, as tests ask for them and read them."""

import csv
import io
import json
import re
from contextlib import contextmanager

from django.db import connections

from backoffice.databases.work_slots import WorkSlot
from conversations.exports.files import File
from conversations.exports.lines import Column, CsvLines, Kind

URL = "/conversations/export/"
BOM = "\ufeff".encode()
# A record of RFC 4180, to its CR and LF.
FIELD = rb'(?:"(?:[^"]++|"")*+"|[^",\r\n]*+)'
RECORD = re.compile(FIELD + rb"(?:," + FIELD + rb")*+\r\n")
# A file whose one row takes two seconds.
LINE = CsvLines([Column("a", Kind.TEXT, "a")])
SLEEP = File("COPY (SELECT 'done' FROM pg_sleep(%s)) TO STDOUT (FORMAT csv)", (2,), b"a\r\n", LINE)
FORMULA = re.compile("[=+@\t\r\n＝＋－＠-]")


def export(client, file="conversations.csv", **parameters) -> bytes:
    response = client.get(URL + file, parameters)
    assert response.status_code == 200, response.content
    return b"".join(response.streaming_content)


def read_csv(data: bytes) -> list[dict[str, str]]:
    """The rows of a file that is RFC 4180 to the letter."""
    assert data.startswith(BOM)
    body = data.removeprefix(BOM)
    place = 0
    while place < len(body):
        record = RECORD.match(body, place)
        assert record, body[place : place + 200]
        place = record.end()
    head, *rows = csv.reader(io.StringIO(body.decode(), newline=""), strict=True)
    return [dict(zip(head, row, strict=True)) for row in rows]


def read_jsonl(data: bytes) -> list[dict]:
    assert data == b"" or data.endswith(b"\n")
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def original(cell: str) -> str:
    """The text that a cell was made of, by the rule in docs/export.md."""
    return cell[1:] if re.match(f"'+{FORMULA.pattern}", cell) else cell


def rows(client, file="conversations.csv", **parameters) -> list[dict]:
    read = read_csv if file.endswith(".csv") else read_jsonl
    return read(export(client, file, **parameters))


def ids(client, file="conversations.csv", **parameters) -> list[str]:
    name = "session_id" if file.startswith("conversations") else "id"
    return [row[name] for row in rows(client, file, **parameters)]


@contextmanager
def slots_taken(*places, work=WorkSlot.EXPORT):
    """As if others were doing such work there."""
    others = connections.create_connection("agents_write")
    try:
        with others.cursor() as cursor:
            for place in places:
                cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [work.value, place])
                assert cursor.fetchone() == (True,)
        yield
    finally:
        others.close()
