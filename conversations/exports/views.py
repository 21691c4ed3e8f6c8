"""The filtered list as a file, for users who may export."""

from django.conf import settings
from django.contrib.auth.mixins import PermissionRequiredMixin
from django.http import Http404, StreamingHttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.generic import View

from backoffice.client import Client
from backoffice.error_pages import error_response
from privacy import masking

from .files import FILES, FORMS, export_file
from .request import masked, parse
from .stream import Export, TooManyExports

RETRY_SECONDS = 60


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
        except TooManyExports:
            return too_many(request)
        response = StreamingHttpResponse(export, content_type=FORMS[form])
        day = timezone.localdate().isoformat()
        response["Content-Disposition"] = f'attachment; filename="{name}-{day}.{form}"'
        # A proxy that buffers the file would hide its progress.
        response["X-Accel-Buffering"] = "no"
        return response


def too_many(request):
    number = settings.EXPORTS_AT_ONCE
    title = f"{number} exports are running already" if number > 1 else "An export is running"
    text = "Try again when another one has ended."
    response = error_response(request, 429, title, text)
    response["Retry-After"] = str(RETRY_SECONDS)
    return response
