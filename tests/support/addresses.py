"""Every URL pattern of the site as an address of something that is there, found by walking."""

import re
import uuid
from types import SimpleNamespace

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.urls import URLPattern, get_resolver
from django.urls.resolvers import RoutePattern

from audit.models import Act, Entry

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
}


def walk(patterns=None, prefix: str = "") -> dict[str, list[str]]:
    """{address with its pieces in angle brackets: the names of these pieces}"""
    found = {}
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        text = str(pattern.pattern)
        if isinstance(pattern.pattern, RoutePattern):
            text = PIECE.sub(r"<\1>", text)
        else:
            text = re.sub(r"[\^$\\?]|\\Z", "", GROUP.sub(r"<\1>", text))
        if isinstance(pattern, URLPattern):
            found["/" + prefix + text] = PIECE.findall(prefix + text)
        else:
            found |= walk(pattern.url_patterns, prefix + text)
    return found


PROBES = ("/livez", "/readyz")
ADDRESSES = [*walk(), *PROBES]


def make_examples() -> SimpleNamespace:
    """A row of each table of both databases."""
    rows = make_rows()
    user = get_user_model().objects.create_user("another")
    entry = Entry.objects.create(act=Act.VIEWED)
    ids = {f"conversations/{model}": row.id for model, row in vars(rows).items()}
    ids |= {"accounts/user": user.pk, "auth/group": Group.objects.first().pk}
    ids["audit/entry"] = entry.pk
    return SimpleNamespace(rows=rows, ids=ids)


def pieces(address: str, examples: SimpleNamespace) -> dict[str, str]:
    """{name: what stands there} of an address that leads somewhere."""
    rows = examples.rows
    model = "/".join(address.strip("/").split("/")[1:3])
    values = {
        "session_id": rows.session.id,
        "message_id": rows.chatmessage.id,
        "run_id": rows.run.id,
        "task_id": rows.task.id,
        "row_id": rows.run.id,
        "object_id": examples.ids.get(model, uuid.uuid4()),
        "id": examples.ids.get(model, 1),
        **EXAMPLES,
    }
    if address.endswith("transcript.<form>"):
        values["form"] = "txt"
    return {name: str(values.get(name, "x")) for name in PIECE.findall(address)}


def filled(address: str, values: dict[str, str]) -> str:
    return PIECE.sub(lambda piece: values[piece[1]], address)
