"""What is read of a stored workflow: all types of nodes, and whatever else may be stored."""

import pytest

from overview.workflow import document
from overview.workflow.document import (
    MISSING,
    MOST_EDGES,
    MOST_FLAWS,
    MOST_LABELS,
    MOST_NODES,
    graph,
    reached,
)

from ..support.workflows import ALL_TYPES


def edges(found) -> list[tuple]:
    names = [node.name for node in found.nodes]
    return [(names[edge.source], names[edge.target], *edge.labels) for edge in found.edges]


def flaws(found) -> list[str]:
    return [flaw.words.format(*flaw.names) for flaw in found.flaws]


def test_each_type_of_node_leads_where_the_runtime_goes():
    found = graph(ALL_TYPES)
    assert [node.type for node in found.nodes] == [
        "start", "rag_query", "if", "function", "switch", "llm", "agent", "parallel", "llm", "llm",
        "end",
    ]  # fmt: skip
    assert edges(found) == [
        ("begin", "search"),
        ("search", "found"),
        ("found", "look up", "then"),
        ("found", "finish", "else"),
        ("look up", "route"),
        ("route", "refund", "refund", "money back"),
        ("route", "repair", "broken"),
        ("route", "gather", "default"),
        ("refund", "finish"),
        ("repair", "route"),
        ("gather", "one"),
        ("gather", "two"),
        ("one", "finish"),
        ("two", "finish"),
    ]
    assert flaws(found) == []


def test_a_fork_whose_branches_never_meet_leads_on_itself():
    nodes = [{"name": "fork", "type": "parallel", "branches": ["a"], "next": "b"}]
    nodes += [{"name": "a"}, {"name": "b"}]
    assert edges(graph({"nodes": nodes})) == [("fork", "a"), ("fork", "b", "then")]


def test_the_word_else_is_read_as_it_is_written_and_as_the_runtime_stores_it():
    for key in ("else", "else_"):
        found = graph(
            {"nodes": [{"name": "a", "type": "if", "then": "a", key: "b"}, {"name": "b"}]}
        )
        assert edges(found) == [("a", "a", "then"), ("a", "b", "else")]


def test_unknown_types_and_what_has_none_are_what_they_are():
    nodes = [{"name": "a", "type": "teleport", "next": ["b", "c"]}, {"name": "b"}, {"name": "c"}]
    found = graph({"nodes": nodes})
    assert [node.type for node in found.nodes] == ["teleport", "", ""]
    assert edges(found) == [("a", "b"), ("a", "c")]


def test_what_leads_nowhere_is_said_and_drawn():
    found = graph({"nodes": [{"name": "a", "next": "gone"}, {"name": "b", "next": "gone"}]})
    assert (found.nodes[-1].name, found.nodes[-1].type) == ("gone", MISSING)
    assert edges(found) == [("a", "gone"), ("b", "gone")]
    assert flaws(found) == ["“a” leads to “gone”, which the workflow does not have."]


def test_of_nodes_with_the_same_name_the_first_is_meant():
    found = graph(
        {"nodes": [{"name": "a", "next": "b"}, {"name": "b"}, {"name": "b", "next": "b"}]}
    )
    assert [(edge.source, edge.target) for edge in found.edges] == [(0, 1), (2, 1)]
    assert flaws(found) == ["Several nodes are called “b”: what leads there leads to the first."]


def test_nodes_may_be_named_by_the_keys_of_an_object():
    found = graph({"nodes": {"a": {"type": "start", "next": "b"}, "b": {"type": "end"}}})
    assert edges(found) == [("a", "b")]


@pytest.mark.parametrize(
    "document",
    [None, [], {}, 7, "text", {"nodes": None}, {"nodes": []}, {"nodes": 7}, {"nodes": {}}, [{}]],
)
def test_what_is_no_workflow_says_so(document):
    found = graph(document)
    assert found.nodes == []
    assert flaws(found) == ["What is stored as the workflow has no nodes."]


@pytest.mark.parametrize(
    "node",
    [
        None, 7, "a", [], {}, {"name": None}, {"name": 7, "type": {}}, {"name": {}, "next": 7},
        {"next": None, "cases": [], "branches": 7}, {"cases": {"a": None}, "branches": [None, {}]},
        {"name": "{0} {x}", "next": "{1}", "branches": "b", "cases": "c"},
    ],
)  # fmt: skip
def test_a_node_that_is_none_is_shown_all_the_same(node):
    found = graph({"nodes": [node, {"name": "b", "next": "c"}, {"name": "c"}]})
    assert len(found.nodes) >= 3
    assert ("b", "c") in edges(found)
    assert all(flaws(found))


def test_of_too_much_only_the_beginning_is_shown():
    nodes = [{"name": str(place), "next": str(place + 1)} for place in range(MOST_NODES + 50)]
    found = graph({"nodes": nodes})
    assert len(found.nodes) == MOST_NODES
    assert flaws(found) == [f"Only the first {MOST_NODES} of {MOST_NODES + 50} nodes are shown."]
    many = [{"name": str(one), "branches": [str(n) for n in range(100)]} for one in range(100)]
    found = graph({"nodes": many})
    assert len(found.edges) == MOST_EDGES
    assert flaws(found) == [f"Only {MOST_EDGES:,} of 10,000 connections are shown."]


def test_missing_nodes_count_towards_the_most_that_are_shown():
    nodes = [{"name": "a", "next": [f"gone {number}" for number in range(1_000)]}]
    found = graph({"nodes": nodes})
    assert len(found.nodes) == MOST_NODES
    assert len(found.edges) == MOST_NODES - 1
    said = flaws(found)
    assert said[0] == f"Missing nodes that are not shown: {1_001 - MOST_NODES}."
    assert said[1] == "“a” leads to “gone 0”, which the workflow does not have."
    assert said[-1] == f"And {MOST_NODES - 1 - MOST_FLAWS} more like these."
    assert len(said) == MOST_FLAWS + 2


def test_a_fork_looks_once_where_its_branches_lead(monkeypatch):
    looked = []
    monkeypatch.setattr(document, "reached", lambda *given: looked.append(given) or reached(*given))
    nodes = [{"name": "fork", "branches": ["a"], "next": ["b", "a", *["b"] * 1_000]}]
    nodes += [{"name": "a"}, {"name": "b"}]
    assert edges(graph({"nodes": nodes})) == [("fork", "a"), ("fork", "b", "then")]
    assert len(looked) == 1


def test_where_branches_meet_is_not_looked_for_among_too_many_connections(monkeypatch):
    monkeypatch.setattr(document, "reached", lambda *given: pytest.fail("looked"))
    names = [str(number) for number in range(100)]
    nodes = [{"name": name, "branches": names, "next": names} for name in names]
    assert len(graph({"nodes": nodes}).edges) == MOST_EDGES


def test_of_many_cases_that_lead_to_the_same_node_the_first_are_shown():
    cases = {f"case {number}": "a" for number in range(50_000)}
    [edge] = graph({"nodes": [{"name": "a", "type": "switch", "cases": cases}]}).edges
    assert edge.labels == (*list(cases)[:MOST_LABELS], "…")
