"""Summaries as files, for users who may export."""

from django.contrib.auth.mixins import PermissionRequiredMixin
from django.http import Http404
from django.utils import timezone
from django.views.generic import View

from backoffice.error_pages import error_response
from conversations.exports.stream import TooManyExports
from conversations.exports.tables import TABLE_FORMS, table_response
from conversations.exports.views import too_many

from .. import figures
from .files import NAME, TOO_MANY_ROWS, TooManySummaryRows, summary
from .form import SummariesForm
from .rows import columns


class SummariesView(PermissionRequiredMixin, View):
    permission_required = ("conversations.view_session", "conversations.export_session")
    # HEAD must not run the queries.
    http_method_names = ["get"]

    def get(self, request, form):
        if form not in TABLE_FORMS:
            raise Http404
        known = figures.known()
        if known is None:
            return error_response(request, 503, "No file was created", figures.NONE_YET)
        asked = SummariesForm(request.GET, until=known.until)
        if not asked.is_valid():
            return error_response(request, 400, "No file was created", asked.problem())
        try:
            found = summary(asked)
        except TooManySummaryRows:
            return error_response(request, 400, "No file was created", TOO_MANY_ROWS)
        except TooManyExports:
            return too_many(request)
        separator = asked.cleaned_data["separator"] or "comma"
        with timezone.override(asked.zone):
            return table_response(
                request, NAME, form, columns(), found, separator, query=asked.query()
            )
