"""
Cells of the admin panel's lists and lines of its forms, as callables for Django's admin.

Each has the name of the column it reads, so that AgentRowAdmin can leave out missing columns.
"""

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from backoffice.words import at, seconds

from ..agentdb.revision import missing_fields
from ..changes import edits
from ..models import PAYLOADS, ChatMessage

CELL = 200
SHOWN = 2_000


def field(name: str, words, label: str | None = None):
    """A cell in a list or a line in a form; left out if the database lacks the column."""

    @admin.display(description=label or name.replace("_", " "))
    def display(row):
        value = getattr(row, name)
        # Django would show None as "None" on a form's line.
        return "-" if value in (None, "") else words(value)

    display.__name__ = name
    return display


def time(name: str, label: str | None = None):
    return field(name, at, label)


def text(name: str, label: str | None = None):
    return field(name, cut, label)


def cut(value) -> str:
    value = str(value)
    return format_html("<bdi>{}</bdi>", value[:CELL] + ("…" if len(value) > CELL else ""))


def change_link(model):
    """A link to the form of the row that a column refers to."""
    name = f"{model._meta.model_name}_id"
    address = f"admin:conversations_{model._meta.model_name}_change"
    return field(
        name,
        lambda pk: format_html('<a href="{}">{}</a>', reverse(address, args=[pk]), pk),
        model._meta.model_name,
    )


def conversation(where: str = "session_id", query: str = ""):
    """A link to the conversation's page, scrolled to this row."""

    @admin.display(description="conversation")
    def display(row):
        session_id = getattr(row, where)
        if session_id is None:
            return "-"
        url = reverse("conversations:detail", args=[session_id])
        return format_html('<a href="{}{}">Open</a>', url, query and f"?{query}={row.pk}")

    display.__name__ = where
    return display


def long_text(name: str, up_to: int = SHOWN):
    """The beginning of a payload or text, with a link to the whole of it."""

    @admin.display(description=name.replace("_", " "))
    def display(row):
        start, length = getattr(row, f"{name}_start"), getattr(row, f"{name}_length")
        if not start or start == "null":
            return "-"
        shown = start[:up_to]
        return format_html(
            '<textarea class="vLargeTextField" rows="{}" dir="auto" readonly aria-label="{}">'
            "\n{}</textarea>{}",
            min(2 + len(shown) // 80 + shown.count("\n"), 20),
            display.short_description,
            shown,
            whole_of(row, name, length, up_to),
        )

    display.__name__ = name
    display.up_to = up_to
    return display


def whole_of(row, name, length, up_to):
    said = []
    if length > up_to:
        said.append(f"The first {up_to:,} of {length:,} characters.")
    if name in edits.EDITABLE.get(type(row), ()) and length > edits.LONGEST_TEXT:
        said.append("Too long to edit here.")
    if url := payload_url(row, name):
        said.append(format_html('<a href="{}">Open it</a>', url))
    return format_html("<p>{}</p>", format_html_join(" ", "{}", zip(said)))


def payload_url(row, name) -> str | None:
    session_id = getattr(row, "conversation_id", None)
    for kind, (model, _, fields) in PAYLOADS.items():
        if isinstance(row, model) and name in fields and session_id:
            return reverse("conversations:payload", args=[session_id, kind, row.pk, name])
    if isinstance(row, ChatMessage):
        return reverse("conversations:message", args=[row.session_id, row.pk])
    return None


def rows_of(column: str, *models):
    """Links to the lists of rows that belong to this row."""

    @admin.display(description="related rows")
    def display(row):
        links = (
            (
                reverse(f"admin:conversations_{model._meta.model_name}_changelist"),
                row.pk,
                model._meta.verbose_name_plural,
            )
            for model in models
            if column not in missing_fields(model)
        )
        return format_html_join(", ", '<a href="{}?q={}">{}</a>', links)

    display.__name__ = "rows"
    return display


@admin.display(description="conversations")
def its_conversations(agent):
    return format_html('<a href="{}?agent={}">Open</a>', reverse("conversations:list"), agent.pk)


DURATION = field("duration_seconds", seconds, "duration")
