"""
Messages as people read them. The runtime writes a workflow's output as JSON in ASCII, so
"tühistatud" is stored as "t\\u00fchistatud".
"""

import json
import re
from unicodedata import category

from backoffice import json_text
from privacy import masking
from privacy.personal_data import mask

from .parts import parts

# A surrogate pair is one character beyond the first 65,536.
ESCAPED = re.compile(
    r"(?<!\\)((?:\\\\)*)(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4})"
)
# What a cut may leave of an escape, or of the second half of a pair.
SPLIT = re.compile(
    r"(?<!\\)((?:\\\\)*)(?:\\u[dD][89abAB][0-9a-fA-F]{2})?(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z"
)
AGENT = "assistant"
# JSON in messages with these roles was written by a program, not typed by a person.
PROGRAMS = (AGENT, "system", "developer", "tool", "function")
TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def readable(content: str, role: str = AGENT) -> str:
    """
    The message (perhaps cut off) as people read it: the text of its parts with a note about the
    others, or a program's JSON with its escaped letters decoded; else unchanged.
    """
    if content.lstrip()[:1] not in ("{", "[", '"'):
        return content
    if found := parts(content):
        return str(found)
    if "\\" not in content:
        return content
    return letters(content) if spells_letters(content, role) else content


def spells_letters(content: str, role: str) -> bool:
    """Whether this message (perhaps cut off) is a program's JSON. People's JSON stays as typed."""
    return role in PROGRAMS and json_text.is_beginning(content)


def letters(json_source: str) -> str:
    """A piece of JSON with its escaped letters decoded; it may be cut off within an escape."""
    if "\\" not in json_source:
        return json_source
    return ESCAPED.sub(lambda found: found[1] + letter(found[2]), SPLIT.sub(r"\1", json_source))


def letter(escape: str) -> str:
    """The escaped character; the escape itself if JSON needs it or the character is invisible."""
    character = json.loads(f'"{escape}"')
    hidden = category(character) in ("Cc", "Cs", "Zl", "Zp") or character in TURNING
    return escape if character in '"\\' or hidden else character


def shown(text, length: int | None = None, role: str = AGENT, *, cut_start: bool = False):
    """
    A text from the agent database as people read it, masked; `length` is what SQL cut it to.
    Escaped letters are decoded first, because they would hide personal data.
    """
    source = masking.raw(text)
    words = readable(source, role) if source else source
    if words == source:
        return text if length is None else masking.cut(text, length, cut_start=cut_start)
    if not masking.is_active():
        return words
    is_cut = length is not None and len(source) >= length
    return masking.Masked.of(mask(words, cut_start, is_cut), source)
