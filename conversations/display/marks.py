"""Text as safe HTML, with search hits in <mark>."""

import re
from bisect import bisect_right
from html import escape, unescape
from itertools import islice
from operator import itemgetter

from django.utils.safestring import SafeString, mark_safe

from ..agentdb.normal_form import spans
from ..agentdb.search_terms import terms, whole


def as_plain_text(content: str, term: str = "") -> SafeString:
    """The text itself, with search hits marked."""
    return mark_safe(marked_text(content, term))  # noqa: S308


def marked(html: str, term: str) -> str:
    """The HTML with search hits in <mark>: never inside a tag, but possibly across tags."""
    if not term.strip():
        return html
    parts = re.split(r"(<[^>]*>)", html)
    # Search the text, not its HTML entities.
    texts = [unescape(part) for part in parts[::2]]
    found = hits("".join(texts), term)
    start = 0
    for place, text in enumerate(texts):
        parts[2 * place] = with_marks(text, found, start)
        start += len(text)
    return "".join(parts)


def marked_text(text: str, term: str) -> str:
    """The text as HTML with hits for `term` in <mark>, however they are spelled in the text."""
    return with_marks(text, hits(text, term) if term else [])


def hits(text: str, term: str) -> list[tuple[int, int]]:
    # If the words occur together exactly as typed, they are one hit.
    return spans(text, [*terms(term), whole(term)])


def with_marks(text: str, found: list[tuple[int, int]], offset: int = 0) -> str:
    """The text as HTML with marks; `offset` is its position in the text that `found` refers to."""
    pieces, done = [], 0
    first = bisect_right(found, offset, key=itemgetter(1))
    for start, end in islice(found, first, None):
        start, end = max(start - offset, 0), min(end - offset, len(text))
        if start >= len(text):
            break
        pieces += [escape(text[done:start]), f"<mark>{escape(text[start:end])}</mark>"]
        done = end
    return "".join([*pieces, escape(text[done:])])
