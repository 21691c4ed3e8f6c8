"""An admin's edits of a row: writes only what changed, and never over somebody else's change."""

import json
import re

from django import forms
from django.contrib.admin import widgets
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.utils.crypto import salted_hmac
from django.utils.html import format_html, format_html_join

from audit.recording import Act, recorded_change
from audit.texts import kept_external_id
from backoffice.databases.time_limits import TimeBudget, time_limit
from backoffice.error_pages import refusals

from ..access import agent_limits
from ..models import Agent, ChatMessage, Session
from .locking import LOCK_SECONDS
from .telling import tell

EDITABLE = {
    Agent: ("name", "description"),
    Session: ("external_id", "agent"),
    ChatMessage: ("role", "content"),
}
# Edited in a one-line input, unless the value already has several lines.
SHORT = {"name", "external_id", "role"}
# Forms of more than 2.5 MB are refused, and a character takes up to four bytes.
LONGEST_TEXT = 500_000
# PostgreSQL limits an index entry to 2,704 bytes; this one also holds the agent's id.
LONGEST_EXTERNAL_ID = 600
AUDITED_CHARACTERS = 200
NEWLINE = re.compile(r"\r\n?|\n")


class Conflict(Exception):
    """The row has changed since the form was opened."""


def stored(row, name: str):
    """The column's value; for a foreign key, the id."""
    return getattr(row, row._meta.get_field(name).attname)


def fingerprint(row) -> str:
    """
    A hash of each editable value, which tells a form whether its row has changed. Keyed, so that
    nobody can use it to test guesses at a text.
    """
    return " ".join(
        salted_hmac(
            "conversations.edits",
            json.dumps([row._meta.db_table, str(row.pk), name, stored(row, name)], default=str),
            algorithm="sha256",
        ).hexdigest()
        for name in EDITABLE[type(row)]
    )


def merged(before: str | None, after: str, *, nullable: bool) -> str | None:
    """
    The text to store after a form showed `before` and sent `after`. Browsers send CRLF for every
    line break and "" for NULL: neither counts as a change.
    """
    after = NEWLINE.sub("\n", after)
    if after == NEWLINE.sub("\n", before or ""):
        return before
    if not after and nullable:
        return None
    if set(NEWLINE.findall(before or "")) == {"\r\n"}:
        return after.replace("\n", "\r\n")
    return after


class EditForm(forms.ModelForm):
    fingerprint = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        row = self.instance
        names = EDITABLE.get(type(row), ())
        # Reads the values only if some may be edited.
        self.before = {}
        if self.fields.keys() & set(names):
            self.before = {name: stored(row, name) for name in names}
        self.conflict = False
        if self.before:
            self.initial["fingerprint"] = fingerprint(row)
        for name, value in self.before.items():
            field = self.fields.get(name)
            if isinstance(field, forms.CharField):
                field.strip = False
                # An empty value may stay empty; see clean_text().
                field.required = False
                field.widget = text_widget(name, value or "")

    def is_multipart(self):
        # URL-encoded, a three-byte character would take nine bytes.
        return True

    def changed_by_others(self, row) -> list[str]:
        """The fields in which `row` differs from what the form was opened with."""
        names = EDITABLE[type(row)]
        seen = self.data.get("fingerprint", "").split()
        if len(seen) != len(names):
            return list(names)
        now = fingerprint(row).split()
        return [name for name, one, other in zip(names, seen, now, strict=True) if one != other]

    def clean(self):
        cleaned = super().clean()
        if names := self.changed_by_others(self.instance):
            self.conflict = True
            raise ValidationError(conflict_message(self.instance, names))
        for name, before in self.before.items():
            if isinstance(self.fields.get(name), forms.CharField) and name in cleaned:
                self.clean_text(name, before)
        return cleaned

    def clean_text(self, name, before):
        model_field = self.instance._meta.get_field(name)
        if name not in self.data:
            self.cleaned_data[name] = before
            return
        after = merged(before, self.cleaned_data[name], nullable=model_field.null)
        if after == before:
            pass
        elif after == "" and not model_field.blank:
            self.add_error(name, "This cannot be empty.")
        elif name == "external_id" and len(after or "") > LONGEST_EXTERNAL_ID:
            self.add_error(name, f"Must be at most {LONGEST_EXTERNAL_ID} characters long.")
        if name in self.cleaned_data:
            self.cleaned_data[name] = after

    @property
    def changed_data(self):
        """Compares values as they would be stored: a browser's CRLF is not a change."""
        return [
            name
            for name, before in self.before.items()
            if name in self.cleaned_data
            and getattr(self.cleaned_data[name], "pk", self.cleaned_data[name]) != before
        ]


def text_widget(name: str, value: str):
    lines = len(NEWLINE.findall(value)) + 1
    if name in SHORT and lines == 1:
        return widgets.AdminTextInputWidget(attrs={"dir": "auto", "size": 60})
    rows = min(max(lines, len(value) // 80, 2 if name in SHORT else 6) + 1, 30)
    return widgets.AdminTextareaWidget(attrs={"dir": "auto", "rows": rows})


def conflict_message(row, names):
    now = format_html_join(
        "; ",
        "{} is now {}",
        ((row._meta.get_field(name).verbose_name, brief(stored(row, name))) for name in names),
    )
    return format_html(
        "Somebody else changed this row after you opened it: {}. Nothing was saved. Your text is "
        'still below: copy it, <a href="">reload the row</a> and edit that.',
        now,
    )


def brief(value) -> str:
    if value is None:
        return "empty"
    text = str(value)
    return f"“{text[:AUDITED_CHARACTERS]}{'…' if len(text) > AUDITED_CHARACTERS else ''}”"


def save_edit(request, form: EditForm) -> bool:
    """
    Write what the form changed, and record who changed it. Returns False if nothing changed. Raises
    Conflict or ChangeRefused, leaving the row as it was.
    """
    row, changed = form.instance, form.changed_data
    if not changed:
        return False
    rows = type(row).objects.using("agents_write").filter(pk=row.pk)
    if isinstance(row, ChatMessage):
        # Otherwise Citus would have to lock it on all workers, which it refuses to.
        rows = rows.filter(session_id=row.session_id)
    details = {
        "table": row._meta.db_table,
        "row": str(row.pk),
        "fields": changed,
        "before": {name: audited(row, name, form.before[name]) for name in changed},
        "after": {name: audited(row, name, stored(row, name)) for name in changed},
    }
    values = {row._meta.get_field(name).attname: stored(row, name) for name in changed}
    with (
        recorded_change(request, Act.EDITED, session_id=conversation_of(row), **details),
        refusals(),
        time_limit("agents_write", TimeBudget(LOCK_SECONDS)),
        agent_limits.lifted(),
    ):
        # no_key: the runtime may still add rows that refer to this one.
        locked = rows.select_for_update(no_key=True).only(*form.before).first()
        if locked is None or form.changed_by_others(locked):
            raise Conflict
        try:
            rows.update(**values)
        except IntegrityError as error:
            # The chosen agent no longer exists.
            raise Conflict from error
        if session_id := conversation_of(row):
            tell([session_id])
    return True


def conversation_of(row):
    return row.pk if isinstance(row, Session) else getattr(row, "session_id", None)


def audited(row, name: str, value):
    """What the audit trail keeps of a value: never a message's text or an external id itself."""
    if value is None:
        return None
    if isinstance(row, ChatMessage) and name == "content":
        return {"length": len(value)}
    if isinstance(row, Session) and name == "external_id":
        return kept_external_id(value)
    return str(value)[:AUDITED_CHARACTERS]
