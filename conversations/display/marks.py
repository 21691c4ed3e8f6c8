"""Text as safe HTML, with the words of a search in <mark>."""

import re
from html import escape, unescape

from django.utils.safestring import SafeString, mark_safe

from ..agentdb.normal_form import spans
from ..agentdb.search_terms import terms, whole


def as_plain_text(content: str, term: str = "") -> SafeString:
    """The text itself, with what was searched for marked."""
    return mark_safe(marked_text(content, term))  # noqa: S308


def marked(html: str, term: str) -> str:
    """The HTML with what was searched for in <mark>, never inside a tag."""
    if not term.strip():
        return html
    parts = re.split(r"(<[^>]*>)", html)
    # Match the text, not its entities.
    parts[::2] = (marked_text(unescape(part), term) for part in parts[::2])
    return "".join(parts)


def marked_text(text: str, term: str) -> str:
    """The text as HTML with the words of `term` in <mark>, whatever their spelling in the text."""
    pieces, done = [], 0
    # Words that stand side by side as typed are one mark.
    for start, end in spans(text, [*terms(term), whole(term)] if term else ()):
        pieces += [escape(text[done:start]), f"<mark>{escape(text[start:end])}</mark>"]
        done = end
    return "".join([*pieces, escape(text[done:])])
