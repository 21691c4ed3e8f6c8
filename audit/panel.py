"""Which rows people saw in the admin panel."""

from .models import Act
from .recording import record


class RecordedViews:
    """A ModelAdmin that records its lists, its rows' forms and what else shows a row."""

    def changelist_view(self, request, extra_context=None):
        response = super().changelist_view(request, extra_context)
        found = shown(request, response).get("cl")
        if found:
            details = {"table": self.opts.db_table}
            if request.GET:
                details["query"] = request.GET.urlencode()
            act = Act.SEARCHED if found.query else Act.VIEWED
            record(request, act, **details, shown=len(found.result_list))
        return response

    def changeform_view(self, request, *args, **kwargs):
        response = super().changeform_view(request, *args, **kwargs)
        self.record_row(request, shown(request, response).get("original"))
        return response

    def delete_view(self, request, *args, **kwargs):
        response = super().delete_view(request, *args, **kwargs)
        self.record_row(request, shown(request, response).get("object"))
        return response

    def history_view(self, request, *args, **kwargs):
        response = super().history_view(request, *args, **kwargs)
        self.record_row(request, shown(request, response).get("object"))
        return response

    def record_row(self, request, row):
        if row is not None:
            self.record_view(request, row)

    def record_view(self, request, row, **about):
        page = f"admin:{request.resolver_match.url_name}"
        record(request, Act.VIEWED, **about, page=page, row=str(row.pk))


def shown(request, response) -> dict:
    """A page's context. What a form answers is told as the change that it is."""
    if request.method == "POST" or response.status_code != 200:
        return {}
    return getattr(response, "context_data", None) or {}
