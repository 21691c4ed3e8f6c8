"""Payloads (the large columns): read only when somebody opens one, and only what a page shows."""

import re
from dataclasses import dataclass

from django.db.models import TextField
from django.db.models.functions import Cast, Length
from django.shortcuts import get_object_or_404
from django.utils.html import escape

from backoffice import json_text
from privacy import masking

from ..agentdb.sql import cut_text, payload_json
from ..models import PAYLOAD_LABELS, PLAIN_TEXT, large_columns

# Characters that are read for a tree: enough for 500 nodes, however large the payload is.
TREE_TEXT = 262_144
TEXT_UP_TO = 20_000
# Bytes of HTML for the payloads on a page, taken together.
ROOM = 150_000

# Text may also begin with a bracket: [Note], or [phone] from masking.
JSON_BEGINS = re.compile(r'\s*(?:\{\s*(?:["}]|$)|\[\s*(?:[\[{"\]\d-]|true|false|null|$))')


@dataclass
class Payload:
    """As much of a payload as a page shows: a JSON tree or plain text."""

    name: str
    # Characters of the whole payload; roughly its bytes.
    length: int
    tree: json_text.Tree | None = None
    text: str | None = None

    @property
    def is_json(self) -> bool:
        return self.name not in PLAIN_TEXT

    @property
    def label(self) -> str:
        return PAYLOAD_LABELS[self.name]

    @property
    def whole(self) -> bool:
        return self.tree.whole if self.tree else len(self.text) == self.length


def read_payloads(queryset, pk, fields: tuple[str, ...], *, raw: bool = False):
    """
    Return (row, {field: Payload}). Payloads can take up megabytes, so they are cut in SQL.

    `raw` leaves JSON as text instead of a tree.
    """
    annotations = {}
    for field in fields:
        plain = field in PLAIN_TEXT
        annotations[f"{field}_text"] = (
            cut_text(field, TEXT_UP_TO) if plain else payload_json(field, TREE_TEXT)
        )
        annotations[f"{field}_length"] = Length(Cast(field, TextField()))
    row = get_object_or_404(
        queryset.defer(*large_columns(queryset.model)).annotate(**annotations), pk=pk
    )
    payloads = {}
    room = ROOM // len(fields)
    for field in fields:
        text = getattr(row, f"{field}_text")
        payload = payloads[field] = Payload(field, getattr(row, f"{field}_length") or 0)
        is_whole = len(masking.raw(text) or "") == payload.length
        if field in PLAIN_TEXT or raw:
            if is_whole:
                payload.length = len(text or "")
            payload.text = fitting_text(text, room)
        elif text is not None and text != "null":
            payload.tree = fitting(json_text.tree(inner_json(text)), room)
    return row, payloads


def fitting_text(text, room: int):
    """As much of the text as fits into `room` bytes of HTML."""
    if text is None or len(escape(text).encode()) <= room:
        return text
    # An escaped character takes up to six bytes.
    return text[: room // 6]


def fitting(tree: json_text.Tree, room: int) -> json_text.Tree:
    """The tree, with its longest values cut until it fits into `room` bytes."""

    def size():
        return sum(len(escape(f"{node.key or ''}{node.value}").encode()) for node in tree.nodes)

    longest = 4000
    while longest > 20 and size() > room:
        longest //= 2
        for node in tree.nodes:
            if node.key and len(node.key) > longest:
                node.key = f"{node.key[:longest]}…"
            if len(node.value) > longest:
                node.value = node.value[:longest]
                node.cut, tree.whole = True, False
    return tree


def inner_json(text: str) -> str:
    """The runtime stores a model call's JSON inside a JSON string: unwrap it."""
    if text.startswith('"'):
        kind, source = next(json_text.tokens(text))
        inner = json_text.whole_part(source if kind == "cut" else source[:-1])
        if JSON_BEGINS.match(inner):
            return inner
    return text
