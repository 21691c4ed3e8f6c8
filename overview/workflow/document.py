"""
Reads the workflow of an agent. The runtime checks one before it runs it, but what is stored may be
of another version or by another program: whatever can be understood is, and the rest is said.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MOST_NODES = 200
MOST_EDGES = 1_000
MOST_LABELS = 20
MOST_FLAWS = 20
# Of a node that others lead to and that is not there.
MISSING = "missing"
# What leads to other nodes, whatever the type: (key, label).
STEPS = (
    ("next", ""),
    ("then", "then"),
    ("else", "else"),
    ("else_", "else"),
    ("default", "default"),
)
# {(source, target): labels in order}, by their places in Graph.nodes.
Labels = dict[tuple[int, int], dict[str, None]]


@dataclass(frozen=True)
class Node:
    name: str
    # As in the document: start, end, llm, agent, function, rag_query, if, switch, parallel, …
    type: str


@dataclass(frozen=True)
class Edge:
    """`source` and `target` are places in Graph.nodes. Several cases may lead to the same node."""

    source: int
    target: int
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Flaw:
    """What is odd about a document; `words` has a place for each of the names."""

    words: str
    names: tuple[str, ...] = ()


@dataclass
class Graph:
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    flaws: list[Flaw] = field(default_factory=list)


def graph(document: Any) -> Graph:
    """Of whatever JSON is stored as a workflow."""
    found = Graph()
    read = list(nodes_of(document))
    if not read:
        found.flaws.append(Flaw("What is stored as the workflow has no nodes."))
        return found
    if len(read) > MOST_NODES:
        found.flaws.append(Flaw(f"Only the first {MOST_NODES} of {len(read):,} nodes are shown."))
    odd: list[Flaw] = []
    places: dict[str, int] = {}
    for name, node in read[:MOST_NODES]:
        if name in places:
            words = "Several nodes are called “{}”: what leads there leads to the first."
            odd.append(Flaw(words, (name,)))
        places.setdefault(name, len(found.nodes))
        found.nodes.append(Node(name, text(node.get("type"))))
    labels: Labels = {}
    hidden = {name for name, _ in read[MOST_NODES:]}
    missing: set[str] = set()
    for source, (name, node) in enumerate(read[:MOST_NODES]):
        for target, label in steps(node):
            if target not in places:
                if target in hidden:
                    continue
                if len(found.nodes) == MOST_NODES:
                    missing.add(target)
                    continue
                words = "“{}” leads to “{}”, which the workflow does not have."
                odd.append(Flaw(words, (name, target)))
                places[target] = len(found.nodes)
                found.nodes.append(Node(target, MISSING))
            merged = labels.setdefault((source, places[target]), {})
            if label:
                merged[label] = None
    if len(labels) < MOST_EDGES:
        add_joins(read[:MOST_NODES], places, labels)
    shown = [*labels.items()][:MOST_EDGES]
    found.edges = [Edge(*ends, first_labels(list(merged))) for ends, merged in shown]
    if len(labels) > MOST_EDGES:
        found.flaws.append(Flaw(f"Only {MOST_EDGES:,} of {len(labels):,} connections are shown."))
    if missing:
        found.flaws.append(Flaw(f"Missing nodes that are not shown: {len(missing):,}."))
    found.flaws += odd[:MOST_FLAWS]
    if len(odd) > MOST_FLAWS:
        found.flaws.append(Flaw(f"And {len(odd) - MOST_FLAWS:,} more like these."))
    return found


def first_labels(labels: list[str]) -> tuple[str, ...]:
    return (*labels[:MOST_LABELS], "…") if len(labels) > MOST_LABELS else tuple(labels)


def nodes_of(document: Any) -> Iterator[tuple[str, dict]]:
    """(name, node); nodes are a list, or named by the keys of an object."""
    nodes = document.get("nodes") if isinstance(document, dict) else None
    if isinstance(nodes, dict):
        nodes = [
            {"name": key, **node} if isinstance(node, dict) else node for key, node in nodes.items()
        ]
    for node in nodes if isinstance(nodes, list) else ():
        yield (text(node.get("name")), node) if isinstance(node, dict) else ("", {})


def text(value: Any) -> str:
    """Lists and objects have none: they may be nested too deep for str()."""
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""


def steps(node: dict) -> Iterator[tuple[str, str]]:
    """(name of the node that it leads to, label)"""
    is_fork = bool(node.get("branches"))
    for target in listed(node.get("branches")):
        yield target, ""
    cases = node.get("cases")
    for label, target in cases.items() if isinstance(cases, dict) else ():
        if isinstance(target, str):
            yield target, label
    for key, label in STEPS:
        # Of a fork, the next node is where its branches meet: see add_joins().
        if not (is_fork and key == "next"):
            for target in listed(node.get(key)):
                yield target, label


def listed(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str)]


def add_joins(read: list[tuple[str, dict]], places: dict[str, int], labels: Labels):
    """
    The branches of a fork lead to where they meet by themselves. Where none of them does, the fork
    leads there.
    """
    leads: dict[int, list[int]] = {}
    for source, target in labels:
        leads.setdefault(source, []).append(target)
    for source, (_, node) in enumerate(read):
        if not node.get("branches"):
            continue
        within = reached(leads, source)
        for name in listed(node.get("next")):
            join = places.get(name)
            if join is not None and join not in within:
                labels[source, join] = {"then": None}


def reached(leads: dict[int, list[int]], source: int) -> set[int]:
    found, rest = set(), [source]
    while rest:
        for target in leads.get(rest.pop(), ()):
            if target not in found:
                found.add(target)
                rest.append(target)
    return found
