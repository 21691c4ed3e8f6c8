"""Ids as people paste them: with the dirt of where they were copied from."""

import re
import uuid
from contextlib import suppress

from ..agentdb.normal_form import normalised

# The last id in a path: of an address of this site or, with its messages or runs, of another.
ADDRESS = re.compile(
    r"\S*/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?![^/?#\s])", re.IGNORECASE
)
NAME = re.compile(r"(?:[a-z]{1,20}[ _-]?)?id[\"'`]?\s*[=:]\s*", re.IGNORECASE)
QUOTES = "\"'`´“”„‟‘’‚‛«»‹›*_ \t\r\n\u00a0\u200b\ufeff"
BEFORE = QUOTES + "<([{#"
AFTER = QUOTES + ">)]}.,;:!?…"


def spellings(text: str) -> list[str]:
    """What may be meant: the text itself, then without what is around an id. At least one."""
    found = [text.strip()]
    clean = text.lstrip(BEFORE).rstrip(AFTER)
    found.append(clean)
    if named := NAME.match(clean):
        found.append(clean[named.end() :].lstrip(BEFORE))
    if address := ADDRESS.match(clean.partition("?")[0].partition("#")[0]):
        found.append(address[1])
    return [*{normalised(each): each for each in reversed(found) if each}.values()][::-1] or [""]


def ids(text: str) -> list[uuid.UUID]:
    """The uuids among the spellings."""
    found = []
    for spelling in spellings(text):
        with suppress(ValueError):
            found.append(uuid.UUID(spelling))
    return list(dict.fromkeys(found))
