"""
A row of the list of conversations.

Python instead of a template: thirty template nodes for each of fifty rows took a third of the
page's time.
"""

from html import escape

from django import template
from django.template.defaultfilters import pluralize, truncatechars
from django.utils.safestring import SafeString

from ..models import NO_NAME
from .desk import ago, problem_text, status_hint, status_label

register = template.Library()

BAD = ' class="bad"'
EVALUATION = ' <span class="pill">evaluation</span>'
NO_MESSAGES = "<i>No messages</i>"
EMPTY_MESSAGE = "(empty message)"
LABEL_LENGTH = 60


@register.simple_tag
def conversation_row(row, list_url, place):
    """
    The HTML of one of summaries() with its trouble and snippets; `place` is the list's query
    string. Whatever a stranger may have written goes through escape() here.
    """
    url = escape(f"{list_url}{row.pk}/?{place}" if place else f"{list_url}{row.pk}/")
    status = row.status or "none"
    key = external_id(row.external_id) if row.external_id else ""
    problems = " ".join(problem(each) for each in row.problems_besides_status)
    return SafeString(f"""<li>
  <a class="row {status}" href="{url}">
    <span class="who"><b dir="auto">{escape(row.agent_name or NO_NAME)}</b>{key}{EVALUATION if row.is_evaluation else ""}</span>
    <span class="said">{said(row)}</span>
    {trouble(row.trouble) if row.trouble else ""}
    <span class="state"><span class="pill {status}" title="{status_hint(row.status)}">{status_label(row.status)}</span> {problems}</span>
    <span class="counts">{counts(row)}</span>
    <span class="when">{ago(row.updated_at)}<small>created {ago(row.created_at)}</small></span>
  </a>
  {snippets(row.snippets) if row.snippets else ""}
</li>
""")  # noqa: E501 (lines of HTML)


def external_id(text):
    return f' <span class="key" dir="auto">{escape(text)}</span>'


def said(row):
    """The first message, and the last one where there are more."""
    if row.first_message is None:
        return NO_MESSAGES
    first = f'<span dir="auto">{escape(row.first_message or EMPTY_MESSAGE)}</span>'
    if row.messages_count < 2:
        return first
    last = escape(row.last_message or EMPTY_MESSAGE)
    return f'{first}<span class="latest" dir="auto">{last}</span>'


def counts(row):
    """2 runs, 14 tasks, 4 messages, 1 error."""
    numbers = {
        "run": row.runs_count,
        "task": row.tasks_count,
        "message": row.messages_count,
        "error": row.errors_count,
    }
    return " ".join(
        f"<span{BAD if noun == 'error' and number else ''}>"
        f"<b>{number}</b> {noun}{pluralize(number)}</span>"
        for noun, number in numbers.items()
    )


def trouble(text):
    return f'<span class="trouble" dir="auto">{escape(text)}</span>'


def problem(each):
    return f'<span class="pill problem">{problem_text(each)}</span>'


def snippets(found):
    return f'<ul class="snippets">{"".join(map(snippet, found))}</ul>'


def snippet(each):
    label = escape(truncatechars(each.label, LABEL_LENGTH))
    # Its html is message_text's: escaped, with the term marked.
    return (
        f'<li><a href="{escape(each.url)}"><span class="label">{label}</span> '
        f'<span dir="auto">{each.html}</span></a></li>'
    )
