"""Every URL pattern of the site as an address of something that is there, found by walking."""

import re
import uuid

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.urls import URLPattern, get_resolver
from django.urls.resolvers import RoutePattern

from audit.models import Act, Entry
from conversations.models import Session
from conversations.selection.pagination import Cursor

from .admin_panel import make_rows

ROLES = ("anonymous", "outsider", "viewer", "support", "admin")
PIECE = re.compile(r"<(?:\w+:)?(\w+)>")
GROUP = re.compile(r"\(\?P<(\w+)>[^)]*\)")
# Of a pattern that knows no better: most pieces are ids of rows.
EXAMPLES = {
    "name": "conversations",
    "form": "csv",
    "kind": "runs",
    "field": "context",
    "app_label": "accounts",
    "url": "nowhere",
    "pk": 1,
    "document": "export",
    "picture": "list.png",
}


def walk(patterns=None, prefix="/", space=""):
    """(name, or "" where there is none; address with its pieces in angle brackets)"""
    for pattern in patterns or get_resolver().url_patterns:
        text = str(pattern.pattern)
        if isinstance(pattern.pattern, RoutePattern):
            text = PIECE.sub(r"<\1>", text)
        else:
            text = re.sub(r"[\^$\\?]|\\Z", "", GROUP.sub(r"<\1>", text))
        if isinstance(pattern, URLPattern):
            yield space + pattern.name if pattern.name else "", prefix + text
        else:
            inner = f"{pattern.namespace}:" if pattern.namespace else ""
            yield from walk(pattern.url_patterns, prefix + text, space + inner)


WALKED = [*walk()]
PROBES = ("/livez", "/readyz")
ADDRESSES = [*dict.fromkeys(address for _, address in WALKED), *PROBES]
# By name: the admin panel's, all others, and of these the names of those about one's own account.
PANEL = {
    name.removeprefix("admin:"): address for name, address in WALKED if name.startswith("admin:")
}
SITE = {name or address: address for name, address in WALKED if not address.startswith("/admin/")}
ACCOUNT = {name for name, address in SITE.items() if address.startswith("/accounts/")}


def make_examples(**ids) -> dict:
    """{model: id of a row} of each table of both databases; the agent tables' may be given."""
    ids = ids or {model: row.id for model, row in vars(make_rows()).items()}
    return {
        **{f"conversations/{model}": pk for model, pk in ids.items()},
        "accounts/user": get_user_model().objects.create_user("another").pk,
        "auth/group": Group.objects.create(name="another").pk,
        "audit/entry": Entry.objects.create(act=Act.VIEWED, session_id=ids["session"]).pk,
    }


def pieces(address: str, examples: dict) -> dict[str, str]:
    """{name: what stands there} of an address that leads somewhere."""
    model = "/".join(address.strip("/").split("/")[1:3])
    values = {
        "session_id": examples["conversations/session"],
        "message_id": examples["conversations/chatmessage"],
        "run_id": examples["conversations/run"],
        "task_id": examples["conversations/task"],
        "row_id": examples["conversations/run"],
        "object_id": examples.get(model, uuid.uuid4()),
        "id": examples.get(model, 1),
        **EXAMPLES,
    }
    if address.endswith("transcript.<form>"):
        values["form"] = "txt"
    return {name: str(values.get(name, "x")) for name in PIECE.findall(address)}


def filled(address: str, values: dict[str, str]) -> str:
    return PIECE.sub(lambda piece: values[piece[1]], address)


def paths(addresses: dict[str, str], examples: dict) -> dict[str, str]:
    """{name: path of something that is there} of the addresses by name."""
    return {name: filled(address, pieces(address, examples)) for name, address in addresses.items()}


def site_paths() -> dict[str, str]:
    """Of SITE, with the queries without which there is nothing."""
    examples = make_examples()
    found = paths(SITE, examples)
    session = Session.objects.get(pk=examples["conversations/session"])
    found["conversations:new"] += f"?since={Cursor(session.updated_at, session.id)}"
    found["conversations:erase_all"] += f"?external_id={session.external_id}"
    return found
