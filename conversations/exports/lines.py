"""How a row becomes a line of a file: CSV that no spreadsheet runs, or JSON."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from psycopg import sql

# What spreadsheets know UTF-8 by.
BOM = "\ufeff"
# What a spreadsheet takes for the beginning of a formula, or drops in front of one.
FORMULA_STARTS = "=+@\t\r\n＝＋－＠-"
# One apostrophe goes in front of such a cell. Apostrophes count as well, so that a cell which was
# given one can be told from any other: taking one away gives every text back.
FORMULA = re.compile(f"'*[{FORMULA_STARTS}]")


class Kind(StrEnum):
    # Our own, and never a formula: ids, times and words; and what JSON has without quotes.
    OURS = "ours"
    PLAIN = "plain"
    # Of strangers.
    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind
    sql: str


# Changes a text of strangers on its way into a file.
Change = Callable[[Column, str], str]


def cell(column: Column) -> str:
    """A column of the CSV, in SQL."""
    value = f"r.{column.name}"
    if column.kind not in (Kind.TEXT, Kind.JSON):
        return value
    starts = ", ".join(sql.quote(start) for start in f"'{FORMULA_STARTS}")
    is_formula = f"{value} ~ {sql.quote(f'^{FORMULA.pattern}')}"
    # The first letter alone decides nearly always, long before a pattern is looked for.
    return (
        f"CASE WHEN left({value}, 1) IN ({starts}) AND {is_formula} "
        f"THEN '''' || {value} ELSE {value} END"
    )


def csv_line(row: memoryview) -> bytes:
    """
    RFC 4180 ends a record with CR and LF, COPY with LF alone. It sends each row as one message,
    as the protocol promises, so the last byte is the record's end and no other is.
    """
    if row[-1] != ord("\n"):
        raise ValueError("COPY gave a part of a row.")
    return bytes(row[:-1]) + b"\r\n"


class Rewriting:
    """Lines of rows that come as JSON arrays of texts, each changed on its way."""

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
        return self.join(values).encode()

    def as_csv(self, values: list[str | None]) -> str:
        return ",".join(map(self.cell, self.columns, values)) + "\r\n"

    @staticmethod
    def cell(column: Column, value: str | None) -> str:
        """As COPY writes it: an empty text in quotes, nothing without."""
        if value is None:
            return ""
        if column.kind in (Kind.TEXT, Kind.JSON) and FORMULA.match(value):
            value = f"'{value}"
        if value and not re.search(r'[",\r\n]', value):
            return value
        return '"' + value.replace('"', '""') + '"'

    def as_json(self, values: list[str | None]) -> str:
        members = map(self.member, self.columns, values)
        return "{" + ",".join(members) + "}\n"

    @staticmethod
    def member(column: Column, value: str | None) -> str:
        if value is None:
            source = "null"
        elif column.kind in (Kind.OURS, Kind.TEXT):
            source = json.dumps(value, ensure_ascii=False)
        else:
            source = value
        return f'"{column.name}":{source}'
