"""
The problems of a period, grouped by message and compared with the period before.

Our indexes cover just the problems. Without them, errors() reads the newest conversations as far
back as time allows, and says how far that was.
"""

from dataclasses import dataclass, field
from datetime import datetime

from backoffice.databases.time_limits import TimeBudget
from privacy import masking

from ..display.charts import Bar, Trend
from ..indexes import state
from ..models import Agent, Session
from ..problems import kinds
from ..problems.messages import ANY_WHO, NO_REASON, WHO_LENGTH, shown_message
from . import collect, periods
from .collect import Row
from .periods import Shown

# A group is rising if it has this many times as many problems as in the period before, and at least
# this many more.
RISING_TIMES = 1.5
RISING_MORE = 3


@dataclass(frozen=True)
class Name:
    """What failed, in a group that counts equal texts together whatever failed."""

    name: str
    number: int
    conversations: int
    last: datetime
    link: str


@dataclass(frozen=True)
class Group:
    """
    Problems of one kind with the same normalised message; for runs without an error text, all
    problems of one kind.

    `first` is the first problem ever if `first_is_known`, else the first one that was read.
    `since`: older ones were not counted. `before`: the number in the period before, if known.
    """

    kind: str
    message: str
    number: int
    conversations: int
    first: datetime
    last: datetime
    first_is_known: bool
    is_new: bool
    since: datetime
    before: int | None
    agents: list[Agent]
    agents_count: int
    # The message, or if that may not be shown, the id of one of the problems.
    link: str
    trend: Trend
    names: list[Name] = field(default_factory=list)
    names_count: int = 0

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
    def names_left_out(self) -> int:
        return self.names_count - len(self.names)

    @property
    def more(self) -> int:
        """The difference to the period before: negative if there are fewer, 0 if unknown."""
        return 0 if self.before is None else self.number - self.before

    @property
    def is_rising(self) -> bool:
        return self.more >= RISING_MORE and self.number >= RISING_TIMES * (self.before or 0)


SORTS = {
    "rising": lambda group: (group.more, group.number, group.last),
    "new": lambda group: (group.first_is_known, group.first),
}


@dataclass(frozen=True)
class Errors:
    """
    `reached`: older conversations were not read. `capped`: kinds with more than NEWEST problems,
    and the moment back to which these were counted.
    """

    groups: list[Group] = field(default_factory=list)
    number: int = 0
    groups_left_out: int = 0
    reached: datetime | None = None
    capped: dict[str, datetime] = field(default_factory=dict)
    # The height of the highest bar of all groups.
    most: int = 0

    @property
    def is_partial(self) -> bool:
        return bool(self.reached or self.capped)


def errors(
    seconds: float,
    kind: str = "",
    agent: Agent | None = None,
    shown: Shown | None = None,
    order: str = "count",
) -> Errors:
    """
    Problems of a period: of all kinds or one of `kinds.problems()`, of all agents or one. The most
    frequent come first, unless `order` names another of collect.ORDERS.

    Raises OperationalError if the time in `seconds` is not even enough for the newest
    conversations.
    """
    budget = TimeBudget(seconds)
    shown = shown or periods.named(periods.DEFAULT)
    asked = [kinds.named(kind)] if kind else kinds.problems()
    sessions = Session.objects.filter(agent=agent) if agent else Session.objects.all()
    rows, reached = None, None
    if all(state.is_ready(each.index_name) for each in asked):
        rows = collect.from_indexes(
            asked, sessions if agent else None, shown, order, seconds * collect.INDEXED_SHARE
        )
    # Whether earlier() still has to count the problems of the period before.
    uncounted = rows is not None
    if rows is None:
        rows, reached = collect.look_back(asked, sessions, shown, order, budget)
    return Assembly(rows, reached, shown, agent, uncounted).errors(order)


class Assembly:
    """Builds groups from the rows that were read."""

    def __init__(self, rows: list[Row], reached, shown: Shown, agent, uncounted: bool):
        self.shown, self.reached, self.uncounted = shown, reached, uncounted
        self.rows = [row for row in rows if row.level == "group"]
        self.kinds = {row.kind: row for row in rows if row.level == "kind"}
        self.names: dict[tuple, list[Row]] = {}
        for row in rows:
            if row.level == "name":
                self.names.setdefault((row.kind, masking.raw(row.words)), []).append(row)
        self.earlier = collect.earlier(self.rows, agent, shown.before)
        self.agents = Agent.objects.only("name").in_bulk(
            {pk for row in self.rows for pk in row.agents}
        )

    def errors(self, order: str) -> Errors:
        groups = [self.group(row) for row in self.rows]
        if order in SORTS:
            groups.sort(key=SORTS[order], reverse=True)
        groups = groups[: collect.GROUPS]
        most = max((group.trend.most for group in groups), default=0)
        for group in groups:
            group.trend.most = most
        capped = {kind: self.whole_since(kind) for kind in self.kinds}
        is_reached = self.reached and self.reached > self.shown.since - collect.SLACK
        return Errors(
            groups=groups,
            number=sum(row.number for row in self.kinds.values()),
            groups_left_out=self.rows[0].total - len(groups) if self.rows else 0,
            reached=self.reached if is_reached else None,
            capped={kind: at for kind, at in capped.items() if at and at > self.shown.since},
            most=most,
        )

    def whole_since(self, kind: str) -> datetime | None:
        """The moment back to which this kind is complete, if there were too many to read all."""
        read = self.kinds[kind]
        return read.first if read.total == collect.NEWEST else None

    def group(self, row: Row) -> Group:
        who, words = masking.raw(row.who), masking.raw(row.words)
        names = self.names.get((row.kind, words), []) if who == ANY_WHO else []
        names.sort(key=lambda name: (-name.number, masking.raw(name.who)))
        link_who = who
        if len(names) == 1:
            who = masking.raw(names[0].who)
        # Runs without an error text have no name either.
        message = "" if who is None else f"{who}: {words}"
        shown = shown_message(message, row.is_cut)
        link = f"{who}: {words}" if shown == message else row.id
        if shown != message and len(names) > 1:
            link = f"{ANY_WHO}: {row.id}"
        known = self.earlier.get((row.kind, link_who, words), (None, None))
        first = known[0] or row.first
        whole_since = max(
            filter(None, (self.reached, self.whole_since(row.kind))),
            default=self.shown.before.since,
        )
        return Group(
            kind=row.kind,
            message=shown,
            number=row.number,
            conversations=row.conversations,
            first=first,
            last=row.last,
            first_is_known=known[0] is not None,
            is_new=known[0] is not None and first >= self.shown.new_since,
            since=max(self.shown.since, self.whole_since(row.kind) or self.shown.since),
            before=self.before(row, known[1], whole_since),
            # An agent that was deleted between the two queries has no name.
            agents=[self.agents[pk] for pk in row.agents if pk in self.agents],
            agents_count=row.agents_count,
            link=NO_REASON if who is None else link,
            trend=Trend(
                [
                    Bar(start, number, start >= whole_since)
                    for start, number in zip(self.shown.starts, row.bars, strict=True)
                ],
                by_hour=self.shown.by_hour,
            ),
            names=[self.name(name, words) for name in names] if len(names) > 1 else [],
            names_count=names[0].total if names else 0,
        )

    def before(self, row: Row, counted: int | None, whole_since: datetime) -> int | None:
        if self.uncounted and row.words is not None and row.who is not None:
            # If the counted problems do not cover all of this period, a comparison would mislead.
            return counted if whole_since <= self.shown.since else None
        return row.before if whole_since <= self.shown.before.since else None

    def name(self, row: Row, words: str) -> Name:
        who = masking.raw(row.who)
        message = f"{who}: {words}"
        shown = shown_message(message, row.is_cut)
        return Name(
            name=masking.mask(who, cut_end=len(who) >= WHO_LENGTH) if masking.is_active() else who,
            number=row.number,
            conversations=row.conversations,
            last=row.last,
            link=message if shown == message else row.id,
        )
