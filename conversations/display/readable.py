"""
Messages as people read them. The runtime writes a workflow's output as JSON with ASCII letters
alone, so that "tühistatud" is stored as "t\\u00fchistatud".
"""

import json
import re
from unicodedata import category

from backoffice import json_text
from privacy import masking
from privacy.personal_data import mask

from .parts import parts

# A pair is one character beyond the first 65,536.
ESCAPED = re.compile(
    r"(?<!\\)((?:\\\\)*)(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4})"
)
# What a cut leaves of an escape, and of the second of a pair.
SPLIT = re.compile(
    r"(?<!\\)((?:\\\\)*)(?:\\u[dD][89abAB][0-9a-fA-F]{2})?(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z"
)
AGENT = "assistant"
# What these roles say in JSON, no person typed.
PROGRAMS = (AGENT, "system", "developer", "tool", "function")
TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def readable(content: str, role: str = AGENT) -> str:
    """
    The message as people read it, perhaps cut off: the text of its parts with a note of the others,
    or a program's JSON with the letters that it spells out; else unchanged.
    """
    if content.lstrip()[:1] not in ("{", "[", '"'):
        return content
    if found := parts(content):
        return str(found)
    if "\\" not in content:
        return content
    return letters(content) if spells_letters(content, role) else content


def spells_letters(content: str, role: str) -> bool:
    """Whether this message, perhaps cut off, is JSON of a program: people's is as they typed it."""
    return role in PROGRAMS and json_text.is_beginning(content)


def letters(json_source: str) -> str:
    """A piece of JSON with the letters that it spells out; its end may be cut within one."""
    if "\\" not in json_source:
        return json_source
    return ESCAPED.sub(lambda found: found[1] + letter(found[2]), SPLIT.sub(r"\1", json_source))


def letter(escape: str) -> str:
    """The character of an escape; the escape itself where JSON needs it or nobody could see it."""
    character = json.loads(f'"{escape}"')
    hidden = category(character) in ("Cc", "Cs", "Zl", "Zp") or character in TURNING
    return escape if character in '"\\' or hidden else character


def shown(text, length: int | None = None, role: str = AGENT, *, cut_start: bool = False):
    """
    A text of the agent database as people read it, masked; `length` is what SQL cut it to. Letters
    that JSON spells out would hide personal data: they are read first.
    """
    source = masking.raw(text)
    words = readable(source, role) if source else source
    if words == source:
        return text if length is None else masking.cut(text, length, cut_start=cut_start)
    if not masking.is_active():
        return words
    is_cut = length is not None and len(source) >= length
    return masking.Masked.of(mask(words, cut_start, is_cut), source)
