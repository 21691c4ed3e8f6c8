"""
The HTML of a row in the list of conversations, and the links to export files.

This is Python, since a template takes four times as long for fifty rows.
"""

import json
from functools import cache, lru_cache
from html import escape

from django import template
from django.template.defaultfilters import pluralize, truncatechars
from django.utils.safestring import SafeString, mark_safe

from ..problems import kinds
from .desk import ago, icon, problem_text, status_hint, status_label

register = template.Library()

ROW = """<li id="row-{id}"{again}{unfinished}>
  <a class="row {status}" href="{list_url}{id}/{query}{place_in_page}">
    <span class="who"><b dir="auto">{agent}</b>{key}{evaluation}</span>
    <span class="said">{said}</span>
    {newest_problem}
    {state}
    <span class="counts">{counts}</span>
    <span class="when">{updated}<small>created {created}</small></span>
  </a>
  {person}{snippets}
</li>
"""
STATE = '<span class="state">{}</span>'
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
# (file ending, separator, full name, link text)
FILE_FORMS = (
    ("xlsx", "", "XLSX", "XLSX"),
    ("csv", "", "CSV", "CSV"),
    ("csv", "semicolon", "CSV with semicolons", "CSV (;)"),
    ("csv", "tab", "CSV with tabs", "CSV (tab)"),
    ("jsonl", "", "JSON Lines", "JSON Lines"),
)
WORKBOOK = mark_safe(" data-workbook")


# These stand in for Django's format_html() and format_html_join(), which first check each value for
# lazy text. That would take most of a row's time.


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
    A row for one of summaries(), with its newest problem, outcome, snippets and unfinished runs.
    `place` is the list's query and `problem` its filter. `again` replaces the row on an open page.
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
        state=state(row),
        counts=counts(row),
        updated=ago(row.updated_at),
        created=ago(row.created_at),
        person=person(row, list_url),
        snippets=snippets(row.snippets),
    )


def state(row):
    """What the customer got and what went wrong, or that a run goes on. Empty if all is well."""
    if row.problems:
        outcome = outcome_pill(row.outcome) if row.outcome else ""
        return filled(STATE, joined("", "{}", [(outcome,), *map(problem_pill, row.problems)]))
    return running_pill() if row.status == kinds.RUNNING.name else ""


def counts(row):
    found = (
        (row.runs_count, "run"),
        (row.tasks_count, "task"),
        (row.messages_count, "message"),
    )
    pieces = [count(number, noun) for number, noun in found if number]
    if row.tokens_count:
        pieces.append(tokens(row.tokens_count))
    return SafeString(" ".join(pieces))


# The functions below cache their HTML, since most rows have the same few pieces.


@cache
def running_pill():
    name = kinds.RUNNING.name
    html = '<span class="pill {}" title="{}">{}</span>'
    return filled(STATE, filled(html, name, status_hint(name), status_label(name)))


@cache
def outcome_pill(outcome):
    html = '<b class="got {}" title="What the customer got">{}</b>'
    return filled(html, outcome.name, outcome.label)


@lru_cache
def problem_pill(problem):
    """The HTML of one problem, as a row for joined()."""
    pill = kinds.named(problem[0]).pill
    return (filled(' <span class="pill {}">{}</span>', pill, problem_text(problem)),)


@lru_cache
def count(number, noun):
    """<b>14</b> tasks"""
    return filled("<span><b>{}</b>\N{NO-BREAK SPACE}{}{}</span>", number, noun, pluralize(number))


def tokens(number):
    # Not cached, since these numbers differ in most rows. A number needs no escaping.
    return SafeString(f"<span><b>{number:,}</b>\N{NO-BREAK SPACE}token{pluralize(number)}</span>")


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
    return filled(PERSON, list_url, query, short(row.external_id), icon("user")) if query else ""


def short(text):
    # truncatechars() takes as long as the rest of the link, also for what is short enough.
    return text if len(text) <= LABEL_LENGTH else truncatechars(text, LABEL_LENGTH)


def snippets(found):
    links = [(each.url, short(each.label), each.html) for each in found if not each.is_repeated]
    return filled('<ul class="snippets">{}</ul>', joined("", SNIPPET, links)) if links else ""


@register.simple_tag
def export_links(list_url, query, file, label, payloads=False):
    """Links to one of the list's export files in each format."""
    links = []
    for ending, separator, what, shown in FILE_FORMS:
        parts = [query, "payloads=1" if payloads else "", separator and f"separator={separator}"]
        parameters = "&".join(filter(None, parts))
        extra = filled(' title="{}"', what) if separator else WORKBOOK if ending == "xlsx" else ""
        parameters = f"?{parameters}" if parameters else ""
        links.append((list_url, file, ending, parameters, label, what, extra, shown))
    return joined("\n  ", FILE_LINK, links)
