"""A user limited to one of two agents, and checks that nothing is revealed about the other."""

import uuid
from itertools import zip_longest

from django.contrib.auth.models import Group

from accounts.models import AgentLimit
from conversations.models import Agent, ChatMessage, ModelCall, Run, Session, Task

from .factories import make_message, make_session
from .listing import TYPING
from .pages import HTMX, VARIES, body
from .planting import plant_everywhere
from .signing_in import let_in, make_user

WORD = "canary"
# A word that only the other agent's rows contain, and one of the same length that no row contains.
SECRET, NO_WORD = "kingfisher", "kingfishes"
THEIRS, OURS = f"{WORD} {SECRET}", f"{WORD} sparrow"
# The headers that could reveal something. All others are the same on every page.
TELLING = ("Content-Type", "Content-Disposition", "Location", "HX-Redirect", "HX-Push-Url")


class Side:
    """The rows of one agent's conversations."""

    def __init__(self, text):
        document = {"text": text, text: "key", "deep": [{"words": text}]}
        self.session = plant_everywhere(text, document)
        self.agent = self.session.agent_id
        shared = make_session(type("Row", (), {"id": self.agent}), external_id="shared")
        make_message(shared, content=text)
        sessions = Session.objects.filter(agent_id=self.agent).values("pk")
        self.rows = {Agent: [self.agent], Session: [row["pk"] for row in sessions]}
        for model in (Run, Task, ChatMessage, ModelCall):
            rows = model.objects.filter(session_id__in=sessions).values_list("session_id", "pk")
            # Rows of the conversation that named() returns come first.
            own_first = sorted(rows, key=lambda row: row[0] != self.session.id)
            self.rows[model] = [pk for _, pk in own_first]
        self.ids = {str(pk) for pks in self.rows.values() for pk in pks}

    def named(self, model):
        return self.session.id if model is Session else self.rows[model][0]


def let_in_limited(client, role, agents):
    group = Group.objects.create(name="Certain agents")
    AgentLimit.objects.create(group=group, agents=agents)
    user = make_user("limited", role)
    user.groups.add(group)
    let_in(client, user)
    client.role = role
    return client


# Answers


def answer(client, method, url, data=None, headers=None) -> tuple:
    response = getattr(client, method)(url, data or {}, headers=headers or {})
    telling = {key: value for key, value in response.headers.items() if key in TELLING}
    return response.status_code, plain(str(telling)), plain(body(response))


def plain(text: str) -> str:
    return VARIES.sub("", text)


def without(answered: tuple, *names: str) -> tuple:
    def cleared(text):
        for name in sorted(names, key=len, reverse=True):
            # To confirm an erasure, one types the beginning of an id.
            text = text.replace(name, "…").replace(f"erase {name[:8]}", "erase …")
        return text

    return answered[0], cleared(answered[1]), cleared(answered[2])


def both_ways(client, url):
    """Yields the answer as a page and, if the address has any, as fragments."""
    has_none = "/export/" in url or url.startswith("/admin/")
    fragments = () if has_none else (HTMX, TYPING)
    for headers in ({}, *fragments):
        yield answer(client, "get", url, headers=headers)


def assert_tells_nothing(client, theirs: Side, url: str) -> list[tuple]:
    """Check that no answer reveals anything about `theirs`; return the answers of both_ways()."""
    asked = url.replace("+", " ")
    answers = list(both_ways(client, url))
    for status, headers, text in answers:
        assert status < 500, url
        assert SECRET in asked or SECRET not in headers + text, url
        revealed = {pk for pk in theirs.ids if pk in headers + text and pk not in url}
        assert not revealed, url
    return answers


def assert_as_if_it_did_not_exist(client, theirs: Side, method, url, data=None, known=()):
    """
    Check that the answer is the same as for ids and a word that do not exist. `known` has answers
    of both_ways() for this address, which need not be requested again.
    """
    found = {pk: str(uuid.uuid4()) for pk in theirs.ids if pk in url + str(data)}
    words = {SECRET: NO_WORD} if SECRET in url else {}
    assert found or words
    other_url, other_data = url, dict(data or {})
    for name, other in (found | words).items():
        other_url = other_url.replace(name, other)
        other_data = {
            key: value.replace(name, other).replace(name[:8], other[:8])
            for key, value in other_data.items()
        }
    for headers, one in zip_longest(({}, HTMX) if method == "get" else ({},), known[:2]):
        one = one or answer(client, method, url, data, headers)
        other = answer(client, method, other_url, other_data, headers)
        assert without(one, *found, *words) == without(other, *found.values(), *words.values()), (
            method,
            url,
        )
    return one
