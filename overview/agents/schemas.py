"""What an agent takes and gives: JSON Schema as a list of fields, and as a tree."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from backoffice import json_text

# Characters that are read of a schema.
LENGTH = 100_000
MOST_FIELDS = 100
MOST_DEEP = 4
MOST_CHOICES = 12
# Characters of a type or of one choice.
LONGEST = 100
ALTERNATIVES = ("anyOf", "oneOf", "allOf")
NOTHING: dict = {}


@dataclass(frozen=True)
class Field:
    """`name` has dots for a field of a field."""

    name: str
    type: str
    is_required: bool
    description: str


@dataclass(frozen=True)
class Schema:
    fields: list[Field]
    tree: json_text.Tree


def schema(text: str | None) -> Schema | None:
    """Of JSON, perhaps cut short; None if there is no value."""
    if text is None or text == "null":
        return None
    document = json_text.beginning(text)
    found = Reading(document).fields(document) if isinstance(document, dict) else []
    return Schema([*islice(found, MOST_FIELDS)], json_text.tree(text, opened=1))


class Reading:
    """Of one document, which may refer to itself in any way."""

    def __init__(self, document: dict):
        self.document = document
        # {(id of a part, depth): its types}: without these, a dozen alternatives that all lead back
        # to where they stand are read again for each way there.
        self.known: dict[tuple[int, int], list[str]] = {}

    def fields(self, part: dict, above: str = "", depth: int = 0) -> Iterator[Field]:
        properties = part.get("properties")
        if not isinstance(properties, dict) or depth == MOST_DEEP:
            return
        required = part.get("required")
        for name, found in properties.items():
            each = self.followed(found)
            yield Field(
                f"{above}{name}",
                " or ".join(self.types(each)),
                isinstance(required, list) and name in required,
                text_of(found, "description") or text_of(each, "description"),
            )
            items = self.followed(each.get("items"))
            yield from self.fields(each, f"{above}{name}.", depth + 1)
            yield from self.fields(items, f"{above}{name}[].", depth + 1)

    def followed(self, part: Any) -> dict:
        """What a reference such as #/$defs/Order leads to, or the part itself."""
        part = part if isinstance(part, dict) else NOTHING
        reference = part.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return part
        found: Any = self.document
        for key in reference[2:].split("/"):
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else part

    def types(self, part: dict, depth: int = 0) -> list[str]:
        """string; list of string; string, null; one of: new, open; empty if nothing says so."""
        if depth == MOST_DEEP:
            return []
        key = id(part), depth
        if key not in self.known:
            self.known[key] = self.read_types(part, depth)
        return self.known[key]

    def read_types(self, part: dict, depth: int) -> list[str]:
        choices = part.get("enum")
        if isinstance(choices, list) and choices:
            return [f"one of: {', '.join(few(map(choice_words, choices)))}"]
        for key in ALTERNATIVES:
            if isinstance(part.get(key), list):
                return few(
                    name
                    for each in part[key]
                    for name in self.types(self.followed(each), depth + 1)
                )
        names = part.get("type")
        if names == "array":
            items = " or ".join(self.types(self.followed(part.get("items")), depth + 1))
            return [f"list of {items}" if items else "list"]
        names = names if isinstance(names, list) else [names]
        return few(name[:LONGEST] for name in names if isinstance(name, str) and name)


def few(words: Iterable[str]) -> list[str]:
    """Different ones of them, and a sign that there are more."""
    found: dict[str, None] = {}
    for each in words:
        if len(found) == MOST_CHOICES and each not in found:
            return [*found, "…"]
        found[each] = None
    return [*found]


def choice_words(value: Any) -> str:
    """Lists and objects are what they are: they may be nested too deep to be written."""
    if isinstance(value, dict | list):
        return "object" if isinstance(value, dict) else "array"
    words = value if isinstance(value, str) else json.dumps(value)
    return words[:LONGEST]


def text_of(part: Any, key: str) -> str:
    value = part.get(key) if isinstance(part, dict) else None
    return value if isinstance(value, str) else ""
