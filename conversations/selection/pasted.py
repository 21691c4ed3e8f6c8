"""Ids as people paste them: with the dirt of where they were copied from."""

import re
import uuid
from contextlib import suppress
from urllib.parse import unquote_plus

from ..agentdb.normal_form import normalised

UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# The last id in a path: of an address of this site or, with its messages or runs, of another.
ADDRESS = re.compile(rf"\S*/({UUID})(?![^/?#\s])", re.IGNORECASE)
NAME = re.compile(r"(?:[a-z]{1,20}[ _-]?)?id[\"'`]?\s*[=:]\s*|mailto:|tel:", re.IGNORECASE)
# The same in an address: of the list under a filter, say.
PARAMETER = re.compile(r"[?&](?:[a-z]{1,20}[_-]?)?id=([^&#\s]+)", re.IGNORECASE)
QUOTES = "\"'`´“”„‟‘’‚‛«»‹›*_ \t\r\n\u00a0\u200b\ufeff"
BEFORE = QUOTES + "<([{#"
AFTER = QUOTES + ">)]}.,;:!?…"
# As programs that correct what people write put them for a hyphen.
HYPHENS = dict.fromkeys(map(ord, "‐‑‒–—−"), "-")


def spellings(text: str) -> list[str]:
    """What may be meant: the text itself, then without what is around an id. At least one."""
    found = [text.strip()]
    clean = text.lstrip(BEFORE).rstrip(AFTER)
    found.append(clean)
    if address := ADDRESS.match(clean.partition("?")[0].partition("#")[0]):
        found.append(address[1])
    elif parameter := PARAMETER.search(clean):
        found.append(unquote_plus(parameter[1]).replace("\0", ""))
    elif named := NAME.match(clean):
        found.append(clean[named.end() :].partition("&")[0].lstrip(BEFORE))
    found.append(found[-1].translate(HYPHENS))
    return [*{normalised(each): each for each in reversed(found) if each}.values()][::-1] or [""]


def ids(text: str) -> list[uuid.UUID]:
    """The uuids among the spellings, and the only one that the text holds."""
    found = []
    for spelling in spellings(text):
        with suppress(ValueError):
            found.append(uuid.UUID(normalised(spelling).strip()))
    held = set(
        re.findall(rf"(?<![0-9a-f-]){UUID}(?![0-9a-f-])", normalised(text.translate(HYPHENS)))
    )
    if len(held) == 1 and not found:
        found.append(uuid.UUID(held.pop()))
    return list(dict.fromkeys(found))
