"""Where nodes and lines of a workflow are drawn: nothing overlaps, and always in the same place."""

import itertools
import json
import subprocess
import sys

import pytest
from django.conf import settings

from overview.workflow.document import graph
from overview.workflow.drawing import TEXT_ROOM, drawing, fitting, text_width
from overview.workflow.layout import GAP, HEIGHT, WIDTH, layout

from ..support.workflows import ALL_TYPES, random_workflow

SEEDS = range(12)


def drawn(document):
    return drawing(graph(document), str)


def boxes(document) -> dict[str, tuple[float, float]]:
    found = graph(document)
    return {found.nodes[box.place].name: (box.x, box.y) for box in drawing(found, str).boxes}


def chain(*names):
    return [
        {"name": name, "next": following}
        for name, following in itertools.zip_longest(names, names[1:])
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_no_node_overlaps_another_or_leaves_the_drawing(seed):
    found = drawn(random_workflow(seed))
    assert len(found.boxes) == 60
    for box in found.boxes:
        assert 0 <= box.x <= found.width - WIDTH
        assert 0 <= box.y <= found.height - HEIGHT
    for one, other in itertools.combinations(found.boxes, 2):
        assert abs(one.x - other.x) >= WIDTH + GAP - 0.2 or abs(one.y - other.y) >= HEIGHT


@pytest.mark.parametrize("seed", SEEDS)
def test_lines_lead_downwards_but_for_those_that_close_a_loop(seed):
    found = graph(random_workflow(seed))
    shown = drawing(found, str)
    backs = 0
    # Lines from a node to itself come last.
    between = [edge for edge in found.edges if edge.source != edge.target]
    for edge, line in zip(between, shown.lines, strict=False):
        is_upwards = shown.boxes[edge.source].y >= shown.boxes[edge.target].y
        assert line.is_back == is_upwards
        backs += line.is_back
    assert backs


def test_the_same_document_gives_the_same_bytes_in_any_process():
    code = """
import json, sys
from overview.workflow.document import graph
from overview.workflow.drawing import drawing
print([drawing(graph(each), str) for each in json.load(sys.stdin)])
"""
    documents = json.dumps([ALL_TYPES, *map(random_workflow, SEEDS)])
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=documents,
            env={"PYTHONHASHSEED": seed},
            cwd=settings.BASE_DIR,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
    assert len(found.pop()) > 10_000


def test_a_chain_is_one_straight_line():
    found = boxes({"nodes": chain("a", "b", "c", "d")})
    assert len({x for x, _ in found.values()}) == 1
    assert [y for _, y in found.values()] == sorted({y for _, y in found.values()})


def test_branches_stand_side_by_side_round_where_they_part_and_meet():
    nodes = [{"name": "fork", "branches": ["a", "b", "c"]}]
    nodes += [{"name": name, "next": "join"} for name in "abc"] + [{"name": "join"}]
    found = boxes({"nodes": nodes})
    assert found["a"][1] == found["b"][1] == found["c"][1]
    assert found["fork"][0] == found["b"][0] == found["join"][0]
    assert found["a"][0] < found["b"][0] < found["c"][0]


def test_branches_are_ordered_so_that_no_lines_cross():
    nodes = [{"name": "fork", "branches": ["a", "b"]}]
    nodes += [{"name": "a", "next": "c"}, {"name": "b", "next": "d"}, {"name": "d"}, {"name": "c"}]
    found = boxes({"nodes": nodes})
    assert (found["a"][0] < found["b"][0]) == (found["c"][0] < found["d"][0])


def test_a_long_line_passes_beside_the_nodes_between():
    nodes = [{"name": "a", "branches": ["b", "d"]}, *chain("b", "c", "d")]
    found = drawn({"nodes": nodes})
    [line] = [line for line in found.lines if line.path.count("V") > 1]
    passed = float(line.path.partition("V")[0].rpartition(" ")[0].rpartition(" ")[2])
    for box in found.boxes[1:3]:
        assert not box.x <= passed <= box.x + WIDTH


def test_labels_beside_one_another_do_not_overlap():
    cases = {f"a long case {place}": f"node {place}" for place in range(5)}
    nodes = [{"name": "choose", "type": "switch", "cases": cases, "next": "below"}]
    nodes += [{"name": f"node {place}"} for place in range(5)]
    # All of them are two layers further down.
    nodes += [{"name": "below", "next": "lower"}]
    nodes += [{"name": "lower", "branches": [f"node {place}" for place in range(5)]}]
    labels = sorted((line.y, line.x, line.label) for line in drawn({"nodes": nodes}).lines)
    labels = [each for each in labels if each[2]]
    assert len(labels) == 5
    for (y, x, label), (other_y, other_x, _) in itertools.pairwise(labels):
        assert y == other_y
        assert other_x - x > 6 * len(label)


def test_a_loop_between_two_nodes_has_two_lines():
    nodes = [{"name": "a", "type": "start", "next": "b"}, {"name": "b", "next": "a"}]
    one, other = drawn({"nodes": nodes}).lines
    assert (one.is_back, other.is_back) == (False, True)
    assert one.path != other.path


def test_a_node_may_lead_to_itself():
    found = drawn({"nodes": [{"name": "a", "then": "a"}, {"name": "b"}]})
    [line] = found.lines
    assert line.is_back
    assert line.label == "then"
    assert found.boxes[0].x + WIDTH < found.width


def test_nodes_without_lines_stand_in_rows_below():
    nodes = [*chain("a", "b"), *({"name": f"alone {place}"} for place in range(9))]
    found = boxes({"nodes": nodes})
    alone = [found[f"alone {place}"] for place in range(9)]
    assert min(y for _, y in alone) > found["b"][1] + HEIGHT
    assert len({y for _, y in alone}) == 3


def test_what_nothing_leads_to_stands_above_what_it_leads_to():
    nodes = [{"name": "a", "type": "start", "next": "b"}, *chain("b", "c", "d")]
    found = boxes({"nodes": [*nodes, {"name": "stray", "next": "d"}]})
    assert found["stray"][1] == found["c"][1]


def test_what_is_too_tangled_is_not_drawn():
    ends = [(place, place + 1) for place in range(199)]
    ends += [(place, 199) for place in range(190)] * 2
    assert layout(200, ends, [0], [0] * len(ends)) is None


@pytest.mark.parametrize(
    "name", ["x" * 500, "字" * 500, "مرحبا " * 100, "\n\t ", "a\u202eb" * 99, ""]
)
def test_a_name_of_any_length_fits(name):
    [box] = drawn({"nodes": [{"name": name}]}).boxes
    assert text_width(box.name, 7.6) <= TEXT_ROOM
    assert "\n" not in box.name


def test_as_much_of_a_text_as_fits_is_shown():
    assert fitting("a  short\nname", 200, 7) == "a short name"
    assert fitting("a longer name", 70, 7) == "a longer…"
