"""Turns rows into lines of a file: CSV without formulas, or JSON."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from ..display.parts import HINTS
from ..display.readable import AGENT, readable

# By this, spreadsheets recognise UTF-8.
BOM = "\ufeff"
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}
# Characters that a spreadsheet takes for the start of a formula, or drops before one.
FORMULA_STARTS = "=+@\t\r\n＝＋－＠-"
# Never occurs in JSON, which has no raw control characters.
JSON_DELIMITER = "\x01"
# Characters that JSON allows in strings, but that some programs take for the end of a line.
LINE_ENDS = {each.encode(): b"\\u%04x" % ord(each) for each in "\u0085\u2028\u2029"}
MAY_END_LINE = re.compile(b"|".join(LINE_ENDS))


def any_of(letters: str) -> bytes:
    return b"(?:" + b"|".join(re.escape(each.encode()) for each in letters) + b")"


# Such a cell gets an apostrophe in front, even if it already begins with one: whoever removes one
# apostrophe from each cell that matches gets every text back.
STARTS_FORMULA = re.compile(b"\"?'*" + any_of(FORMULA_STARTS))


class Kind(StrEnum):
    # From us, and never a formula: ids and words, times in ISO 8601, dates, and whatever JSON
    # writes without quotes.
    OURS = "ours"
    TIME = "time"
    DATE = "date"
    PLAIN = "plain"
    # Untrusted text.
    TEXT = "text"
    JSON = "json"


UNTRUSTED = (Kind.TEXT, Kind.JSON)


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind
    # Empty in tables that no statement reads.
    sql: str = ""
    # Whether it is a message. Files for people show messages in readable form.
    is_said: bool = False
    # Computes the value from the result of `sql`. Such columns come last in a file.
    compute: Callable[[str], str | None] | None = None

    def value(self, given: str | None) -> str | None:
        return self.compute(given) if self.compute and given is not None else given


# Changes an untrusted text before it is written to a file.
Change = Callable[[Column, str], str]


# A message reads differently if it is JSON with escaped letters in a string, or with several parts.
# Few CSV records contain quotes and one of these.
QUOTES = b'""'
READ_OTHERWISE = (b"\\u", *(each.replace('"', '""').encode() for each in HINTS))


def as_read(columns: list[Column], values: list[str | None]) -> list[str | None]:
    """The values with messages in readable form; without a role column, only agents' messages."""
    named = dict(zip((column.name for column in columns), values, strict=True))
    role = named.get("role", AGENT) or ""
    return [
        readable(value, role) if column.is_said and value else value
        for column, value in zip(columns, values, strict=True)
    ]


class CsvLines:
    """
    Turns COPY's rows into records of RFC 4180 without formulas.

    COPY puts the inputs of computed columns before all other columns.
    """

    def __init__(self, columns: list[Column], separator: str = ","):
        self.computed = [column for column in columns if column.compute]
        self.stored = [column for column in columns if not column.compute]
        self.has_said = any(column.is_said for column in columns)
        self.separator = separator
        self.between = separator.encode()
        letters = re.escape(self.between)
        # A cell that begins with the separator has quotes.
        bare = FORMULA_STARTS.replace(separator, "")
        # If the pattern begins with a fixed character, a search takes a seventh of the time.
        self.may_hold_formula = re.compile(
            letters + b"(?:\"'*" + any_of(FORMULA_STARTS) + b"|'*" + any_of(bare) + b")"
        )
        self.a_cell = re.compile(rb'"(?:[^"]++|"")*+"|[^"' + letters + b"]*+")
        self.needs_quotes = re.compile(f'["\r\n{re.escape(separator)}]')

    def __call__(self, row: memoryview) -> bytes:
        """
        A record ends with CR and LF, COPY's row with only LF. The protocol guarantees one message
        per row, so only the last byte ends the record.
        """
        if row[-1] != ord("\n"):
            raise ValueError("COPY returned only part of a row.")
        record = bytes(row[:-1])
        ends = b""
        for column in self.computed:
            cell = self.first_cell(record)
            record = record[len(cell) + 1 :]
            ends += self.between + self.cell(column.value(text(cell))).encode()
        # Only records that contain one of these are split into cells.
        may_differ = self.has_said and QUOTES in record
        if may_differ and any(each in record for each in READ_OTHERWISE):
            texts = [text(cell) for cell in self.cells(record)]
            record = self.joined(as_read(self.stored, texts))
        return self.without_formulas(record) + ends + b"\r\n"

    def record(self, values: list[str | None]) -> bytes:
        """A record of the stored columns' values and the computed columns' values."""
        stored, computed = values[: len(self.stored)], values[len(self.stored) :]
        record = self.without_formulas(self.joined(as_read(self.stored, stored)))
        return b"".join([record, *(self.between + self.cell(each).encode() for each in computed)])

    def joined(self, values: list[str | None]) -> bytes:
        return self.separator.join(map(self.cell, values)).encode()

    def cell(self, value: str | None) -> str:
        """A cell as COPY writes it: empty text as quotes, NULL as nothing."""
        if value is None:
            return ""
        if value and not self.needs_quotes.search(value):
            return value
        return '"' + value.replace('"', '""') + '"'

    def first_cell(self, record: bytes, place: int = 0) -> bytes:
        found = self.a_cell.match(record, place)
        return found[0] if found else b""

    def cells(self, record: bytes) -> list[bytes]:
        cells, place = [], 0
        for _ in self.stored:
            cell = self.first_cell(record, place)
            place += len(cell) + 1
            cells.append(cell)
        return cells

    def without_formulas(self, record: bytes) -> bytes:
        # Few records may contain a formula; only these are split into cells.
        if not self.may_hold_formula.search(self.between + record):
            return record
        cells = []
        for column, cell in zip(self.stored, self.cells(record), strict=True):
            if column.kind in UNTRUSTED and STARTS_FORMULA.match(cell):
                cell = b"\"'" + cell[1:] if cell.startswith(b'"') else b"'" + cell
            cells.append(cell)
        return self.between.join(cells)


def text(cell: bytes) -> str | None:
    """The value of a cell that COPY wrote."""
    value = cell.decode()
    return value[1:-1].replace('""', '"') if value.startswith('"') else value or None


class JsonLines:
    """
    Turns COPY's rows, which are JSON objects, into lines.

    COPY puts the inputs of computed columns before the object.
    """

    def __init__(self, columns: list[Column]):
        self.computed = [column for column in columns if column.compute]

    def __call__(self, row: memoryview) -> bytes:
        *given, line = bytes(row).split(JSON_DELIMITER.encode(), len(self.computed))
        values = (each.decode() or None for each in given)
        members = (
            "," + member(column, column.value(value))
            for column, value in zip(self.computed, values, strict=True)
        )
        return json_line(line.removesuffix(b"}\n") + "".join(members).encode() + b"}\n")


def json_line(line: bytes) -> bytes:
    """Make JSON a single line for every program: nothing outside its strings changes."""
    return MAY_END_LINE.sub(lambda found: LINE_ENDS[found[0]], line)


def member(column: Column, value: str | None) -> str:
    if value is None:
        source = "null"
    elif column.kind in (Kind.PLAIN, Kind.JSON):
        source = value
    else:
        source = json.dumps(value, ensure_ascii=False)
    return f'"{column.name}":{source}'


@dataclass(frozen=True)
class Values:
    """The values of rows that are JSON arrays of texts, with untrusted values changed."""

    columns: list[Column]
    change: Change | None

    def __call__(self, row: memoryview) -> list[str | None]:
        return [
            self.change(column, value)
            if self.change and value is not None and column.kind in UNTRUSTED
            else column.value(value)
            for column, value in zip(self.columns, json.loads(bytes(row)), strict=True)
        ]


class Rewriting:
    """Turns rows that are JSON arrays of texts into lines, changing untrusted values."""

    def __init__(self, columns: list[Column], form: str, change: Change, separator: str = ","):
        self.columns = columns
        self.values = Values(columns, change)
        self.csv = CsvLines(columns, separator) if form == "csv" else None

    def __call__(self, row: memoryview) -> bytes:
        values = self.values(row)
        if self.csv:
            return self.csv.record(values) + b"\r\n"
        members = map(member, self.columns, values)
        return json_line(("{" + ",".join(members) + "}\n").encode())
