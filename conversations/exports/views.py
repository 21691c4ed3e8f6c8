"""Exports of the filtered list, for users who may export."""

import json
import time
from collections.abc import Iterator

from django.conf import settings
from django.contrib.auth.mixins import PermissionRequiredMixin
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.generic import View

from backoffice.client import CLIENT_CLOSED_REQUEST, Client
from backoffice.error_pages import error_response
from privacy import masking

from .files import FILES, FORMS, File, export_file
from .request import ExportRequest, masked, parse
from .stream import Export, TooManyExports
from .workbook import TooManyRows, Workbook

RETRY_SECONDS = 60
PROGRESS_SECONDS = 0.25


class FileView(PermissionRequiredMixin, View):
    """Answers with a file, or says why there is none."""

    permission_required = ("conversations.view_session", "conversations.export_session")
    # HEAD must not run the query.
    http_method_names = ["get"]

    def file(self, asked: ExportRequest, name: str, form: str, **options) -> File:
        raise NotImplementedError

    def answer(self, asked: ExportRequest, name: str, form: str):
        request = self.request
        if asked.problem:
            return error_response(request, 400, "No file was created", asked.problem)
        # Dates are in the time zone of the page that the user came from.
        timezone.activate(asked.filters.form.zone)
        file = self.file(
            asked,
            name,
            form,
            site=request.build_absolute_uri(reverse("conversations:list")),
            separator=asked.separator,
            change=masked if masking.is_active() else None,
        )
        try:
            export = Export(
                file,
                request,
                is_wanted=Client(request).is_there,
                file=f"{name}.{form}",
                query=asked.filters.query(),
                payloads=asked.payloads,
            )
            content: Export | Progress = export
            if file.workbook and "X-Progress" in request.headers:
                content = Progress(export, file.workbook)
            elif file.workbook:
                # Until the workbook is complete, an error can still become a page.
                for _ in export.prepare():
                    pass
        except TooManyExports:
            return too_many(request)
        except TooManyRows:
            return too_many_rows(request)
        except ConnectionResetError:
            return HttpResponse(status=CLIENT_CLOSED_REQUEST)
        except OSError:
            return no_room(request)
        response = StreamingHttpResponse(content, content_type=FORMS[form])
        if file.workbook and file.workbook.size:
            response["Content-Length"] = str(file.workbook.size)
        day = timezone.localdate().isoformat()
        response["Content-Disposition"] = f'attachment; filename="{name}-{day}.{form}"'
        # A buffering proxy would hide the progress.
        response["X-Accel-Buffering"] = "no"
        return response


class ExportView(FileView):
    def get(self, request, name, form):
        if name not in FILES or form not in FORMS:
            raise Http404
        return self.answer(parse(request.GET, name, form), name, form)

    def file(self, asked: ExportRequest, name: str, form: str, **options) -> File:
        matching = asked.filters.matching
        return export_file(name, form, matching, payloads=asked.payloads, **options)


class Progress:
    """
    A workbook for static/export.js: lines of JSON with the progress and finally the size in bytes,
    an empty line, then the workbook. Or a line that says why there is none.
    """

    def __init__(self, export: Export, workbook: Workbook):
        self.export, self.workbook = export, workbook

    def __iter__(self) -> Iterator[bytes]:
        reported = 0.0
        try:
            for rows in self.export.prepare():
                if time.monotonic() - reported > PROGRESS_SECONDS:
                    yield self.line(rows=rows, total=self.export.total)
                    reported = time.monotonic()
        except TooManyRows:
            yield self.line(problem=TOO_MANY_ROWS.format(settings.XLSX_MAX_ROWS))
            return
        yield self.line(size=self.workbook.size)
        yield b"\n"
        yield from self.export

    @staticmethod
    def line(**members) -> bytes:
        return json.dumps(members).encode() + b"\n"

    def close(self):
        self.export.close()


def too_many(request):
    number = settings.EXPORTS_AT_ONCE
    title = f"{number} exports are already running" if number > 1 else "An export is running"
    text = "Try again when another export has finished."
    response = error_response(request, 429, title, text)
    response["Retry-After"] = str(RETRY_SECONDS)
    return response


TOO_MANY_ROWS = (
    "XLSX files are limited to {:,} rows here, and this one would have more. Filter the list "
    "further, or download CSV, which has no limit."
)


def too_many_rows(request):
    csv = request.get_full_path().replace(".xlsx", ".csv", 1)
    return error_response(
        request,
        400,
        "Too many rows for an XLSX file",
        TOO_MANY_ROWS.format(settings.XLSX_MAX_ROWS),
        instead=("Download CSV", csv),
    )


def no_room(request):
    return error_response(
        request,
        503,
        "No space left for this file",
        "XLSX files are created on the server first, and it has run out of space. Try again later, "
        "or download CSV, which needs no space there.",
    )
