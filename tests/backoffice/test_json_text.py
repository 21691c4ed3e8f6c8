import json
import tracemalloc

import pytest

from backoffice import json_text

VALUES = [
    None,
    True,
    0,
    -1.5,
    "",
    'a"b\\c\n\u2028é😀',
    [],
    {},
    [[], {}],
    {"a": [1, {"b": None}], "c": "]}", "": ","},
    [{"k": "v"}, "x", [1, [2, [3]]]],
]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("indent", [None, 1])
def test_the_iterative_parser_agrees_with_the_recursive_one(value, indent):
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    assert json_text._loads(text) == value


def test_loads_reads_what_the_recursive_parser_cannot():
    text = '{"a":' * 100_000 + "1" + "}" * 100_000
    with pytest.raises(RecursionError):
        json.loads(text)
    value = json_text.loads(text)
    for _ in range(100_000):
        value = value["a"]
    assert value == 1


def test_a_number_beyond_the_digit_limit_stays_text():
    assert json_text.loads("[" + "7" * 5000 + "]") == ["7" * 5000]


def kinds(text, **bounds):
    tree = json_text.tree(text, **bounds)
    return [(node.kind, node.key, node.value, node.size) for node in tree.nodes], tree.whole


def test_a_tree_lists_nodes_in_document_order():
    assert kinds('{"a": [1.50, "x"], "b": null}') == (
        [
            ("open", None, "{", 2),
            ("open", "a", "[", 2),
            ("number", None, "1.50", 4),
            ("string", None, "x", 1),
            ("close", None, "[", 0),
            ("literal", "b", "null", 4),
            ("close", None, "{", 0),
        ],
        True,
    )


@pytest.mark.parametrize(("text", "value"), [("1e400", "1e400"), ('"a"', "a"), ("true", "true")])
def test_a_scalar_is_a_tree_with_one_node(text, value):
    tree = json_text.tree(text)
    assert ([node.value for node in tree.nodes], tree.whole) == ([value], True)


def balance(tree):
    depth = lowest = 0
    for node in tree.nodes:
        depth += {"open": 1, "close": -1}.get(node.kind, 0)
        lowest = min(lowest, depth)
    return depth, lowest


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(list(range(1000))),
        "[" * 1000 + "]" * 1000,
        '{"a":' * 600 + '{"b": [1, 2]}' + "}" * 600,
        json.dumps([[n] for n in range(1000)]),
        '{"cut": [1, 2, {"short": "of its en',
        '{"cut": ',
        "[1, 2",
        '["' + "x" * 10_000 + '"]',
    ],
)
def test_a_tree_is_bounded_and_closes_every_container(text):
    tree = json_text.tree(text)
    assert not tree.whole
    assert balance(tree) == (0, 0)
    assert sum(node.kind != "close" for node in tree.nodes) <= 500
    assert all(len(node.value) <= 4000 for node in tree.nodes)


def test_what_is_too_deep_is_one_node_and_the_rest_follows():
    nodes, whole = kinds('[[[[1]]], "next"]', max_depth=2)
    assert [node[0] for node in nodes] == ["open", "open", "deeper", "close", "string", "close"]
    assert not whole


def test_reading_stops_at_the_bound(monkeypatch):
    read = []
    tokens = json_text.tokens

    def counted(text):
        for token in tokens(text):
            read.append(token)
            yield token

    monkeypatch.setattr(json_text, "tokens", counted)
    json_text.tree(json.dumps(list(range(100_000))))
    assert len(read) < 1100


def test_an_empty_key_differs_from_no_key():
    assert [node[1] for node in kinds('{"": [1]}')[0]] == [None, "", None, None, None]


@pytest.mark.parametrize("size", [5_000, 400_000])
def test_a_string_that_was_cut_is_shown_up_to_the_cut(size):
    text = json.dumps({"result": "z" * size})[:4_500]
    tree = json_text.tree(text)
    assert tree.nodes[1].value == "z" * 4000
    assert tree.nodes[1].cut
    assert not tree.whole


@pytest.mark.parametrize("end", range(1, 16))
def test_a_cut_inside_an_escape_only_loses_the_escape(end):
    source = r'"ab\u0001cd\\ef'[:end]
    [node] = json_text.tree(source).nodes
    assert "ab\x01cd\\ef".startswith(node.value)
    assert len(node.value) >= min(end - 1, 2)


def test_a_long_string_takes_memory_in_proportion_to_its_length():
    text = "[" * 1500 + json.dumps("\\z" * 1_000_000) + "]" * 1500
    tracemalloc.start()
    json_text._loads(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * len(text)


@pytest.mark.parametrize("text", ['["\\ud83d"]', '{"\\ud83d": 1}', '["\\ude00 \\ud83d'])
def test_half_a_surrogate_pair_becomes_text_that_can_be_sent(text):
    for node in json_text.tree(text).nodes:
        (node.value + (node.key or "")).encode()


def test_nan_and_infinity_are_values_of_a_tree():
    text = json.dumps({"a": float("nan"), "b": [float("inf"), -float("inf")], "c": "after"})
    tree = json_text.tree(text)
    assert [node.value for node in tree.nodes if node.kind == "literal"] == [
        *("NaN", "Infinity", "-Infinity")
    ]
    assert tree.nodes[-2].value == "after"
    assert tree.whole


@pytest.mark.parametrize("end", range(1, 55))
def test_the_beginning_of_json_is_read_as_far_as_it_goes(end):
    text = '[{"type": "text", "text": "a\\u00fcb"}, NaN, -1.5, true]'
    assert json_text.is_json(text)
    assert json_text.is_beginning(text[:end])
    found = json_text.beginning(text[:end])
    assert isinstance(found, list)
    if found and found[0].get("text"):
        assert "aüb".startswith(found[0]["text"])


@pytest.mark.parametrize(
    "text", ["[Note] hello", "[1] see [2]", "{'a': 1}", '{"a": "x" and', "[1", "plain", '{"a"} b']
)
def test_text_that_only_begins_like_json_is_not_json(text):
    assert not json_text.is_json(text)
    if text != "[1":
        assert json_text.beginning(text) is None


def test_json_may_be_deep_and_have_long_numbers():
    assert json_text.is_json("[" * 5000 + "]" * 5000)
    assert json_text.is_json("[" + "7" * 5000 + "]")
