"""Records which rows people see and change in the admin panel."""

from django.db import transaction

from .models import Act
from .recording import record


class RecordedViews:
    """A ModelAdmin that records each view of its list and of a row's pages."""

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


class RecordedEdits:
    """
    A ModelAdmin of one of our own tables that records every change, in the same transaction.
    """

    def audit_details(self, row) -> dict:
        """What the audit log records of a row: {field: value}, with the row's name as "name"."""
        raise NotImplementedError

    def record_edit(self, request, before: dict | None, after: dict | None):
        """Record what changed. `before` is None for a new row, `after` for a deleted one."""
        if before and after:
            name = before["name"]
            changed = [each for each in after if before[each] != after[each]]
            before = {each: before[each] for each in changed}
            after = {each: after[each] for each in changed}
        else:
            name = (before or after)["name"]
        if before != after:
            table = self.opts.db_table
            record(request, Act.EDITED, table=table, row=name, before=before, after=after)

    def save_model(self, request, obj, form, change):
        obj.details_before = None
        if change:
            # Read from the database, because the form has already changed `obj`.
            row = self.model.objects.select_for_update().get(pk=obj.pk)
            obj.details_before = self.audit_details(row)
        super().save_model(request, obj, form, change)

    def save_related(self, request, form, formsets, change):
        super().save_related(request, form, formsets, change)
        instance = form.instance
        self.record_edit(request, instance.details_before, self.audit_details(instance))

    @transaction.atomic
    def delete_model(self, request, obj):
        self.record_edit(request, self.audit_details(obj), None)
        super().delete_model(request, obj)

    @transaction.atomic
    def delete_queryset(self, request, queryset):
        for each in queryset:
            self.record_edit(request, self.audit_details(each), None)
        super().delete_queryset(request, queryset)


def shown(request, response) -> dict:
    """A page's context; {} for a POST, because the change itself is recorded."""
    if request.method == "POST" or response.status_code != 200:
        return {}
    return getattr(response, "context_data", None) or {}
