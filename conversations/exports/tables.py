"""Small files of rows that no statement reads, such as tables of figures."""

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal

from django.conf import settings
from django.http import HttpResponse
from django.utils import timezone

from audit.recording import Act, record

from .files import FORMS
from .lines import BOM, SEPARATORS, Column, CsvLines, Values
from .views import no_room, too_many_rows
from .workbook import TooManyRows, Workbook

TABLE_FORMS = ("csv", "xlsx")

# Numbers are not rounded.
Row = Sequence[str | int | float | Decimal | None]


def table(
    name: str, form: str, columns: list[Column], rows: Iterable[Row], separator: str = "comma"
) -> bytes:
    """
    A CSV or XLSX file. Texts are cells as the columns' kinds mean them; those from strangers are no
    formulas. Raises TooManyRows.
    """
    texts = (list(map(text, row)) for row in rows)
    if form == "xlsx":
        zone, most = timezone.get_current_timezone(), settings.XLSX_MAX_ROWS
        workbook = Workbook(name, Values(columns, None), zone, "", most)
        with workbook.made():
            for row in texts:
                workbook.write(memoryview(json.dumps(row).encode()))
            workbook.finish()
            return b"".join(workbook.blocks())
    between = SEPARATORS[separator]
    lines = CsvLines(columns, between)
    head = f"{BOM}{between.join(column.name for column in columns)}\r\n".encode()
    return head + b"".join(lines.record(row) + b"\r\n" for row in texts)


def text(value: str | int | float | Decimal | None) -> str | None:
    """Never in scientific notation."""
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return None if value is None else str(value)


def table_response(
    request,
    name: str,
    form: str,
    columns: list[Column],
    rows: Sequence[Row],
    separator: str = "comma",
    **details,
) -> HttpResponse:
    """The file as a download, recorded in the audit log with `details`, or why there is none."""
    try:
        content = table(name, form, columns, rows, separator)
    except TooManyRows:
        return too_many_rows(request)
    except OSError:
        return no_room(request)
    record(request, Act.EXPORTED, file=f"{name}.{form}", rows=len(rows), complete=True, **details)
    response = HttpResponse(content, content_type=FORMS[form])
    day = timezone.localdate().isoformat()
    response["Content-Disposition"] = f'attachment; filename="{name}-{day}.{form}"'
    return response
