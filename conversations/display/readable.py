"""
Messages as people read them. The runtime writes a workflow's output as JSON with ASCII letters
alone, so that "tühistatud" is stored as "t\\u00fchistatud".
"""

import json
import re

# A pair is one character beyond the first 65,536.
ESCAPED = re.compile(
    r"(?<!\\)((?:\\\\)*)(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4})"
)


def readable(content: str) -> str:
    """The message with the letters that its JSON spells out, perhaps cut off; else unchanged."""
    if "\\u" not in content or not content.lstrip().startswith(("{", "[", '"')):
        return content
    return ESCAPED.sub(lambda found: found[1] + letter(found[2]), content)


def letter(escape: str) -> str:
    """The character of an escape; the escape itself where JSON needs it."""
    character = json.loads(f'"{escape}"')
    return character if character.isprintable() and not character.isascii() else escape
