"""The links in the bar. Each process renders them once for all users who get the same ones."""

import re

import pytest
from django.test import Client

from ..support.pages import get
from ..support.signing_in import LOGIN, make_user

pytestmark = pytest.mark.django_db

READING = [
    "Home",
    "Conversations",
    "Errors",
    "Agents",
    "Slow and failing",
    "Monitor",
    "Model calls",
]
LINK = re.compile(r"<a [^>]*>([\w ]+)</a>")


def navigation(client, path="/accounts/") -> list[str]:
    found = re.search(
        r'<nav aria-label="Main">(.*?)</nav>', get(client, path).content.decode(), re.S
    )
    return LINK.findall(found[1]) if found else []


def signed_in(name, group):
    client = Client()
    client.force_login(make_user(name, group))
    return client


def test_each_user_gets_the_links_they_may_open_whoever_came_before():
    support, admin = signed_in("support", "Support"), signed_in("admin", "Admin")
    nobody = signed_in("nobody", None)
    for _ in range(2):
        assert navigation(support) == READING
        assert navigation(nobody) == []
        assert navigation(admin) == [*READING, "Admin"]
        assert navigation(Client(), LOGIN) == []


def test_only_the_open_page_is_marked(support_client):
    for path, name in [("/conversations/", "Conversations"), ("/monitor/", "Monitor")]:
        bar = get(support_client, path).content.decode().partition("</nav>")[0]
        assert re.findall(r'aria-current="page">([\w ]+)<', bar) == [name]
