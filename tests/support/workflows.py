"""Workflows as the runtime stores them, and others."""

import random

# Each type of node that kavalai 1.0.7 knows, with a loop.
ALL_TYPES = {
    "name": "Shop",
    "nodes": [
        {"name": "begin", "type": "start", "next": "search"},
        {"name": "search", "type": "rag_query", "query": "secret words", "next": "found"},
        {"name": "found", "type": "if", "condition": "docs", "then": "look up", "else_": "finish"},
        {"name": "look up", "type": "function", "tool": "python://look_up", "next": "route"},
        {
            "name": "route",
            "type": "switch",
            "expr": "intent",
            "cases": {"refund": "refund", "money back": "refund", "broken": "repair"},
            "default": "gather",
        },
        {"name": "refund", "type": "llm", "prompt": "Be secret.", "next": "finish"},
        {"name": "repair", "type": "agent", "prompt": "Be secret.", "next": "route"},
        {"name": "gather", "type": "parallel", "branches": ["one", "two"], "next": "finish"},
        {"name": "one", "type": "llm", "next": "finish"},
        {"name": "two", "type": "llm", "next": "finish"},
        {"name": "finish", "type": "end", "output": "output"},
    ],
}


def random_workflow(seed: int, number: int = 60) -> dict:
    """Mostly forwards, with loops, forks and branches."""
    chance = random.Random(seed)

    def anywhere(place: int) -> str:
        ahead = min(place + chance.randint(1, 5), number - 1)
        return f"node {ahead if chance.random() < 0.8 else chance.randrange(number)}"

    nodes = [{"name": "node 0", "type": "start", "next": "node 1"}]
    for place in range(1, number - 1):
        kind = chance.choice(["llm", "agent", "function", "rag_query", "if", "switch", "parallel"])
        node = {"name": f"node {place}", "type": kind, "next": f"node {place + 1}"}
        if kind == "if":
            node |= {"then": anywhere(place), "else_": anywhere(place)}
        if kind == "switch":
            node |= {"cases": {f"case {case}": anywhere(place) for case in range(4)}}
        if kind == "parallel":
            node |= {"branches": sorted({anywhere(place), anywhere(place)})}
        nodes.append(node)
    return {"nodes": [*nodes, {"name": f"node {number - 1}", "type": "end"}]}
