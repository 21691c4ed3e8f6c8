"""
Writes rows to a workbook for spreadsheets. No part of an XLSX file can be sent before all of it is
complete, so it is created in a temporary folder.
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

# The limits of a sheet in rows, and of a cell in UTF-16 code units.
SHEET_ROWS = 1_048_576
CELL_LENGTH = 32_767
# Spreadsheets round whole numbers from here on.
ROUNDED_FROM = 2**53
FIRST_YEAR = 1900
TIME_FORMAT = "yyyy-mm-dd hh:mm:ss.000"
DATE_FORMAT = "yyyy-mm-dd"
# With this format, text stays text when edited. Some spreadsheets show longer text as ####.
TEXT_FORMAT = 49
TEXT_FORMAT_UP_TO = 255
WIDTHS = {Kind.OURS: 38, Kind.TIME: 25, Kind.DATE: 14, Kind.PLAIN: 12, Kind.TEXT: 40, Kind.JSON: 40}
WIDEST_NAME = 45
BLOCK = 65_536
# A character that XML does not allow is written as _x001F_, and so is the underscore of text that
# already looks like that.
UNWRITABLE = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]")
LOOKS_ESCAPED = re.compile("_(?=x[0-9A-Fa-f]{4}_)")
# Folders of workbooks, and the file in each that its process keeps locked.
FOLDER = "desk-workbook-"
LOCK = "lock"


class TooManyRows(Exception):
    """More rows than a workbook may have."""


class Sheet(Worksheet):
    """A sheet of XlsxWriter that writes any text so that it reads back unchanged."""

    def _xml_rich_inline_string(self, string, attributes=()):
        # Otherwise, text like <r>…</r> would be taken for XML.
        self._xml_inline_string(string, True, attributes)

    @staticmethod
    def _escape_control_characters(data: str) -> str:
        # XlsxWriter itself would miss the second of two escapes that share an underscore.
        data = LOOKS_ESCAPED.sub("_x005F_", data)
        return UNWRITABLE.sub(lambda found: f"_x{ord(found[0]):04X}_", data)


class Workbook:
    """
    Takes COPY's rows, each a JSON array of texts. All use must be inside `made()`.

    `site` is the absolute URL of the list; times are written in `zone`.
    """

    def __init__(self, name: str, values: Values, zone: tzinfo, site: str, most: int):
        self.name, self.values, self.zone, self.site, self.most = name, values, zone, site, most
        self.columns = values.columns
        self.has_said = any(column.is_said for column in self.columns)
        names = [column.name for column in self.columns]
        self.conversation = names.index("session_id") if "session_id" in names else None
        self.rows = 0
        self.size = 0

    @contextmanager
    def made(self) -> Iterator[None]:
        """Inside this block, the workbook's files exist."""
        with temporary_folder() as folder:
            self.path = folder / "workbook.xlsx"
            # Text from strangers is only ever written with write_string().
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
        """Returns no bytes, because there is nothing to send yet."""
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
            # For people; programs use the other formats.
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
            value = self.fitted(value, values)
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
            # Infinity, or a year that the calendar does not have.
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

    def fitted(self, text: str, values: list) -> str:
        """The text, or its beginning with a note that links to the whole text."""
        units = text.encode("utf-16-le")
        if len(units) <= 2 * CELL_LENGTH:
            return text
        note = f" … [The first part of {len(text):,} characters.]"
        if self.conversation is not None:
            link = f"{self.site}{values[self.conversation]}/"
            note = f"{note[:-1]} All of it: {link}]"
        room = CELL_LENGTH - len(note.encode("utf-16-le")) // 2
        # Drops half a character at the end.
        return units[: 2 * room].decode("utf-16-le", errors="ignore") + note


# Temporary files


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that exists during the block. Also removes folders of processes that were killed."""
    remove_abandoned()
    with tempfile.TemporaryDirectory(prefix=FOLDER) as name:
        folder = Path(name)
        # Takes the lock before the file gets the name that other processes look for.
        unnamed = folder / f"{LOCK}.new"
        lock = os.open(unnamed, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            unnamed.rename(folder / LOCK)
            yield folder
        finally:
            os.close(lock)


def remove_abandoned():
    """Remove folders whose processes ended without doing so: nobody holds their locks."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        # Another process may remove the folder at the same time.
        with suppress(OSError):
            if folder.lstat().st_uid != os.getuid():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)
