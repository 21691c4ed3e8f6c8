"""The shapes, lines and texts of a drawn workflow, for a template to write as SVG."""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .document import MISSING, Graph
from .layout import HEIGHT, LOOP, WIDTH, Layout, Route, layer_top, layout

# Room for a node's texts and for an edge's label, and the average width of a letter in each.
TEXT_ROOM, LABEL_ROOM = WIDTH - 52, 130
LETTER, SMALL_LETTER = 7.6, 6.4
# How far apart lines begin and end at a node, at most.
BETWEEN = 26
ARROW = 8
SLANT = 16


@dataclass(frozen=True)
class Box:
    """A node: `name` is as much of it as fits."""

    place: int
    type: str
    name: str
    shape: str
    x: float
    y: float

    @property
    def middle(self) -> float:
        return round(self.x + WIDTH / 2, 1)


@dataclass(frozen=True)
class Line:
    """An edge; its label is above the line at (x, y)."""

    path: str
    arrow: str
    is_back: bool
    label: str
    x: float
    y: float


@dataclass(frozen=True)
class Drawing:
    boxes: list[Box]
    lines: list[Line]
    width: float
    height: float


def drawing(graph: Graph, shown: Callable[[str], str]) -> Drawing | None:
    """`shown` masks names where they have to be. None if it is too large to be drawn."""
    labels = [fitting(", ".join(map(shown, each.labels)), LABEL_ROOM, SMALL_LETTER)
              for each in graph.edges]  # fmt: skip
    found = layout(
        len(graph.nodes),
        [(edge.source, edge.target) for edge in graph.edges],
        [place for place, node in enumerate(graph.nodes) if node.type == "start"],
        [text_width(label, SMALL_LETTER) for label in labels],
    )
    if not found:
        return None
    boxes = []
    for place, node in enumerate(graph.nodes):
        middle, y = found.top(place)
        x = round(middle - WIDTH / 2, 1)
        name = fitting(shown(node.name), TEXT_ROOM, LETTER)
        boxes.append(Box(place, node.type, name, shape(node.type, x, y), x, y))
    tops, bottoms = ports(found, found.routes)
    lines = [
        line(found, route, labels[route.edge], bottoms[route.edge], tops[route.edge])
        for route in found.routes
    ]
    lines += [loop(boxes[graph.edges[edge].source], labels[edge]) for edge in found.loops]
    return Drawing(boxes, lines, found.width, found.height)


def text_width(text: str, letter: float) -> float:
    return letter * sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def fitting(text: str, room: float, letter: float) -> str:
    """As much of the text as fits, on one line."""
    text = " ".join(text[:300].split())
    if text_width(text, letter) <= room:
        return text
    while text and text_width(text, letter) > room - letter:
        text = text[:-1]
    return f"{text.rstrip()}…"


def shape(node_type: str, x: float, y: float) -> str:
    """Where a workflow begins and ends is round, where it parts is pointed."""
    if node_type in ("start", "end"):
        return rounded(x, y, HEIGHT / 2)
    if node_type in ("if", "switch"):
        inner = WIDTH - 2 * SLANT
        return (
            f"M{x} {y + HEIGHT / 2:g}l{SLANT} {-HEIGHT / 2:g}h{inner}l{SLANT} {HEIGHT / 2:g}"
            f"l{-SLANT} {HEIGHT / 2:g}h{-inner}z"
        )
    if node_type == "parallel":
        bars = "".join(f"M{side:g} {y}v{HEIGHT}" for side in (x + 8, x + WIDTH - 8))
        return rounded(x, y, 3) + bars
    return rounded(x, y, 4 if node_type == MISSING else 10)


def rounded(x: float, y: float, radius: float) -> str:
    r, across, down = radius, WIDTH - 2 * radius, HEIGHT - 2 * radius
    corner = f"a{r:g} {r:g} 0 0 1"
    return (
        f"M{x + r:g} {y}h{across:g}{corner} {r:g} {r:g}v{down:g}{corner} {-r:g} {r:g}"
        f"h{-across:g}{corner} {-r:g} {-r:g}v{-down:g}{corner} {r:g} {-r:g}z"
    )


def ports(found: Layout, routes: Sequence[Route]) -> tuple[dict[int, float], dict[int, float]]:
    """{edge: x} where lines end at the top of a node, and where they begin at its bottom."""
    tops: dict[int, list[Route]] = {}
    bottoms: dict[int, list[Route]] = {}
    for route in routes:
        bottoms.setdefault(route.places[0], []).append(route)
        tops.setdefault(route.places[-1], []).append(route)
    return (
        spread_out(found, tops, lambda route: found.places[route.places[-2]].x),
        spread_out(found, bottoms, lambda route: found.places[route.places[1]].x),
    )


def spread_out(found: Layout, ends: dict[int, list[Route]], key: Callable) -> dict[int, float]:
    placed = {}
    for node, routes in ends.items():
        step = min(BETWEEN, (WIDTH - 60) / max(len(routes) - 1, 1))
        for at, route in enumerate(sorted(routes, key=key)):
            x = found.places[node].x + (at - (len(routes) - 1) / 2) * step
            placed[route.edge] = round(x, 1)
    return placed


def line(found: Layout, route: Route, label: str, bottom: float, top: float) -> Line:
    """From the bottom of the upper node through the layers between to the top of the lower one."""
    upper, *passed, lower = (found.places[place] for place in route.places)
    begins, ends = layer_top(upper.layer) + HEIGHT, layer_top(lower.layer)
    arrow = f"M{top} {ends}l-4 {-ARROW}h8z"
    if route.is_back:
        arrow = f"M{bottom} {begins}l-4 {ARROW}h8z"
    # Lines end where their arrow begins.
    x, y = bottom, begins + (ARROW - 1 if route.is_back else 0)
    path, pieces = f"M{x} {y}", []
    for place in passed:
        above = layer_top(place.layer)
        path += f"{curve(x, y, place.x, above)}V{above + HEIGHT}"
        pieces.append((x, y, place.x, above))
        x, y = place.x, above + HEIGHT
    end = ends - (0 if route.is_back else ARROW - 1)
    pieces.append((x, y, top, end))
    path += curve(x, y, top, end)
    # Near the source, but where lines that begin together have parted.
    x1, y1, x2, y2 = pieces[-1 if route.is_back else 0]
    share = 0.28 if route.is_back else 0.72
    at = x1 + (x2 - x1) * share, y1 + (y2 - y1) * (0.42 if route.is_back else 0.62)
    return Line(path, arrow, route.is_back, label, round(at[0], 1), round(at[1], 1))


def curve(x: float, y: float, to_x: float, to_y: float) -> str:
    if x == to_x:
        return f"V{to_y}"
    half = round((y + to_y) / 2, 1)
    return f"C{x} {half} {to_x} {half} {to_x} {to_y}"


def loop(box: Box, label: str) -> Line:
    x, upper, lower = round(box.x + WIDTH, 1), box.y + 18, box.y + HEIGHT - 18
    out = round(x + LOOP * 0.8, 1)
    path = f"M{x} {upper}C{out} {upper - 8} {out} {lower + 8} {x + ARROW - 1} {lower}"
    arrow = f"M{x} {lower}l{ARROW} -4v8z"
    return Line(path, arrow, True, label, round(x + LOOP / 2, 1), box.y + 8)
