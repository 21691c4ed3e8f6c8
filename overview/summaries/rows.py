"""A summary's rows: each agent in each day, week or month in which anything happened to it."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from django.db.models import TextField
from django.db.models.functions import Cast, Coalesce
from django.utils import timezone

from conversations.errors.periods import in_iso
from conversations.exports.lines import Column, Kind
from conversations.exports.tables import Row
from conversations.models import Agent
from conversations.problems import kinds
from conversations.problems.outcomes import NONE

from .. import usage
from ..figures import HAS_PROBLEM, IS_ACTIVE, KIND, OF_CELLS, Figures, Reading, counted
from ..models import Activity, Cell, Fact
from ..periods import Span
from ..spans import of_span

# How many days, weeks or months are read at once.
AT_ONCE = 10

# {(place of the day, week or month; agent, None for model calls of no agent): its figures}
Found = defaultdict[tuple[int, uuid.UUID | None], Figures]

PERCENTILES = (50, 95)


def columns() -> list[Column]:
    numbers = [
        "conversations", "people", "conversations_without_answer", "people_without_answer",
        "conversations_with_problem",
        *(f"conversations_with_{kind.name}" for kind in kinds.problems()),
        "messages", "runs", "runs_without_answer", "answers",
        *(f"seconds_to_answer_p{percent}" for percent in PERCENTILES),
        "model_calls", "tokens", "cost_usd", "calls_without_price",
    ]  # fmt: skip
    return [
        Column("agent_id", Kind.OURS),
        Column("agent", Kind.TEXT),
        Column("starts", Kind.DATE),
        Column("from", Kind.TIME),
        Column("until", Kind.TIME),
        *(Column(name, Kind.PLAIN) for name in numbers),
    ]


def rows(spans: Iterable[Span], agent_id: uuid.UUID | None) -> Iterator[Row]:
    """Of one agent or, without one, of all that the user may see. In order of time and name."""
    # Read from the agent database, which masks them; an agent that is gone has none.
    names = dict(Agent.objects.values_list("pk", "name"))
    rest = iter(spans)
    while some := list(islice(rest, AT_ONCE)):
        found = figures(some, agent_id)
        ranked = sorted(found, key=lambda key: (key[0], names.get(key[1]) or "", str(key[1])))
        for place, agent in ranked:
            yield row(some[place], agent, names.get(agent), found[place, agent])


def row(span: Span, agent: uuid.UUID | None, name: str | None, found: Figures) -> Row:
    money = found.money
    numbers = [
        found.conversations,
        found.people,
        found.unanswered,
        found.unanswered_people,
        found.troubled,
        *(found.by_kind[kind.name] for kind in kinds.problems()),
        found.messages,
        found.runs,
        found.runs_without_answer,
        found.answers,
        *(found.seconds(percent) for percent in PERCENTILES),
        found.calls,
        found.tokens,
        money and money.amount,
        money and money.unpriced,
    ]
    return [
        agent and str(agent),
        name,
        timezone.localdate(span.since).isoformat(),
        in_iso(span.since),
        in_iso(span.until),
        *numbers,
    ]


def figures(spans: Sequence[Span], agent_id: uuid.UUID | None) -> Found:
    found: Found = defaultdict(Figures)
    reading = Reading(spans)
    add_conversations(found, reading, agent_id)
    for place, span in enumerate(spans):
        add_cells(found, place, span, agent_id)
    return found


def add_conversations(found: Found, reading: Reading, agent_id: uuid.UUID | None):
    activity = reading.by_period(Activity.objects.of_agent(agent_id))
    active, with_problem = activity.filter(IS_ACTIVE), activity.filter(HAS_PROBLEM)
    unanswered = active.filter(
        session_id__in=Fact.objects.of_agent(agent_id)
        .filter(outcome=NONE.name, last_activity__gte=reading.bounds[0])
        .values("session_id")
    ).annotate(who=Coalesce(Cast("person", TextField()), Cast("session_id", TextField())))

    def add(name: str, rows, of: str = "session_id"):
        for place, agent, number in counted(rows, "place", "agent_id", of=of):
            setattr(found[reading.places[place], agent], name, number)

    add("conversations", active)
    add("people", active.filter(person__isnull=False), "person")
    add("unanswered", unanswered)
    add("unanswered_people", unanswered, "who")
    add("troubled", with_problem)
    for place, agent, kind, number in counted(
        with_problem.annotate(kind=KIND), "place", "agent_id", "kind"
    ):
        found[reading.places[place], agent].by_kind[kind] = number


def add_cells(found: Found, place: int, span: Span, agent_id: uuid.UUID | None):
    cells = Cell.objects.filter(of_span(span))
    if agent_id:
        cells = cells.filter(agent_id=agent_id)
    # Model calls of no agent are in the cells of all agents together alone. One statement reads
    # both: otherwise, a rollup in between could look like such calls.
    of_all = Figures()
    for agent, *values in cells.values_list("agent_id", *OF_CELLS).iterator():
        (of_all if agent is None else found[place, agent]).add_cell(*values)
    for (other, _), of_agent in found.items():
        for model, used in of_agent.usages.items() if other == place else ():
            if model in of_all.usages:
                usage.add(of_all.usages[model], used, -1)
    of_none = {model: used for model, used in of_all.usages.items() if used["calls"]}
    if of_none:
        found[place, None].add_usages(of_none)
