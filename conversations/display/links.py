"""Finds addresses in a text that become links: http, https and explicit mailto."""

import re
from collections.abc import Iterator
from html import escape
from types import SimpleNamespace

from django.utils.safestring import SafeString, mark_safe

from .marks import marked

# Characters that end an address: white space, quotes, Chinese and Japanese punctuation, and
# characters that are invisible or change the direction of text.
OUTSIDE = (
    r"\s<>\"\x00-\x20\x7f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff«»“”„‟"
    r"。，、；：！？「」『』【】《》〈〉（）"
)
# What shows that it is part of something else: a word, another scheme, an HTML attribute's value.
PART_OF = r"""[A-Za-z0-9\x00-\x08\x0e-\x1f]|="|='|blob:|view-source:|filesystem:"""
NO_PART = "".join(f"(?<!{each})" for each in PART_OF.split("|"))
ADDRESS = re.compile(
    rf"{NO_PART}(?:https?://(?=[\w\[])|mailto:(?=[^{OUTSIDE}@]++@\w))[^{OUTSIDE}]++",
    re.IGNORECASE,
)
# Punctuation at the end belongs to the sentence, and so does a bracket that was opened outside.
PUNCTUATION = frozenset(".,;:!?'*_~|`’‘…")
OPENING = {")": "(", "]": "[", "}": "{"}
ATTRIBUTES = 'target="_blank" rel="noopener noreferrer nofollow"'


def length(address: str) -> int:
    """How much of what looks like an address really is one."""
    closing = {each: address.count(each) - address.count(OPENING[each]) for each in OPENING}
    end = len(address)
    while end and (last := address[end - 1]):
        if last in PUNCTUATION:
            end -= 1
        elif closing.get(last, 0) > 0:
            closing[last] -= 1
            end -= 1
        else:
            break
    return end


def addresses(text: str) -> Iterator[tuple[int, int]]:
    """The (start, end) of each address."""
    for found in ADDRESS.finditer(text):
        yield found.start(), found.start() + length(found[0])


def as_typed(text: str, term: str = "", *, is_cut: bool = False) -> SafeString:
    """
    The text exactly as written, with its addresses as links and the search term marked. An address
    at the end of a text that was cut is incomplete, so it is not a link.
    """
    pieces, done = [], 0
    for start, end in addresses(text):
        if is_cut and end == len(text):
            break
        address = escape(text[start:end])
        pieces += [
            escape(text[done:start]),
            f'<a href="{address}" {ATTRIBUTES}>{address}</a>',
        ]
        done = end
    pieces.append(escape(text[done:]))
    return mark_safe(marked("".join(pieces), term))  # noqa: S308


class Linkify:
    """Does for markdown-it's rule "linkify" what the package linkify-it-py usually does."""

    def pretest(self, text: str) -> bool:
        return "://" in text or "mailto:" in text.lower()

    def test(self, text: str) -> bool:
        return ADDRESS.search(text) is not None

    def match(self, text: str) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(
                url=text[start:end],
                text=text[start:end],
                schema=text[start:end].partition(":")[0],
                index=start,
                last_index=end,
            )
            for start, end in addresses(text)
        ]
