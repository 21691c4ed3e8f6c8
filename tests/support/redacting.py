"""Redacting as a person does: first a preview, then the typed word."""

import re

PREVIEWED = re.compile(r'name="previewed" value="(\w+)"')


def confirmed(client, path: str, data: dict) -> dict:
    """What the page sends with the button Redact, after it has previewed the same."""
    page = client.post(path, data).content.decode()
    found = PREVIEWED.search(page)
    return data | {
        "previewed": found[1] if found else "",
        "confirmation": "redact",
        "confirm": "",
    }


def redact(client, path: str, data: dict, **options):
    return client.post(path, confirmed(client, path, data), **options)
