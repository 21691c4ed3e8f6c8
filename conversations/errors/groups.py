"""
The problems of the last two weeks, grouped by message.

Our indexes hold the problems and nothing else. Without them, errors() looks through the newest
conversations, as far back as time allows, and says how far.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.utils import timezone

from backoffice.databases.time_limits import TimeBudget
from privacy import masking

from ..display.charts import Day, Trend
from ..indexes import state
from ..models import Agent, Session
from ..problems import kinds
from ..problems.messages import shown_message
from . import collect

NEW = timedelta(days=1)


@dataclass(frozen=True)
class Group:
    """
    Problems of one kind with one normalised message; of runs without words, all of a kind.

    `first` is the first problem ever if `first_is_known`, else the first one looked at.
    """

    kind: str
    message: str
    number: int
    conversations: int
    first: datetime
    last: datetime
    first_is_known: bool
    agents: list[Agent]
    agents_count: int
    # The message, or the id of one of the problems if the message may not be shown.
    link: str
    trend: Trend

    @property
    def who(self) -> str:
        return self.message.partition(": ")[0]

    @property
    def words(self) -> str:
        return self.message.partition(": ")[2]

    @property
    def agents_left_out(self) -> int:
        return self.agents_count - len(self.agents)

    @property
    def is_new(self) -> bool:
        return self.first_is_known and self.first > timezone.now() - NEW


@dataclass(frozen=True)
class Errors:
    """
    The most frequent groups first. `reached`: older conversations were not looked at; `capped`:
    kinds with more than NEWEST problems, which were grouped only back to the given moment.
    """

    groups: list[Group] = field(default_factory=list)
    number: int = 0
    groups_left_out: int = 0
    reached: datetime | None = None
    capped: dict[str, datetime] = field(default_factory=dict)

    @property
    def is_partial(self) -> bool:
        return bool(self.reached or self.capped)


def day_starts() -> list[datetime]:
    """The first moments of the last DAYS days in the viewer's time zone, today's at the end."""
    today = timezone.localdate()
    days = (today - timedelta(days=back) for back in reversed(range(collect.DAYS)))
    return [timezone.make_aware(datetime.combine(day, datetime.min.time())) for day in days]


def errors(seconds: float, kind: str = "", agent: Agent | None = None) -> Errors:
    """
    Problems of the last DAYS days: of every kind, or one of `kinds.problems()`; of one agent.

    Raises OperationalError if not even the newest conversations can be looked at within that
    many seconds.
    """
    budget = TimeBudget(seconds)
    asked = [kinds.named(kind)] if kind else kinds.problems()
    starts = day_starts()
    sessions = Session.objects.filter(agent=agent) if agent else Session.objects.all()
    rows, reached = None, None
    if all(state.is_ready(each.index_name) for each in asked):
        rows = collect.from_indexes(
            asked, sessions if agent else None, starts, seconds * collect.INDEXED_SHARE
        )
    if rows is None:
        rows, reached = collect.look_back(asked, sessions, starts, budget)
    return assemble(rows, reached, starts, agent)


def assemble(rows, reached, starts, agent) -> Errors:
    totals = {row[0]: (row[3], row[5]) for row in rows if row[2] is None}
    rows = [row for row in rows if row[2] is not None]
    capped = {kind: oldest for kind, (number, oldest) in totals.items() if number == collect.NEWEST}
    ever = collect.first_seen(rows, agent)
    named = Agent.objects.only("name").in_bulk({pk for row in rows for pk in row[8]})
    groups = []
    for row in rows:
        kind, who, words, number, conversations, first, last, agents_count, pks, numbers = row[:10]
        example, is_cut = row[11:]
        who, words = masking.raw(who), masking.raw(words)
        # Of runs, there are no words.
        message = "" if who is None else f"{who}: {words}"
        shown = shown_message(message, is_cut)
        whole_since = max(filter(None, (reached, capped.get(kind))), default=starts[0])
        groups.append(
            Group(
                kind=kind,
                message=shown,
                number=number,
                conversations=conversations,
                first=ever.get((kind, who, words), first),
                last=last,
                first_is_known=(kind, who, words) in ever,
                # An agent deleted between two queries has no name.
                agents=[named[pk] for pk in pks if pk in named],
                agents_count=agents_count,
                link=message if shown == message else example,
                trend=Trend(
                    [
                        Day(timezone.localdate(start), number, start >= whole_since)
                        for start, number in zip(starts, numbers, strict=True)
                    ]
                ),
            )
        )
    return Errors(
        groups=groups,
        number=sum(number for number, _ in totals.values()),
        groups_left_out=rows[0][10] - len(rows) if rows else 0,
        reached=reached,
        capped=capped,
    )
