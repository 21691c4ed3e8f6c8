"""The base of the agent database's tables in the admin panel."""

import json
import uuid

from django.conf import settings
from django.contrib import messages
from django.contrib.admin.options import get_content_type_for_model
from django.db.models import F, TextField
from django.db.models.functions import Cast, Left, Length
from django.http import Http404, HttpResponseRedirect

from audit.panel import RecordedViews
from backoffice.admin import BigTableAdmin
from backoffice.databases.text import is_storable
from backoffice.error_pages import BUSY, NO_WRITING, ChangeRefused, error_response, refusals
from privacy import masking

from ..agentdb import revision
from ..changes import edits
from ..models import PAYLOADS, Agent, Session

# A search by external id lists the rows of this many conversations, the newest ones.
MOST_CONVERSATIONS = 100


class AgentRowAdmin(RecordedViews, BigTableAdmin):
    form = edits.EditForm
    # The form's lines. For users who may edit, editable ones are inputs.
    lines = ()
    # Indexed columns in which a searched UUID is looked up, one after another.
    named_by = ("id",)
    # Columns whose hits are sorted by time: there are few, or an index has that order.
    in_time_by = ("session_id", "run_id")

    # Columns

    def present(self, names):
        """The names that this agent database has."""
        missing = revision.missing_fields(self.model)
        return [name for name in names if getattr(name, "__name__", name) not in missing]

    def get_list_display(self, request):
        return self.present(self.list_display)

    def get_fields(self, request, obj=None):
        lines = self.present(self.lines)
        if not self.has_change_permission(request, obj):
            return lines
        return [*(self.input_for(line, obj) or line for line in lines), "fingerprint"]

    def get_readonly_fields(self, request, obj=None):
        inputs = {*edits.EDITABLE.get(self.model, ()), "fingerprint"}
        return [name for name in self.get_fields(request, obj) if name not in inputs]

    def input_for(self, line, row) -> str | None:
        """The name of the editable field that a line shows, if any."""
        column = getattr(line, "__name__", line)
        for name in edits.EDITABLE[self.model]:
            if column in (name, f"{name}_id"):
                value = edits.stored(row, name)
                return None if len(str(value or "")) > edits.LONGEST_TEXT else name
        return None

    # Rows

    def get_queryset(self, request):
        """For lists: reads only the columns that they show."""
        shown = {getattr(name, "__name__", name) for name in self.get_list_display(request)}
        columns = {each.attname for each in self.model._meta.concrete_fields}
        rows = self.model.objects.only("id", *(columns & shown))
        return rows.annotate(agent_name=F("agent__name")) if "agent_name" in shown else rows

    def get_object(self, request, object_id, from_field=None):
        """For a form: a whole row, with long texts cut in SQL."""
        try:
            pk = uuid.UUID(object_id)
        except ValueError:
            raise Http404 from None
        can_change = self.has_change_permission(request)
        rows = self.model.objects.using("agents_write" if can_change else "agents")
        for line in self.present(self.lines):
            if hasattr(line, "up_to"):
                name = line.__name__
                value = Cast(name, TextField())
                cut_value = {f"{name}_start": Left(value, line.up_to)}
                rows = rows.annotate(**cut_value, **{f"{name}_length": Length(value)})
                if not can_change or name not in edits.EDITABLE[self.model]:
                    rows = rows.defer(name)
        for model, owner, _ in PAYLOADS.values():
            if self.model is model and self.present([owner]):
                rows = rows.annotate(conversation_id=F(owner))
        with refusals():
            row = rows.filter(pk=pk).first()
        if row is None:
            raise Http404
        return row

    def searches(self, term):
        if not is_storable(term):
            return
        try:
            named = uuid.UUID(term)
        except ValueError:
            pass
        else:
            for name in self.present(self.named_by):
                yield lambda rows, name=name: self.by_uuid(rows, name, named)
        yield from self.text_searches(term)

    def by_uuid(self, rows, name, value):
        rows = rows.filter(**{name: value})
        return rows.order_by("created_at", "id") if name in self.in_time_by else rows

    def text_searches(self, term):
        if self.present(["session_id"]):
            yield lambda rows: by_external_id(rows, term)

    # Rights

    def has_module_permission(self, request):
        return self.has_view_permission(request) and super().has_module_permission(request)

    def has_view_permission(self, request, obj=None):
        """Not for users who see personal data masked, because forms read rows unmasked."""
        return not masking.is_active() and super().has_view_permission(request, obj)

    def may_edit(self, request) -> bool:
        return (
            self.model in edits.EDITABLE
            and not masking.is_active()
            and super().has_change_permission(request)
        )

    def has_change_permission(self, request, obj=None):
        return self.may_edit(request) and "agents_write" in settings.DATABASES

    # Reading and writing

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None):
        """
        Django's own view without its transaction around everything: save_edit() has its own, and
        the audit trail must know how that one ends.
        """
        if self.may_edit(request) and not self.has_change_permission(request):
            if request.method == "POST":
                return error_response(request, *NO_WRITING)
            messages.info(request, "This site is set up only to read the agent database.")
        arguments = (request, object_id, form_url, extra_context)
        try:
            try:
                response = self._changeform_view(*arguments)
            except edits.Conflict:
                # The row changed after the form was checked: check again to say what changed.
                response = self._changeform_view(*arguments)
        except edits.Conflict:
            return error_response(request, *BUSY)
        except ChangeRefused as refused:
            return error_response(request, *refused.args)
        # The response that closes a popup has no form.
        context = getattr(response, "context_data", None) or {}
        if request.method == "POST" and "adminform" in context:
            if context["adminform"].form.conflict:
                response.status_code = 409
        else:
            self.record_row(request, context.get("original"))
        return response

    def record_view(self, request, row):
        # An agent's row is not part of any conversation.
        if self.model is not Agent:
            super().record_view(request, row, session_id=edits.conversation_of(row))

    def formfield_for_foreignkey(self, db_field, request, **kwargs):
        return super().formfield_for_foreignkey(db_field, request, using="agents_write", **kwargs)

    def save_model(self, request, obj, form, change):
        obj.was_edited = edits.save_edit(request, form)

    def log_change(self, request, obj, message):
        """Writes to Django's history too, by id only: no names and no external ids."""
        from django.contrib.admin.models import CHANGE, LogEntry  # needs the user model

        if obj.was_edited:
            LogEntry.objects.create(
                user_id=request.user.pk,
                content_type=get_content_type_for_model(obj),
                object_id=obj.pk,
                object_repr=str(obj.pk),
                action_flag=CHANGE,
                change_message=json.dumps(message),
            )

    def response_change(self, request, obj):
        if obj.was_edited:
            return super().response_change(request, obj)
        messages.info(request, "Nothing was changed.")
        if "_continue" in request.POST:
            return HttpResponseRedirect(request.get_full_path())
        return self.response_post_save_change(request, obj)


def by_external_id(rows, external_id):
    newest = Session.objects.with_external_id(external_id).newest_first()
    # Looked up first: in a join, the planner would choose where to start.
    named = list(newest.values_list("pk", flat=True)[:MOST_CONVERSATIONS])
    return rows.filter(session_id__in=named).order_by("created_at", "id")
