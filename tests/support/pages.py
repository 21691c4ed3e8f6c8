"""A page as tests ask for it and read it."""

import re

from django.urls import reverse

LIST = "/conversations/"
HTMX = {"HX-Request": "true"}


def url(name, *args):
    return reverse(f"conversations:{name}", args=args)


def get(client, path=LIST, headers=None, status=200, **parameters):
    response = client.get(path, parameters, headers=headers or {})
    assert response.status_code == status
    return response


def words(html: str) -> str:
    """What is between the tags, but for titles."""
    return " ".join(re.sub(r"<title>.*?</title>|<[^>]+>", " ", html, flags=re.DOTALL).split())


def text(response) -> str:
    return words(response.content.decode())
