"""
Turns agents' Markdown into plain text on one line, for previews and excerpts of messages.

Uses a few patterns instead of the parser, which takes fifty times as long: a page has hundreds of
these texts, and each may be cut off anywhere.
"""

import re

from privacy import masking
from privacy.personal_data import mask

# A text without any of these has no Markdown signs.
SIGNS = re.compile(r"[*`#~\[]|[-=|]{3}")
FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^`\n]*$", re.MULTILINE)
# The line under a heading, between sections, or under the header of a table.
RULE = re.compile(r"^[ \t|:=*_-]{3,}$", re.MULTILINE)
HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+", re.MULTILINE)
BULLET = re.compile(r"^[ \t]*\*[ \t]+", re.MULTILINE)
# Only what the conversation's page shows as a link. In a text that was cut, its end may be missing.
LINK = re.compile(
    r"!?\[([^\[\]\n]+)\]"
    r"\((?:https?://|mailto:|tel:)(?:[^\s()]|\([^\s()]*\))*(?: \"[^\"\n]*\")?(?:\)|\Z)",
    re.IGNORECASE,
)
# But not multiplication, as in 2**3 and 4 * 5.
EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*\n]*[^\s*])\1(?![\w*])")
STRIKETHROUGH = re.compile(r"~~(?=[^\s~])([^~\n]*[^\s~])~~")
# One sign of a pair that was cut apart.
OPENING = re.compile(r"(?<!\S)\*{2,3}(?=\w)")
CLOSING = re.compile(r"(?<=[\w.!?:,;)])\*{2,3}(?=[\s.!?:,;)]|\Z)")
# Not inside a word, where some people use it as an apostrophe.
BACKTICK = re.compile(r"(?<!\w)`+|`+(?!\w)")


def without_markdown(text: str) -> str:
    """The text without Markdown signs; the text itself if it consists of nothing else."""
    if not SIGNS.search(text):
        return text
    plain = text
    for pattern in (FENCE, RULE, HEADING):
        plain = pattern.sub("", plain)
    plain = BULLET.sub("• ", plain)
    plain = LINK.sub(r"\1", plain)
    # Twice, because emphasis may be nested: the inner one goes first.
    for _ in range(2):
        plain = EMPHASIS.sub(r"\2", plain)
    plain = STRIKETHROUGH.sub(r"\1", plain)
    for pattern in (OPENING, CLOSING, BACKTICK):
        plain = pattern.sub("", plain)
    if plain == text or not plain.strip():
        return text
    # Joined again, the words between the signs may be personal data.
    return mask(plain) if masking.is_active() else plain
