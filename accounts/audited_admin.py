from django.db import transaction

from audit.models import Act
from audit.recording import record


class AuditedAdmin:
    """
    An admin form that records every change in the audit trail, in the same transaction. A row that
    did not exist before, or does not exist afterwards, is None.
    """

    def told(self, row) -> dict:
        """What the audit trail records of a row: {name: value}, the row's name under "name"."""
        raise NotImplementedError

    def tell(self, request, before: dict | None, after: dict | None):
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
        obj.told_before = None
        if change:
            # As it is in the database: the form has changed `obj` already.
            row = self.model.objects.select_for_update().get(pk=obj.pk)
            obj.told_before = self.told(row)
        super().save_model(request, obj, form, change)

    def save_related(self, request, form, formsets, change):
        super().save_related(request, form, formsets, change)
        self.tell(request, form.instance.told_before, self.told(form.instance))

    @transaction.atomic
    def delete_model(self, request, obj):
        self.tell(request, self.told(obj), None)
        super().delete_model(request, obj)

    @transaction.atomic
    def delete_queryset(self, request, queryset):
        for each in queryset:
            self.tell(request, self.told(each), None)
        super().delete_queryset(request, queryset)
