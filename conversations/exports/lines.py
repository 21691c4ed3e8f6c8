"""How a row becomes a line of a file: CSV without formulas, or JSON."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

# Spreadsheets recognise UTF-8 by it.
BOM = "\ufeff"
# What a spreadsheet takes for the start of a formula, or drops in front of one.
FORMULA_STARTS = "=+@\t\r\n＝＋－＠-"
# Such a cell gets an apostrophe in front, even if it begins with some: removing one from each cell
# that matches gives every text back.
FORMULA = b"\"?'*(?:" + b"|".join(re.escape(each.encode()) for each in FORMULA_STARTS) + b")"
STARTS_FORMULA = re.compile(FORMULA)
# With a first letter that is always the same, a search takes a seventh of the time.
MAY_HOLD_FORMULA = re.compile(b"," + FORMULA)
CELL = re.compile(rb'"(?:[^"]++|"")*+"|[^",]*+')
# Letters that JSON allows in its strings and some readers of lines take for ends of a line.
LINE_ENDS = {each.encode(): b"\\u%04x" % ord(each) for each in "\u0085\u2028\u2029"}
MAY_END_LINE = re.compile(b"|".join(LINE_ENDS))


class Kind(StrEnum):
    # Our own, and never a formula: ids, times and words; and what JSON writes without quotes.
    OURS = "ours"
    PLAIN = "plain"
    # Untrusted.
    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind
    sql: str


# Changes an untrusted text on its way into a file.
Change = Callable[[Column, str], str]


@dataclass(frozen=True)
class CsvLines:
    """COPY's rows as records of RFC 4180 without formulas."""

    columns: list[Column]

    def __call__(self, row: memoryview) -> bytes:
        """
        A record ends with CR and LF, COPY's row with LF alone. The protocol promises one message
        per row, so only the last byte ends the record.
        """
        if row[-1] != ord("\n"):
            raise ValueError("COPY gave a part of a row.")
        return self.without_formulas(bytes(row[:-1])) + b"\r\n"

    def without_formulas(self, record: bytes) -> bytes:
        # Few records may hold a formula; the cells of the others are not looked at.
        if not MAY_HOLD_FORMULA.search(b"," + record):
            return record
        cells, place = [], 0
        for column in self.columns:
            found = CELL.match(record, place)
            cell = found[0] if found else b""
            place += len(cell) + 1
            if column.kind in (Kind.TEXT, Kind.JSON) and STARTS_FORMULA.match(cell):
                cell = b"\"'" + cell[1:] if cell.startswith(b'"') else b"'" + cell
            cells.append(cell)
        return b",".join(cells)


def json_line(row: memoryview | bytes) -> bytes:
    """A row that is JSON, as one line to every reader: nothing outside its strings changes."""
    return MAY_END_LINE.sub(lambda found: LINE_ENDS[found[0]], bytes(row))


class Rewriting:
    """Lines of rows that come as JSON arrays of texts; changes the untrusted ones."""

    def __init__(self, columns: list[Column], form: str, change: Change):
        self.columns, self.change = columns, change
        self.join = self.as_csv if form == "csv" else self.as_json

    def __call__(self, row: memoryview) -> bytes:
        values = [
            self.change(column, value)
            if value is not None and column.kind in (Kind.TEXT, Kind.JSON)
            else value
            for column, value in zip(self.columns, json.loads(bytes(row)), strict=True)
        ]
        return self.join(values)

    def as_csv(self, values: list[str | None]) -> bytes:
        record = ",".join(map(self.cell, values)).encode()
        return CsvLines(self.columns).without_formulas(record) + b"\r\n"

    @staticmethod
    def cell(value: str | None) -> str:
        """As COPY writes it: an empty text as quotes, NULL as nothing."""
        if value is None:
            return ""
        if value and not re.search(r'[",\r\n]', value):
            return value
        return '"' + value.replace('"', '""') + '"'

    def as_json(self, values: list[str | None]) -> bytes:
        members = map(self.member, self.columns, values)
        return json_line(("{" + ",".join(members) + "}\n").encode())

    @staticmethod
    def member(column: Column, value: str | None) -> str:
        if value is None:
            source = "null"
        elif column.kind in (Kind.OURS, Kind.TEXT):
            source = json.dumps(value, ensure_ascii=False)
        else:
            source = value
        return f'"{column.name}":{source}'
