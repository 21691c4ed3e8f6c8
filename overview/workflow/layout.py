"""
Where the nodes and edges of a graph are drawn: in layers from top to bottom, with few crossings.

The method is Sugiyama's: turn round the edges that close a loop, put each node below all that lead
to it, lead long edges through a place in each layer between, sort the layers by the middle of their
neighbours, and move everything towards its neighbours. Ties keep their order, so that the same
graph always looks the same.
"""

from bisect import bisect_right, insort
from dataclasses import dataclass, field
from itertools import pairwise

# In units of the viewBox: of a node, between nodes, between layers, and round everything.
WIDTH, HEIGHT = 200, 78
GAP = 26
LAYER_GAP = 52
MARGIN = 14
# What an edge that passes a layer takes, and one that leads from a node to itself.
PASSING = 14
LOOP = 44
MOST_PLACES = 5_000
SWEEPS = 8
PASSES = 6


@dataclass
class Place:
    """A node in its layer, or where an edge passes it; `x` is its middle."""

    layer: int
    width: float
    x: float = 0
    up: list[int] = field(default_factory=list)
    down: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Route:
    """An edge through its places, from the top to the bottom: upwards if it `is_back`."""

    edge: int
    places: list[int]
    is_back: bool


@dataclass
class Layout:
    # The first places are the nodes.
    places: list[Place]
    routes: list[Route]
    # Edges from a node to itself.
    loops: list[int]
    # Nodes without edges stand in rows below: {node: (x of its middle, y of its top)}
    alone: dict[int, tuple[float, float]]
    width: float
    height: float

    def top(self, node: int) -> tuple[float, float]:
        """(x of its middle, y of its top)"""
        place = self.places[node]
        return self.alone.get(node) or (place.x, layer_top(place.layer))


def layer_top(layer: int) -> float:
    return MARGIN + layer * (HEIGHT + LAYER_GAP)


def layout(
    number: int, ends: list[tuple[int, int]], starts: list[int], rooms: list[float]
) -> Layout | None:
    """
    Of `number` nodes and the edges between them; it begins at `starts`. `rooms` are the widths of
    the edges' labels. None if it is too large to be drawn.
    """
    edges = [(edge, *pair) for edge, pair in enumerate(ends) if pair[0] != pair[1]]
    back = back_edges(number, edges, starts)
    downward = [(u, v) if edge not in back else (v, u) for edge, u, v in edges]
    layers = longest_paths(number, downward)
    lower_sources(layers, downward, starts)
    places = [Place(layer, WIDTH) for layer in layers]
    loops = [edge for edge, (source, target) in enumerate(ends) if source == target]
    for edge in loops:
        places[ends[edge][0]].width = WIDTH + 2 * LOOP
    needed = sum(layers[v] - layers[u] for u, v in downward)
    if needed > MOST_PLACES:
        return None
    routes = []
    for (edge, *_), (u, v) in zip(edges, downward, strict=True):
        passed = range(len(places), len(places) + layers[v] - layers[u] - 1)
        places += [
            Place(layers[u] + 1 + step, max(PASSING, rooms[edge])) for step, _ in enumerate(passed)
        ]
        routes.append(Route(edge, [u, *passed, v], edge in back))
    for route in routes:
        for upper, lower in pairwise(route.places):
            places[upper].down.append(lower)
            places[lower].up.append(upper)
    linked = {node for pair in ends for node in pair}
    rows = [[] for _ in range(max((each.layer for each in places), default=0) + 1)]
    for place, each in enumerate(places):
        if place >= number or place in linked:
            rows[each.layer].append(place)
    rows = [row for row in rows if row]
    spread(places, sorted_rows(places, rows))
    return framed(places, routes, loops, [n for n in range(number) if n not in linked], rows)


def back_edges(number: int, edges: list[tuple[int, int, int]], starts: list[int]) -> set[int]:
    """Edges that lead back to where a walk from the starts came from."""
    leaving: list[list[tuple[int, int]]] = [[] for _ in range(number)]
    entered = [False] * number
    for edge, source, target in edges:
        leaving[source].append((edge, target))
        entered[target] = True
    roots = [*starts, *(node for node in range(number) if not entered[node]), *range(number)]
    found, seen, on_path = set(), [False] * number, [False] * number
    for root in roots:
        path = [] if seen[root] else [(root, iter(leaving[root]))]
        seen[root] = on_path[root] = True
        while path:
            node, rest = path[-1]
            edge, target = next(rest, (None, None))
            if target is None:
                on_path[node] = False
                path.pop()
            elif on_path[target]:
                found.add(edge)
            elif not seen[target]:
                seen[target] = on_path[target] = True
                path.append((target, iter(leaving[target])))
        on_path[root] = False
    return found


def longest_paths(number: int, edges: list[tuple[int, int]]) -> list[int]:
    """Each node's layer: one below the lowest that leads to it."""
    waiting = [0] * number
    leaving: list[list[int]] = [[] for _ in range(number)]
    for source, target in edges:
        waiting[target] += 1
        leaving[source].append(target)
    layers = [0] * number
    ready = [node for node in range(number) if not waiting[node]]
    for node in ready:
        for target in leaving[node]:
            layers[target] = max(layers[target], layers[node] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return layers


def lower_sources(layers: list[int], edges: list[tuple[int, int]], starts: list[int]):
    """What nothing leads to, though nothing begins there, stands just above what it leads to."""
    kept = {target for _, target in edges} | set(starts)
    lowest = {}
    for source, target in edges:
        lowest[source] = min(lowest.get(source, layers[target]), layers[target])
    for source, layer in lowest.items():
        if source not in kept:
            layers[source] = layer - 1


def sorted_rows(places: list[Place], rows: list[list[int]]) -> list[list[int]]:
    """The layers in the order with the fewest crossings of a few sweeps down and up."""
    best, fewest = [row[:] for row in rows], crossings(places, rows)
    for sweep in range(SWEEPS):
        is_down = sweep % 2 == 0
        for row in rows[1:] if is_down else rows[-2::-1]:
            order = {place: at for every in rows for at, place in enumerate(every)}
            middles = {
                place: middle([order[each] for each in near], order[place])
                for place in row
                for near in [places[place].up if is_down else places[place].down]
            }
            row.sort(key=middles.get)
        if (number := crossings(places, rows)) < fewest:
            best, fewest = [row[:] for row in rows], number
    rows[:] = best
    return rows


def middle(found: list[float], otherwise: float) -> float:
    return sum(found) / len(found) if found else otherwise


def crossings(places: list[Place], rows: list[list[int]]) -> int:
    number = 0
    for upper, lower in pairwise(rows):
        order = {place: at for at, place in enumerate(lower)}
        ends: list[int] = []
        for place in upper:
            own = sorted(order[each] for each in places[place].down)
            number += sum(len(ends) - bisect_right(ends, end) for end in own)
            for end in own:
                insort(ends, end)
    return number


def spread(places: list[Place], rows: list[list[int]]):
    """Move everything as near to the middle of its neighbours as its own neighbours allow."""
    for row in rows:
        put(places, row, [0.0] * len(row))
    for step in range(PASSES):
        is_down = step % 2 == 0
        for row in rows if is_down else rows[::-1]:
            wished = [
                middle([places[each].x for each in near], places[place].x)
                for place in row
                for near in [places[place].up if is_down else places[place].down]
            ]
            put(places, row, wished)


def put(places: list[Place], row: list[int], wished: list[float]):
    """
    As near to where they wish to be as their order and widths allow, by least squares: whoever
    would overlap stands together round the mean of their wishes.
    """
    offsets, at = [], 0.0
    for before, place in zip([None, *row], row, strict=False):
        if before is not None:
            at += (places[before].width + places[place].width) / 2 + GAP
        offsets.append(at)
    blocks: list[list[float]] = []
    for wish, offset in zip(wished, offsets, strict=True):
        blocks.append([wish - offset, 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (one, some), (other, more) = blocks[-2:]
            blocks[-2:] = [[(one * some + other * more) / (some + more), some + more]]
    starts = [start for start, number in blocks for _ in range(int(number))]
    for place, start, offset in zip(row, starts, offsets, strict=True):
        places[place].x = start + offset


def framed(places, routes, loops, alone: list[int], rows) -> Layout:
    """Everything moved to the upper left corner, with nodes without edges in rows below."""
    drawn = [places[place] for row in rows for place in row]
    left = min((each.x - each.width / 2 for each in drawn), default=0)
    for each in drawn:
        each.x = round(each.x - left + MARGIN, 1)
    right = max((each.x + each.width / 2 for each in drawn), default=0)
    in_row = max(int((right - MARGIN + GAP) // (WIDTH + GAP)), 4)
    bottom = layer_top(len(rows)) if rows else MARGIN
    found = {
        node: (
            MARGIN + WIDTH / 2 + (at % in_row) * (WIDTH + GAP),
            bottom + (at // in_row) * (HEIGHT + GAP),
        )
        for at, node in enumerate(alone)
    }
    right = max([right, *(x + WIDTH / 2 for x, _ in found.values())])
    lowest = max([layer_top(len(rows) - 1) if rows else 0, *(y for _, y in found.values())])
    return Layout(places, routes, loops, found, round(right + MARGIN, 1), lowest + HEIGHT + MARGIN)
