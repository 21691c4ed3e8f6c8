"""
What has happened since the figures end: read from the conversations when somebody looks, and
counted as the rollup will count it.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from backoffice.databases.time_limits import TimeBudget
from conversations.problems.outcomes import NONE
from conversations.selection.look_back import collected

from ..figures import Figures
from ..periods import Span, quarter_start
from ..quarters import QUARTER
from . import changes, facts
from .cells import Making

# Nothing is read if the figures are older, or if more conversations have been active since.
LONGEST = timedelta(hours=2)
MOST = 300
# Of which each statement may take a half.
SECONDS = 2


@dataclass(frozen=True)
class Lately:
    # To the end of the quarter of an hour in progress.
    span: Span
    as_of: datetime
    # None: too much has happened to read it now.
    figures: Figures | None


def since(moment: datetime) -> Lately | None:
    """
    From the beginning of a quarter of an hour; None if that is too long ago, or if no index finds
    messages by their times.
    """
    as_of = changes.now()
    span = Span(moment, quarter_start(as_of) + QUARTER)
    if as_of - moment > LONGEST or not changes.finds_messages():
        return None
    found = collected("agents", TimeBudget(SECONDS), lambda: figures_of(span))
    return Lately(span, as_of, found)


def figures_of(span: Span) -> Figures | None:
    ids = changes.recent(span.since, span.until, limit=MOST + 1)
    if len(ids) > MOST:
        return None
    quarters = range(int(span.since.timestamp()), int(span.until.timestamp()), QUARTER.seconds)
    conversations = facts.conversations(list(ids))
    found = Figures()
    people = set()
    for each in conversations:
        counts = [each.counts[quarter] for quarter in quarters if quarter in each.counts]
        problems = set().union(*(each.problems.get(quarter, ()) for quarter in quarters))
        found.messages += sum(of_quarter["messages"] for of_quarter in counts)
        found.troubled += bool(problems)
        if any(of_quarter["messages"] or of_quarter["runs"] for of_quarter in counts):
            found.conversations += 1
            if each.outcome == NONE.name:
                found.unanswered += 1
                people.add(each.id if each.person is None else each.person)
    found.unanswered_people = len(people)
    add_rows(found, {each.id: each.agent_id for each in conversations}, list(quarters))
    return found


def add_rows(found: Figures, sessions: dict[uuid.UUID, uuid.UUID], quarters: list[int]):
    """Adds runs and model calls."""
    making = Making()
    making.add_runs(sessions, set(quarters))
    making.add_calls(quarters)
    for cell in making.cells.values():
        bins = cell["answers"]["bins"]
        found.add_cell(0, cell["runs"], cell["problems"], bins, cell["model_calls"])
