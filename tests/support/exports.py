"""Downloads exported files and reads them."""

import csv
import functools
import io
import json
import re
import zipfile
from contextlib import contextmanager
from xml.etree import ElementTree

from django.db import connections

from backoffice.databases.work_slots import WorkSlot
from conversations.exports.files import File
from conversations.exports.lines import Column, CsvLines, Kind

URL = "/conversations/export/"
BOM = "\ufeff".encode()
# A record of RFC 4180, including its CR and LF.
FIELD = rb'(?:"(?:[^"]++|"")*+"|[^",\r\n]*+)'
RECORD = re.compile(FIELD + rb"(?:," + FIELD + rb")*+\r\n")
# A file with one row, which takes two seconds.
LINE = CsvLines([Column("a", Kind.TEXT, "a")])
SLEEP = File("COPY (SELECT 'done' FROM pg_sleep(%s)) TO STDOUT (FORMAT csv)", (2,), b"a\r\n", LINE)
FORMULA = re.compile("[=+@\t\r\n＝＋－＠-]")


def export(client, file="conversations.csv", **parameters) -> bytes:
    response = client.get(URL + file, parameters)
    assert response.status_code == 200, response.content
    return b"".join(response.streaming_content)


def read_csv(data: bytes) -> list[dict[str, str]]:
    """The rows of a CSV file. Checks that it follows RFC 4180 to the letter."""
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


XML = {"": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}


def unescaped(text: str) -> str:
    """The text that a spreadsheet reads from XML."""
    return re.sub("_x([0-9A-Fa-f]{4})_", lambda found: chr(int(found[1], 16)), text)


def read_sheets(data: bytes) -> dict[str, list[list]]:
    """{sheet: rows of cells} of a workbook. A cell is a text, a float or None."""
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        assert book.testzip() is None
        for name in book.namelist():
            ElementTree.fromstring(book.read(name))
        assert not [name for name in book.namelist() if "externalLink" in name]
        sheets = ElementTree.fromstring(book.read("xl/workbook.xml")).iterfind("sheets/sheet", XML)
        return {
            sheet.get("name"): read_sheet(book.read(f"xl/worksheets/sheet{number}.xml"))
            for number, sheet in enumerate(sheets, 1)
        }


def read_sheet(source: bytes) -> list[list]:
    sheet = ElementTree.fromstring(source)
    assert sheet.find(".//f", XML) is None
    assert sheet.find(".//hyperlink", XML) is None
    width = len(sheet.find("sheetData/row", XML))
    found = []
    for row in sheet.iterfind("sheetData/row", XML):
        cells = [None] * width
        for cell in row.iterfind("c", XML):
            letters = re.match("[A-Z]+", cell.get("r"))[0]
            place = functools.reduce(lambda sum, letter: sum * 26 + ord(letter) - 64, letters, 0)
            if cell.get("t") == "inlineStr":
                [child] = cell
                [text] = child
                cells[place - 1] = unescaped(text.text or "")
            elif (number := cell.find("v", XML)) is not None:
                cells[place - 1] = float(number.text)
        found.append(cells)
    return found


def read_xlsx(data: bytes) -> list[dict]:
    """The rows of all sheets as dicts, by column name without the time zone."""
    rows = []
    for head, *cells in read_sheets(data).values():
        names = [name.partition(" (")[0] for name in head]
        rows += [dict(zip(names, row, strict=True)) for row in cells]
    return rows


def original(cell: str) -> str:
    """The original text of a CSV cell, restored by the rule in docs/export.md."""
    return cell[1:] if re.match(f"'+{FORMULA.pattern}", cell) else cell


def rows(client, file="conversations.csv", **parameters) -> list[dict]:
    read = {"csv": read_csv, "jsonl": read_jsonl, "xlsx": read_xlsx}[file.rpartition(".")[2]]
    return read(export(client, file, **parameters))


def ids(client, file="conversations.csv", **parameters) -> list[str]:
    name = "session_id" if file.startswith("conversations") else "id"
    return [row[name] for row in rows(client, file, **parameters)]


@contextmanager
def slots_taken(*places, work=WorkSlot.EXPORT):
    """Take work slots, as if other requests were using them."""
    others = connections.create_connection("agents_write")
    try:
        with others.cursor() as cursor:
            for place in places:
                cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [work.value, place])
                assert cursor.fetchone() == (True,)
        yield
    finally:
        others.close()
