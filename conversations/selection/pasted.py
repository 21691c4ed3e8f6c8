"""Extracts ids from pasted text, without what was copied along with them."""

import re
import uuid
from contextlib import suppress
from urllib.parse import unquote_plus

from ..agentdb.normal_form import normalised

UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# The last id in a path: in an address of this site or, with messages or runs in it, of another.
ADDRESS = re.compile(rf"\S*/({UUID})(?![^/?#\s])", re.IGNORECASE)
NAME = re.compile(r"(?:[a-z]{1,20}[ _-]?)?id[\"'`]?\s*[=:]\s*|mailto:|tel:", re.IGNORECASE)
# The same in a query string, for example of the list with a filter.
PARAMETER = re.compile(r"[?&](?:[a-z]{1,20}[_-]?)?id=([^&#\s]+)", re.IGNORECASE)
QUOTES = "\"'`´“”„‟‘’‚‛«»‹›*_ \t\r\n\u00a0\u200b\ufeff"
BEFORE = QUOTES + "<([{#"
AFTER = QUOTES + ">)]}.,;:!?…"
# What some programs put in place of a hyphen.
HYPHENS = dict.fromkeys(map(ord, "‐‑‒–—−"), "-")


def spellings(text: str) -> list[str]:
    """
    What may be meant: the text itself, then without what surrounds an id. None of them is blank, so
    there are none if the text is.
    """
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
    by_form = {normalised(each).strip(): each for each in reversed(found)}
    return [each for form, each in by_form.items() if form][::-1]


def ids(text: str) -> list[uuid.UUID]:
    """The UUIDs among the spellings; if there are none, the only UUID inside the text."""
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
