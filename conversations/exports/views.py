"""The filtered list as a file, for users who may export."""

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

from .files import FILES, FORMS, export_file
from .request import masked, parse
from .stream import Export, TooManyExports
from .workbook import TooManyRows, Workbook

RETRY_SECONDS = 60
PROGRESS_SECONDS = 0.25


class ExportView(PermissionRequiredMixin, View):
    permission_required = ("conversations.view_session", "conversations.export_session")
    # HEAD must not run the query.
    http_method_names = ["get"]

    def get(self, request, name, form):
        if name not in FILES or form not in FORMS:
            raise Http404
        asked = parse(request.GET, name, form)
        if asked.problem:
            return error_response(request, 400, "No file was created", asked.problem)
        # Its dates are those of the page that leads here.
        timezone.activate(asked.filters.form.zone)
        file = export_file(
            name,
            form,
            asked.filters.matching,
            site=request.build_absolute_uri(reverse("conversations:list")),
            payloads=asked.payloads,
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
                # Until all of it is made, an error can still be a page.
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
        # A proxy that buffers the file would hide its progress.
        response["X-Accel-Buffering"] = "no"
        return response


class Progress:
    """
    A workbook for static/export.js: lines of JSON that tell how far it is, and in the end its size
    in bytes; an empty line; and the workbook. Or a line that says why there is none.
    """

    def __init__(self, export: Export, workbook: Workbook):
        self.export, self.workbook = export, workbook

    def __iter__(self) -> Iterator[bytes]:
        told = 0.0
        try:
            for rows in self.export.prepare():
                if time.monotonic() - told > PROGRESS_SECONDS:
                    yield self.line(rows=rows, total=self.export.total)
                    told = time.monotonic()
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
    title = f"{number} exports are running already" if number > 1 else "An export is running"
    text = "Try again when another one has ended."
    response = error_response(request, 429, title, text)
    response["Retry-After"] = str(RETRY_SECONDS)
    return response


TOO_MANY_ROWS = (
    "An XLSX file may have {:,} rows here, and this one would have more. Filter the list further, "
    "or take CSV, which has no limit."
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
        "There is no room for this file",
        "An XLSX file is made on the server before it is sent, and that has no room for it. Try "
        "again later, or take CSV, which needs none.",
    )
