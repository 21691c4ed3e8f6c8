"""How a row becomes a line of a file: CSV without formulas, or JSON."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from ..display.parts import HINTS
from ..display.readable import AGENT, readable

# Spreadsheets recognise UTF-8 by it.
BOM = "\ufeff"
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}
# What a spreadsheet takes for the start of a formula, or drops in front of one.
FORMULA_STARTS = "=+@\t\r\n＝＋－＠-"
# JSON has no raw control characters.
JSON_DELIMITER = "\x01"
# Letters that JSON allows in its strings and some readers of lines take for ends of a line.
LINE_ENDS = {each.encode(): b"\\u%04x" % ord(each) for each in "\u0085\u2028\u2029"}
MAY_END_LINE = re.compile(b"|".join(LINE_ENDS))


def any_of(letters: str) -> bytes:
    return b"(?:" + b"|".join(re.escape(each.encode()) for each in letters) + b")"


# Such a cell gets an apostrophe in front, even if it begins with some: removing one from each cell
# that matches gives every text back.
STARTS_FORMULA = re.compile(b"\"?'*" + any_of(FORMULA_STARTS))


class Kind(StrEnum):
    # Our own, and never a formula: ids and words, times in ISO 8601, dates; and what JSON writes
    # without quotes.
    OURS = "ours"
    TIME = "time"
    DATE = "date"
    PLAIN = "plain"
    # Untrusted.
    TEXT = "text"
    JSON = "json"


UNTRUSTED = (Kind.TEXT, Kind.JSON)


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind
    sql: str
    # What somebody said: files for people have it as they read it.
    is_said: bool = False
    # Computes the value from what `sql` gives. Such columns are the last ones of a file.
    compute: Callable[[str], str | None] | None = None

    def value(self, given: str | None) -> str | None:
        return self.compute(given) if self.compute and given is not None else given


# Changes an untrusted text on its way into a file.
Change = Callable[[Column, str], str]


# What people read otherwise is JSON with a string: letters that it spells out, or a message of
# several parts. Few records of CSV hold quotes, and one of these.
QUOTES = b'""'
READ_OTHERWISE = (b"\\u", *(each.replace('"', '""').encode() for each in HINTS))


def as_read(columns: list[Column], values: list[str | None]) -> list[str | None]:
    """The values with messages as people read them; a file without roles has agents' alone."""
    named = dict(zip((column.name for column in columns), values, strict=True))
    role = named.get("role", AGENT) or ""
    return [
        readable(value, role) if column.is_said and value else value
        for column, value in zip(columns, values, strict=True)
    ]


class CsvLines:
    """
    COPY's rows as records of RFC 4180 without formulas.

    COPY gives what computed columns are made of in front of the others.
    """

    def __init__(self, columns: list[Column], separator: str = ","):
        self.computed = [column for column in columns if column.compute]
        self.stored = [column for column in columns if not column.compute]
        self.has_said = any(column.is_said for column in columns)
        self.separator = separator
        self.between = separator.encode()
        letters = re.escape(self.between)
        # Without quotes, no cell begins with the separator.
        bare = FORMULA_STARTS.replace(separator, "")
        # With a first letter that is always the same, a search takes a seventh of the time.
        self.may_hold_formula = re.compile(
            letters + b"(?:\"'*" + any_of(FORMULA_STARTS) + b"|'*" + any_of(bare) + b")"
        )
        self.a_cell = re.compile(rb'"(?:[^"]++|"")*+"|[^"' + letters + b"]*+")
        self.needs_quotes = re.compile(f'["\r\n{re.escape(separator)}]')

    def __call__(self, row: memoryview) -> bytes:
        """
        A record ends with CR and LF, COPY's row with LF alone. The protocol promises one message
        per row, so only the last byte ends the record.
        """
        if row[-1] != ord("\n"):
            raise ValueError("COPY gave a part of a row.")
        record = bytes(row[:-1])
        ends = b""
        for column in self.computed:
            cell = self.first_cell(record)
            record = record[len(cell) + 1 :]
            ends += self.between + self.cell(column.value(text(cell))).encode()
        # The cells of other records are not looked at.
        may_differ = self.has_said and QUOTES in record
        if may_differ and any(each in record for each in READ_OTHERWISE):
            texts = [text(cell) for cell in self.cells(record)]
            record = self.joined(as_read(self.stored, texts))
        return self.without_formulas(record) + ends + b"\r\n"

    def record(self, values: list[str | None]) -> bytes:
        """The stored columns' values and the computed ones' as a record."""
        stored, computed = values[: len(self.stored)], values[len(self.stored) :]
        record = self.without_formulas(self.joined(as_read(self.stored, stored)))
        return b"".join([record, *(self.between + self.cell(each).encode() for each in computed)])

    def joined(self, values: list[str | None]) -> bytes:
        return self.separator.join(map(self.cell, values)).encode()

    def cell(self, value: str | None) -> str:
        """As COPY writes it: an empty text as quotes, NULL as nothing."""
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
        # Few records may hold a formula; the cells of the others are not looked at.
        if not self.may_hold_formula.search(self.between + record):
            return record
        cells = []
        for column, cell in zip(self.stored, self.cells(record), strict=True):
            if column.kind in UNTRUSTED and STARTS_FORMULA.match(cell):
                cell = b"\"'" + cell[1:] if cell.startswith(b'"') else b"'" + cell
            cells.append(cell)
        return self.between.join(cells)


def text(cell: bytes) -> str | None:
    """What COPY wrote as a cell."""
    value = cell.decode()
    return value[1:-1].replace('""', '"') if value.startswith('"') else value or None


class JsonLines:
    """
    Lines of rows that are JSON objects.

    COPY gives what computed columns are made of in front of the object.
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
    """JSON as one line to every reader: nothing outside its strings changes."""
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
    """The values of rows that come as JSON arrays of texts, with the untrusted ones changed."""

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
    """Lines of rows that come as JSON arrays of texts; changes the untrusted ones."""

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
