"""An agent's workflow as it is drawn, with figures of its nodes."""

import uuid
from collections import Counter
from dataclasses import dataclass, field

from django.db.models import BinaryField, Func, TextField, Value
from django.db.models.functions import Cast, Left

from backoffice import json_text
from backoffice.words import counted, seconds
from conversations.models import NO_NAME, Agent
from privacy import masking

from .. import links
from ..figures import FEW
from ..models import Cell
from ..percentiles import percentile
from ..periods import Span
from ..spans import of_span
from ..workflow.document import MISSING, Flaw, Graph, graph
from ..workflow.drawing import Box, Drawing, drawing

# Characters of a document that are read, and of a node's name that the rollup keeps.
LENGTH = 1_000_000
NAME_LENGTH = 200
MOST_OTHERS = 100
# As bytes, which are not masked as they are read: masking a long one takes seconds, names of nodes
# are needed as they are to find their figures, and shown() masks whatever is shown of it.
WORKFLOW = Func(
    Left(Cast("workflow", TextField()), LENGTH),
    Value("UTF8"),
    function="convert_to",
    output_field=BinaryField(),
)
TYPES = {"": "no type", MISSING: "not in the workflow"}


@dataclass
class NodeFigures:
    """Of tasks of a node; `bins` has the durations of those that have one."""

    runs: int = 0
    failed: int = 0
    bins: Counter = field(default_factory=Counter)

    @property
    def median(self) -> str:
        return seconds(percentile(self.bins, 50))

    @property
    def slow(self) -> str:
        return seconds(percentile(self.bins, 95))

    @property
    def times(self) -> str:
        """0.4 s – 1.2 s: the median and the 95th percentile"""
        return self.median if self.median == self.slow else f"{self.median} – {self.slow}"

    @property
    def has_few(self) -> bool:
        return self.bins.total() < FEW


@dataclass(frozen=True)
class NodeRow:
    name: str
    type: str
    # (name of a node that it leads to, labels)
    leads: list[tuple[str, str]]
    # None without figures.
    figures: NodeFigures | None
    # The conversations in which it ran; empty where there are none.
    link: str

    @property
    def title(self) -> str:
        """answer, llm: 292 runs, 3 failed, median 0.4 s, 95th percentile 1.2 s"""
        found = self.figures
        if not found:
            return f"{self.name}, {self.type}"
        said = [counted(found.runs, "run")]
        if found.failed:
            said.append(f"{found.failed:,} failed")
        if found.median:
            said += [f"median {found.median}", f"95th percentile {found.slow}"]
        return f"{self.name}, {self.type}: {', '.join(said)}"


@dataclass(frozen=True)
class Workflow:
    """`drawing` is None where nothing can be drawn, `is_stored` False where nothing is stored."""

    is_stored: bool
    drawing: Drawing | None
    nodes: list[tuple[Box, NodeRow]]
    rows: list[NodeRow]
    flaws: list[str]
    # Nodes with tasks in the period that the document does not have.
    others: list[NodeRow]
    # How many more of these there are.
    more: int


def shown(name: str) -> str:
    """What a workflow says, as the user may see it."""
    return masking.cut(name[:NAME_LENGTH], NAME_LENGTH) or NO_NAME


def workflow(agent: Agent, span: Span | None) -> Workflow:
    """`agent` with `workflow_bytes`; without a span there are no figures."""
    text = bytes(agent.workflow_bytes or b"null").decode()
    is_stored = text != "null"
    found = graph(json_text.beginning(text)) if is_stored else Graph()
    if is_stored and len(text) == LENGTH:
        found.flaws.append(Flaw(f"Only its first {LENGTH:,} characters are read."))
    figures = of_nodes(span, agent.pk) if span else {}

    def row(name: str, node_type: str, leads: list[tuple[str, str]]) -> NodeRow:
        own = figures.get(name[:NAME_LENGTH], NodeFigures()) if span else None
        # A name that may not be seen may not be in an address either.
        can_link = own and own.runs and name and shown(name) == name[:NAME_LENGTH]
        filters = {"node": name[:NAME_LENGTH], **links.of_agent(agent.pk)}
        link = links.conversations(span, links.STEP, **filters) if can_link else ""
        return NodeRow(shown(name), node_type, leads, own, link)

    rows = [
        row(node.name, TYPES.get(node.type, shown(node.type)), leads_of(found, place))
        for place, node in enumerate(found.nodes)
    ]
    known = {node.name[:NAME_LENGTH] for node in found.nodes}
    others = sorted(
        (name for name in figures if name not in known),
        key=lambda name: (-figures[name].runs, name),
    )
    drawn = drawing(found, shown) if found.nodes else None
    return Workflow(
        is_stored,
        drawn,
        [(box, rows[box.place]) for box in drawn.boxes] if drawn else [],
        rows,
        [flaw.words.format(*map(shown, flaw.names)) for flaw in found.flaws],
        [row(name, "", []) for name in others[:MOST_OTHERS]],
        max(len(others) - MOST_OTHERS, 0),
    )


def leads_of(found: Graph, place: int) -> list[tuple[str, str]]:
    return [
        (shown(found.nodes[edge.target].name), ", ".join(map(shown, edge.labels)))
        for edge in found.edges
        if edge.source == place
    ]


def of_nodes(span: Span, agent_id: uuid.UUID) -> dict[str, NodeFigures]:
    """{name as the rollup keeps it: its tasks in the span}"""
    found: dict[str, NodeFigures] = {}
    cells = Cell.objects.of_agent(agent_id).filter(of_span(span)).order_by()
    for nodes in cells.values_list("nodes", flat=True).iterator():
        for name, kept in nodes.items():
            figures = found.setdefault(name, NodeFigures())
            figures.runs += kept["count"]
            figures.failed += kept.get("errors", 0)
            figures.bins.update(kept.get("bins", {}))
    return found
