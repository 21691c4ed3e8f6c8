"""Walks all URL patterns of the site, and fills each with ids of existing rows."""

import re
import uuid

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.urls import URLPattern, get_resolver
from django.urls.resolvers import RoutePattern
from django.utils import timezone

from audit.models import Act, Entry
from conversations.models import Session
from conversations.selection.pagination import Cursor
from overview.models import Progress, Threshold

from .admin_panel import make_rows

ROLES = ("anonymous", "outsider", "viewer", "support", "admin")
PIECE = re.compile(r"<(?:\w+:)?(\w+)>")
GROUP = re.compile(r"\(\?P<(\w+)>[^)]*\)")
# {name of a piece of an address: example}, for pieces that are no ids of rows.
EXAMPLES = {
    "name": "conversations",
    "form": "csv",
    "table": "nodes",
    "ending": "csv",
    "kind": "runs",
    "field": "context",
    "app_label": "accounts",
    "url": "nowhere",
    "pk": 1,
    "document": "export",
    "picture": "list.png",
}


def walk(patterns=None, prefix="/", space=""):
    """Yields (name or "", address with its pieces in angle brackets) for every URL pattern."""
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
# {name: address} of the admin panel and of all other pages, and the names of the account pages.
PANEL = {
    name.removeprefix("admin:"): address for name, address in WALKED if name.startswith("admin:")
}
SITE = {name or address: address for name, address in WALKED if not address.startswith("/admin/")}
ACCOUNT = {name for name, address in SITE.items() if address.startswith("/accounts/")}


def make_examples(**ids) -> dict:
    """{model: id of a row} for each table of both databases. `ids` may give the agent tables."""
    ids = ids or {model: row.id for model, row in vars(make_rows()).items()}
    return {
        **{f"conversations/{model}": pk for model, pk in ids.items()},
        "accounts/user": get_user_model().objects.create_user("another").pk,
        "auth/group": Group.objects.create(name="another").pk,
        "overview/threshold": Threshold.objects.create(agent_id=ids["agent"]).pk,
        "audit/entry": Entry.objects.create(act=Act.VIEWED, session_id=ids["session"]).pk,
    }


def pieces(address: str, examples: dict) -> dict[str, str]:
    """{name of a piece: value} such that the address leads to something that exists."""
    model = "/".join(address.strip("/").split("/")[1:3])
    values = {
        "agent_id": examples["conversations/agent"],
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
    """{name: path} of these addresses, each leading to something that exists."""
    return {name: filled(address, pieces(address, examples)) for name, address in addresses.items()}


def site_paths() -> dict[str, str]:
    """{name: path} of SITE, with the query parameters that some addresses require."""
    examples = make_examples()
    found = paths(SITE, examples)
    # As after the first rollup.
    Progress.objects.create(form="", seen=timezone.now(), as_of=timezone.now())
    session = Session.objects.get(pk=examples["conversations/session"])
    found["conversations:new"] += f"?since={Cursor(session.updated_at, session.id)}"
    found["conversations:erase_all"] += f"?external_id={session.external_id}"
    return found
