"""Makes cells anew: each as a whole, from what the agent database has of its quarter."""

import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connections
from django.db.models import Q, QuerySet

from conversations.problems import kinds

from .. import usage
from ..models import Activity, Cell, Grain
from ..percentiles import bin_of
from ..quarters import DAY, QUARTER, day_of, kept_since, quarter_of, starts_of
from . import reading
from .facts import COUNTS
from .writing import columns, copy, without_zeros

# How many conversations are read at once, each counted in every quarter.
MOST = 10_000
# The stale quarters of the newest day that has any.
TAKEN = """
    DELETE FROM overview_stale
    WHERE starts >= (SELECT date_trunc('day', max(starts), 'UTC') FROM overview_stale)
    RETURNING starts
"""
CELLS = columns(Cell, "id")
VALUES = tuple(name for name in CELLS if name not in ("agent_id", "grain", "starts"))
# (an agent, or None for all; when the quarter or the day begins)
Place = tuple[uuid.UUID | None, datetime]
Cells = defaultdict[Place, dict[str, Any]]


def no_durations() -> dict[str, Any]:
    return {"timed": 0, "microseconds": 0, "bins": {}}


def no_rows() -> dict[str, Any]:
    return {"count": 0, "errors": 0, **no_durations()}


def no_calls() -> dict[str, Any]:
    return {**no_rows(), "usage": usage.nothing()}


def empty() -> dict[str, Any]:
    """A cell in which nothing happened; its columns but for whose and when."""
    return {
        **dict.fromkeys(COUNTS, 0),
        "problems": defaultdict(int),
        "answers": no_durations(),
        "nodes": defaultdict(no_rows),
        "tools": defaultdict(no_rows),
        "model_calls": defaultdict(no_calls),
    }


def add_durations(to: dict, timed: int, microseconds: int, bins: dict[str, int]):
    to["timed"] += timed
    to["microseconds"] += microseconds
    for number, count in bins.items():
        to["bins"][number] = to["bins"].get(number, 0) + count


def add(cell: dict, other: dict):
    """`other` may be one that was read, without its zeros."""
    for name in COUNTS:
        cell[name] += other[name]
    for kind, count in other["problems"].items():
        cell["problems"][kind] += count
    add_kept_durations(cell["answers"], other["answers"])
    for dimension in ("nodes", "tools", "model_calls"):
        for name, rows in other[dimension].items():
            to = cell[dimension][name]
            to["count"] += rows["count"]
            to["errors"] += rows.get("errors", 0)
            add_kept_durations(to, rows)
            if dimension == "model_calls":
                usage.add(to["usage"], rows["usage"])


def add_kept_durations(to: dict, kept: dict):
    if "timed" in kept:
        add_durations(to, kept["timed"], kept.get("microseconds", 0), kept["bins"])


@dataclass
class Making:
    """Cells that are made: of quarters or, if there is a `day`, of that day."""

    day: datetime | None = None
    cells: Cells = field(default_factory=lambda: defaultdict(empty))

    def cell(self, agent_id: uuid.UUID | None, quarter: int) -> dict[str, Any]:
        return self.cells[agent_id, self.day or starts_of(quarter)]

    def add_quarters(self, quarters: list[datetime]):
        for part in parts(quarters):
            numbers = [int(starts.timestamp()) for starts in part]
            of_part = activity_of(part)
            sessions = dict(of_part.values_list("session_id", "agent_id"))
            self.add_messages(of_part)
            self.add_runs(sessions, set(numbers))
            self.add_tasks(list(sessions), numbers)
            self.add_calls(numbers)

    def add_messages(self, activities: QuerySet):
        written = activities.filter(messages__gt=0)
        for agent_id, starts, count in written.values_list("agent_id", "starts", "messages"):
            self.cells[agent_id, self.day or starts]["messages"] += count

    def add_runs(self, sessions: dict[uuid.UUID, uuid.UUID], quarters: set[int]):
        problems = {kind.name for kind in kinds.problems("Run")}
        for run in reading.runs(list(sessions)):
            if run.began is None:
                continue
            agent_id = sessions[run.session_id]
            if (began := quarter_of(run.began)) in quarters:
                cell = self.cell(agent_id, began)
                cell["runs"] += 1
                if run.status in problems:
                    cell["problems"][run.status] += 1
            if run.ended is not None and (ended := quarter_of(run.ended)) in quarters:
                cell = self.cell(agent_id, ended)
                cell["ended"] += 1
                if run.is_answered:
                    add_durations(cell["answers"], *one(run.microseconds))

    def add_tasks(self, ids: list[uuid.UUID], quarters: list[int]):
        for row in reading.tasks_of_quarters(ids, quarters):
            agent_id, quarter, is_tool, name, number, count, errors, timed, took, problems = row
            cell = self.cell(agent_id, quarter)
            cell["tasks"] += count
            for kind, failed in problems.items():
                if failed:
                    cell["problems"][kind] += failed
            rows = cell["tools" if is_tool else "nodes"][name]
            rows["count"] += count
            rows["errors"] += errors
            if timed:
                add_durations(rows, timed, int(took), {str(number): timed})

    def add_calls(self, quarters: list[int]):
        """Also those of no agent."""
        for agent_id, quarter, model, took, values in reading.calls_of_quarters(quarters):
            cell = self.cell(agent_id, quarter)
            cell["calls"] += 1
            rows = cell["model_calls"][model]
            rows["count"] += 1
            # Whether it failed.
            if values[2]:
                rows["errors"] += 1
                cell["problems"][kinds.MODEL_ERROR.name] += 1
            add_durations(rows, *one(took))
            usage.add_call(rows["usage"], model, values)

    def of_all(self) -> Cells:
        """With cells of all agents together."""
        for (agent_id, starts), cell in list(self.cells.items()):
            if agent_id is not None:
                add(self.cells[None, starts], cell)
        return self.cells


def parts(quarters: list[datetime]) -> Iterator[list[datetime]]:
    """So that few conversations are read at once."""
    half = len(quarters) // 2
    if half and activity_of(quarters)[: MOST + 1].count() > MOST:
        yield from parts(quarters[:half])
        yield from parts(quarters[half:])
    else:
        yield quarters


def activity_of(quarters: list[datetime]) -> QuerySet:
    return Activity.unlimited.filter(starts__in=quarters)


def one(microseconds: int | None) -> tuple[int, int, dict[str, int]]:
    if microseconds is None:
        return 0, 0, {}
    return 1, microseconds, {str(bin_of(microseconds)): 1}


# Writing


def make_stale_ones() -> bool:
    """
    Make the cells of the newest day with stale quarters. False if none is stale. Needs a
    transaction.
    """
    with connections["default"].cursor() as cursor:
        # Whoever marks one of them as stale from now on waits until these cells are made.
        cursor.execute(TAKEN)
        quarters = sorted(starts for (starts,) in cursor.fetchall())
    if not quarters:
        return False
    day = day_of(quarters[0])
    if day < kept_since():
        make_day(day)
    else:
        make_quarters(day, quarters)
    return True


def make_day(day: datetime):
    making = Making(day)
    making.add_quarters([day + number * QUARTER for number in range(DAY // QUARTER)])
    Cell.unlimited.filter(starts__gte=day, starts__lt=day + DAY).delete()
    write(Grain.DAY, making.of_all())


def make_quarters(day: datetime, quarters: list[datetime]):
    making = Making()
    making.add_quarters(quarters)
    cells = making.of_all()
    of_quarters = Cell.unlimited.filter(grain=Grain.QUARTER)
    former = of_quarters.filter(starts__in=quarters)
    agents = {agent_id for agent_id, _ in cells} | set(former.values_list("agent_id", flat=True))
    former.delete()
    write(Grain.QUARTER, cells)
    of_agents = Q(agent_id__in=agents - {None}) | Q(agent_id=None)
    days: Cells = defaultdict(empty)
    for (agent_id, _), cell in cells.items():
        add(days[agent_id, day], cell)
    others = of_quarters.filter(of_agents, starts__gte=day, starts__lt=day + DAY)
    others = others.exclude(starts__in=quarters).values_list("agent_id", *VALUES)
    for agent_id, *values in others.iterator():
        add(days[agent_id, day], dict(zip(VALUES, values, strict=True)))
    Cell.unlimited.filter(of_agents, grain=Grain.DAY, starts=day).delete()
    write(Grain.DAY, days)


def write(grain: Grain, cells: Cells):
    nothing = dict.fromkeys(COUNTS, 0)
    rows = (
        nothing
        | without_zeros(cell)
        | {"agent_id": agent_id, "grain": grain.value, "starts": starts}
        for (agent_id, starts), cell in cells.items()
    )
    copy(Cell, CELLS, ([row.get(name, {}) for name in CELLS] for row in rows))


def delete_old_quarters():
    Cell.unlimited.filter(grain=Grain.QUARTER, starts__lt=kept_since()).delete()
