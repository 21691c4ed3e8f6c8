"""Text as safe HTML, with the words of a search in <mark>."""

import re
from html import escape, unescape

from django.utils.safestring import SafeString, mark_safe


def as_plain_text(content: str, term: str = "") -> SafeString:
    """The text itself, with the term marked."""
    return mark_safe(marked_text(content, term))  # noqa: S308


def marked(html: str, term: str) -> str:
    """The HTML with the term in <mark>, never inside a tag."""
    if not term.strip():
        return html
    parts = re.split(r"(<[^>]*>)", html)
    # Match the text, not its entities.
    parts[::2] = (marked_text(unescape(part), term) for part in parts[::2])
    return "".join(parts)


def marked_text(text: str, term: str) -> str:
    """The text as HTML with the term in <mark>."""
    if not term.strip():
        return escape(text)
    pieces = re.split(f"({re.escape(term)})", text, flags=re.IGNORECASE)
    pieces[::2] = map(escape, pieces[::2])
    pieces[1::2] = (f"<mark>{escape(piece)}</mark>" for piece in pieces[1::2])
    return "".join(pieces)
