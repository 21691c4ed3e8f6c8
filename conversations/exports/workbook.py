"""
Rows as a workbook for spreadsheets. Nothing of XLSX can be sent before all of it is made, so it is
made in a folder of temporary files.
"""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime, tzinfo
from pathlib import Path

import xlsxwriter
from django.conf import settings
from xlsxwriter.exceptions import FileCreateError
from xlsxwriter.worksheet import Worksheet

from .lines import Kind, Values, as_read

# What a sheet holds, in rows, and a cell, in units of UTF-16.
SHEET_ROWS = 1_048_576
CELL_LENGTH = 32_767
# From here on a spreadsheet rounds whole numbers.
ROUNDED_FROM = 2**53
FIRST_YEAR = 1900
TIME_FORMAT = "yyyy-mm-dd hh:mm:ss.000"
DATE_FORMAT = "yyyy-mm-dd"
# A cell of text that is edited stays text. Some spreadsheets show longer ones as ####.
TEXT_FORMAT = 49
TEXT_FORMAT_UP_TO = 255
WIDTHS = {Kind.OURS: 38, Kind.TIME: 25, Kind.DATE: 14, Kind.PLAIN: 12, Kind.TEXT: 40, Kind.JSON: 40}
WIDEST_NAME = 45
BLOCK = 65_536
# A letter that XML lacks is spelt _x001F_, and so is the first letter of what looks like that.
UNWRITABLE = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]")
LOOKS_ESCAPED = re.compile("_(?=x[0-9A-Fa-f]{4}_)")
# Folders of workbooks, and the file in each that its process holds locked.
FOLDER = "desk-workbook-"
LOCK = "lock"


class TooManyRows(Exception):
    """More rows than a workbook may have here."""


class Sheet(Worksheet):
    """A sheet of XlsxWriter in which any text is written so that it is read as it was."""

    def _xml_rich_inline_string(self, string, attributes=()):
        # A text like <r>…</r> would be taken for XML.
        self._xml_inline_string(string, True, attributes)

    @staticmethod
    def _escape_control_characters(data: str) -> str:
        # XlsxWriter leaves the second of two escapes that share a letter.
        data = LOOKS_ESCAPED.sub("_x005F_", data)
        return UNWRITABLE.sub(lambda found: f"_x{ord(found[0]):04X}_", data)


class Workbook:
    """
    Takes COPY's rows, each a JSON array of texts; `made()` goes around all of it.

    `site` is the absolute URL of the list; times are written in `zone`.
    """

    def __init__(self, name: str, values: Values, zone: tzinfo, site: str, most: int):
        self.name, self.values, self.zone, self.site, self.most = name, values, zone, site, most
        self.columns = values.columns
        self.has_said = any(column.is_said for column in self.columns)
        self.conversation = [column.name for column in self.columns].index("session_id")
        self.rows = 0
        self.size = 0

    @contextmanager
    def made(self) -> Iterator[None]:
        """Meanwhile its files are there."""
        with temporary_folder() as folder:
            self.path = folder / "workbook.xlsx"
            # Nothing but write_string() writes what a stranger said.
            self.book = xlsxwriter.Workbook(
                str(self.path), {"constant_memory": True, "tmpdir": str(folder)}
            )
            self.book.use_zip64()
            self.bold = self.book.add_format({"bold": True})
            self.time = self.book.add_format({"num_format": TIME_FORMAT})
            self.date = self.book.add_format({"num_format": DATE_FORMAT})
            self.text = self.book.add_format({"num_format": TEXT_FORMAT})
            self.add_sheet()
            yield

    def write(self, row: memoryview) -> bytes:
        """Nothing to send yet."""
        if self.rows == self.most:
            raise TooManyRows
        if self.row == SHEET_ROWS:
            self.end_sheet()
            self.add_sheet()
        values = self.values(row)
        if self.has_said:
            values = as_read(self.columns, values)
        for place, (put, value) in enumerate(zip(self.puts, values, strict=True)):
            if value is not None:
                put(place, value, values)
        self.row += 1
        self.rows += 1
        return b""

    def finish(self):
        self.end_sheet()
        try:
            self.book.close()
        except FileCreateError as error:
            raise OSError(str(error)) from error
        self.size = self.path.stat().st_size

    def blocks(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while block := file.read(BLOCK):
                yield block

    # Sheets

    def add_sheet(self):
        number = len(self.book.worksheets()) + 1
        name = self.name if number == 1 else f"{self.name} {number}"
        self.sheet = self.book.add_worksheet(name, worksheet_class=Sheet)
        self.sheet.freeze_panes(1, 0)
        for place, column in enumerate(self.columns):
            header = column.name
            # People read these; programs read the other files.
            if header == "external_id":
                header = settings.EXTERNAL_ID_LABEL or header
            if column.kind in (Kind.TIME, Kind.DATE):
                header += f" ({self.zone})"
            width = max(WIDTHS[column.kind], min(len(header) + 4, WIDEST_NAME))
            self.sheet.set_column(place, place, width)
            self.sheet.write_string(0, place, header, self.bold)
        self.row = 1
        puts = {Kind.PLAIN: self.put_number, Kind.TIME: self.put_time, Kind.DATE: self.put_date}
        self.puts: list[Callable] = [puts.get(each.kind, self.put_text) for each in self.columns]

    def end_sheet(self):
        self.sheet.autofilter(0, 0, self.row - 1, len(self.columns) - 1)

    # Cells

    def put_text(self, place: int, value: str, values: list):
        if len(value) > CELL_LENGTH // 2:
            value = self.fitted(value, values[self.conversation])
        form = self.text if len(value) <= TEXT_FORMAT_UP_TO else None
        self.sheet.write_string(self.row, place, value, form)

    def put_number(self, place: int, value: str, values: list):
        number = float(value)
        if abs(number) < ROUNDED_FROM:
            self.sheet.write_number(self.row, place, number)
        else:
            self.put_text(place, value, values)

    def put_time(self, place: int, value: str, values: list):
        try:
            moment = datetime.fromisoformat(value).astimezone(self.zone).replace(tzinfo=None)
        except (ValueError, OverflowError):
            # Infinity, or a year that the calendar lacks.
            self.put_text(place, value, values)
            return
        if moment.year < FIRST_YEAR:
            self.put_text(place, value, values)
        else:
            self.sheet.write_datetime(self.row, place, moment, self.time)

    def put_date(self, place: int, value: str, values: list):
        try:
            day = date.fromisoformat(value)
        except ValueError:
            self.put_text(place, value, values)
            return
        if day.year < FIRST_YEAR:
            self.put_text(place, value, values)
        else:
            self.sheet.write_datetime(self.row, place, day, self.date)

    def fitted(self, text: str, conversation: str) -> str:
        """The text, or its beginning with a note that says where all of it is."""
        units = text.encode("utf-16-le")
        if len(units) <= 2 * CELL_LENGTH:
            return text
        link = f"{self.site}{conversation}/"
        note = f" … [The first part of {len(text):,} characters. All of it: {link}]"
        room = CELL_LENGTH - len(note.encode("utf-16-le")) // 2
        # No half of a letter at the end.
        return units[: 2 * room].decode("utf-16-le", errors="ignore") + note


# Temporary files


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for the time of the block. Removes those of killed processes, too."""
    remove_abandoned()
    with tempfile.TemporaryDirectory(prefix=FOLDER) as name:
        folder = Path(name)
        # Locked before it has the name by which others look for it.
        unnamed = folder / f"{LOCK}.new"
        lock = os.open(unnamed, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            unnamed.rename(folder / LOCK)
            yield folder
        finally:
            os.close(lock)


def remove_abandoned():
    """Remove the folders of processes that ended without doing so: nobody holds their locks."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        # Another process may remove it meanwhile.
        with suppress(OSError):
            if folder.lstat().st_uid != os.getuid():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)
