"""
A row of the list of conversations, and the links of its files.

Python instead of a template, which takes four times as long for fifty rows.
"""

import json
from functools import cache, lru_cache
from html import escape

from django import template
from django.template.defaultfilters import pluralize, truncatechars
from django.utils.safestring import SafeString, mark_safe

from .desk import ago, icon, problem_text, status_hint, status_label

register = template.Library()

ROW = """<li id="row-{id}"{again}{unfinished}>
  <a class="row {status}" href="{list_url}{id}/{query}{place_in_page}">
    <span class="who"><b dir="auto">{agent}</b>{key}{evaluation}</span>
    <span class="said">{said}</span>
    {newest_problem}
    <span class="state">{outcome}{status_pill}{problems}</span>
    <span class="counts">{runs} {tasks} {messages} {errors}{tokens}</span>
    <span class="when">{updated}<small>created {created}</small></span>
  </a>
  {person}{snippets}
</li>
"""
AGAIN = mark_safe(' hx-swap-oob="outerMorph"')
UNFINISHED = ' data-runs="{}"'
KEY = ' <span class="key" dir="auto">{}</span>'
PERSON = '<a class="person" href="{}?{}" title="All conversations of {}">{}</a>'
EVALUATION = mark_safe(' <span class="pill">evaluation</span>')
NO_MESSAGES = mark_safe("<i>No messages</i>")
EMPTY_MESSAGE = "(empty message)"
ONE_MESSAGE = '<span dir="auto">{}</span>'
FIRST_AND_LAST = '<span dir="auto">{}</span><span class="latest" dir="auto">{}</span>'
NEWEST_PROBLEM = '<span class="newest-problem" dir="auto">{}</span>'
SNIPPET = '<li><a href="{}"><span class="label">{}</span> <span dir="auto">{}</span></a></li>'
LABEL_LENGTH = 60
FILE_LINK = '<a href="{}export/{}.{}{}" aria-label="{} as {}"{}>{}</a>'
# (ending, separator, what it is, what is shown)
FILE_FORMS = (
    ("xlsx", "", "XLSX", "XLSX"),
    ("csv", "", "CSV", "CSV"),
    ("csv", "semicolon", "CSV with semicolons", "CSV (;)"),
    ("csv", "tab", "CSV with tabs", "CSV (tab)"),
    ("jsonl", "", "JSON Lines", "JSON Lines"),
)
WORKBOOK = mark_safe(" data-workbook")


# Django's format_html() and format_html_join() look for lazy texts in each value first, which takes
# most of a row's time.


def filled(template, *args, **kwargs):
    named = {name: escaped(value) for name, value in kwargs.items()}
    return SafeString(template.format(*map(escaped, args), **named))


def joined(between, template, rows):
    return SafeString(between.join(filled(template, *row) for row in rows))


def escaped(value):
    return value if value == "" or isinstance(value, SafeString) else escape(str(value))


@register.simple_tag
def conversation_row(row, list_url, place, again=False, problem=""):
    """
    One of summaries(), with its newest problem, outcome, snippets and unfinished runs. `place` is
    the list's query, `problem` its filter; `again`: for a page that shows the row already.
    """
    words = row.newest_problem
    return filled(
        ROW,
        again=AGAIN if again else "",
        unfinished=filled(UNFINISHED, json.dumps(row.unfinished)) if row.unfinished else "",
        status=row.status or "none",
        list_url=list_url,
        id=row.pk,
        query=f"?{place}" if place else "",
        place_in_page="#problem" if problem else "",
        agent=row.agent_label,
        key=filled(KEY, row.external_id) if row.external_id else "",
        evaluation=EVALUATION if row.is_evaluation else "",
        said=said(row),
        newest_problem=filled(NEWEST_PROBLEM, words) if words else "",
        outcome=outcome_pill(row.outcome) if row.problems and row.outcome else "",
        status_pill=status_pill(row.status),
        problems=joined("", "{}", map(problem_pill, row.problems_besides_status)),
        runs=count(row.runs_count, "run"),
        tasks=count(row.tasks_count, "task"),
        messages=count(row.messages_count, "message"),
        errors=count(row.errors_count, "error"),
        tokens=tokens(row.tokens_count) if row.tokens_count else "",
        updated=ago(row.updated_at),
        created=ago(row.created_at),
        person=person(row, list_url),
        snippets=snippets(row.snippets) if row.snippets else "",
    )


# Most rows hold the same few pieces.


@cache
def status_pill(status):
    html = '<span class="pill {}" title="{}">{}</span>'
    return filled(html, status or "none", status_hint(status), status_label(status))


@cache
def outcome_pill(outcome):
    html = '<b class="got {}" title="What the customer got">{}</b> '
    return filled(html, outcome.name, outcome.label)


@lru_cache
def problem_pill(problem):
    """The arguments of joined() for one problem."""
    return (filled(' <span class="pill problem">{}</span>', problem_text(problem)),)


@lru_cache
def count(number, noun):
    """<b>14</b> tasks"""
    bad = mark_safe(' class="bad"') if noun == "error" and number else ""
    return filled("<span{}><b>{}</b> {}{}</span>", bad, number, noun, pluralize(number))


def tokens(number):
    # Not kept like the counts: most rows differ. A number needs no escaping.
    return SafeString(f" <span><b>{number:,}</b> token{pluralize(number)}</span>")


def said(row):
    """The first message, and the last one if there are more."""
    if row.first_message is None:
        return NO_MESSAGES
    first = row.first_message or EMPTY_MESSAGE
    if row.messages_count < 2:
        return filled(ONE_MESSAGE, first)
    return filled(FIRST_AND_LAST, first, row.last_message or EMPTY_MESSAGE)


def person(row, list_url):
    query = row.person_query
    shown = truncatechars(row.external_id, LABEL_LENGTH) if query else ""
    return filled(PERSON, list_url, query, shown, icon("user")) if query else ""


def snippets(found):
    return filled(
        '<ul class="snippets">{}</ul>',
        joined(
            "",
            SNIPPET,
            ((each.url, truncatechars(each.label, LABEL_LENGTH), each.html) for each in found),
        ),
    )


@register.simple_tag
def export_links(list_url, query, file, label, payloads=False):
    """A file of the list in each of its forms."""
    links = []
    for ending, separator, what, shown in FILE_FORMS:
        parts = [query, "payloads=1" if payloads else "", separator and f"separator={separator}"]
        asked = "&".join(filter(None, parts))
        more = filled(' title="{}"', what) if separator else WORKBOOK if ending == "xlsx" else ""
        asked = f"?{asked}" if asked else ""
        links.append((list_url, file, ending, asked, label, what, more, shown))
    return joined("\n  ", FILE_LINK, links)
