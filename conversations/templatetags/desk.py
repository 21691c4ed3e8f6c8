"""Template tags and filters for times, durations, statuses, problems and icons."""

from datetime import timedelta
from functools import cache, lru_cache

from django import template
from django.contrib.humanize.templatetags.humanize import intcomma
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html

from backoffice.words import (
    at,
    counted,
    day,
    dollars,
    elapsed_words,
    exact,
    external_id_label,
    seconds,
    time_element,
)

from ..display.marks import as_plain_text
from ..display.message_text import message_text
from ..problems import kinds

register = template.Library()
register.simple_tag(at)
register.simple_tag(day)
register.simple_tag(message_text)
register.simple_tag(external_id_label)
register.filter(seconds)
register.filter("marked", as_plain_text)

NODE_ICONS = {
    "agent": "bot",
    "llm": "sparkles",
    "model call": "sparkles",
    "tool_call": "wrench",
    "switch": "git-branch",
    "if": "git-branch",
    "parallel": "split",
    "function": "wrench",
    "rag_query": "search",
    "start": "play",
    "end": "flag",
}
MINUTE = timedelta(minutes=1)
ROLE_ICONS = {"user": "user", "assistant": "bot"}


@register.simple_tag
def ago(moment):
    """The relative time, such as "5 minutes ago", with the exact time and its zone in the title."""
    elapsed = timezone.now() - moment
    if elapsed < -MINUTE:
        words = exact(moment)
    elif elapsed < MINUTE:
        words = "just now"
    else:
        words = f"{elapsed_words(elapsed)} ago"
    return time_element(moment, words)


@register.simple_tag
@cache
def icon(name):
    return format_html(
        '<svg class="icon" aria-hidden="true"><use href="{}#{}"/></svg>',
        static("vendor/lucide/icons.svg"),
        name,
    )


@register.simple_tag
@lru_cache(1000)
def rendered_once(template_name, **context):
    """
    A template that shows nothing but its arguments, so each process renders it once for each set of
    them. For parts of every page, which took a tenth of a small page's time.
    """
    return render_to_string(template_name, context)


@register.simple_tag
def node_icon(node_type):
    return icon(NODE_ICONS.get(node_type, "circle-dot"))


@register.simple_tag
def role_icon(role):
    return icon(ROLE_ICONS.get(role, "info"))


@register.filter
def count_of(number, noun):
    """1,204 tokens (with no line break in between)"""
    return counted(number, noun).replace(" ", "\xa0")


@register.filter
def run_line(run):
    """7 tasks · 4.2 s · 2 model calls · 1,204 tokens · 1 problem"""
    parts = [count_of(run.tasks_count, "task")]
    if run.duration_seconds is not None:
        parts.append(seconds(run.duration_seconds).replace(" ", "\xa0"))
    if run.model_calls_count:
        parts.append(count_of(run.model_calls_count, "model call"))
    if run.tokens_count:
        parts.append(count_of(run.tokens_count, "token"))
    problems = sum(count for _, count in run.problems)
    problems += run.status not in ("completed", "running")
    if problems:
        parts.append(count_of(problems, "problem"))
    return " · ".join(parts)


@register.filter
def token_line(tokens):
    """2,941 tokens: 949 input (800 cached), 1,992 output (1,939 reasoning)"""
    if not tokens.total:
        return ""
    parts = [
        f"{intcomma(number)} {name}" + (f" ({intcomma(part)} {noun})" if part else "")
        for number, name, part, noun in (
            (tokens.input, "input", tokens.cached, "cached"),
            (tokens.output, "output", tokens.reasoning, "reasoning"),
        )
        if number is not None
    ]
    line = counted(tokens.total, "token")
    return f"{line}: {', '.join(parts)}" if parts else line


@register.filter
def cost_words(cost):
    """A prices.Cost or None as "$0.0053", "at least $0.0053" or "cost n/a"."""
    if cost is None or not cost.is_known:
        return "cost n/a"
    return f"at least {dollars(cost.amount)}" if cost.at_least else dollars(cost.amount)


@register.filter
def gap_words(gap):
    return elapsed_words(gap)


@register.filter
def status_label(status):
    if found := status_kind(status):
        return found.label
    return "No runs" if status is None else status.capitalize()


@register.filter
def status_hint(status):
    found = status_kind(status)
    return found.hint if found else ""


@register.filter
def status_kind(status) -> kinds.Status | None:
    """The label and hint for a run that is not completed."""
    return next((kind.status for kind in kinds.KINDS if kind.name == status), None)


@register.filter
def problem_text(problem):
    """("tool_error", 2) as "2 tool calls failed"."""
    kind, count = problem
    return kinds.named(kind).counted(count)
