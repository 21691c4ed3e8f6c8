"""When an agent's workflow changed, what changed, and its figures before and after."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise

from backoffice.words import elapsed_words

from .. import figures, links
from ..models import WorkflowSnapshot
from ..periods import Span
from ..quarters import DAY, QUARTER, kept_since, unit_start
from ..spans import HOUR
from ..tiles import MEASURES, Number
from .nodes import shown

LONGEST = timedelta(days=7)
# So many are listed, and the newest of them compared.
MOST, MOST_COMPARED = 20, 3


@dataclass(frozen=True)
class Comparison:
    """Figures of as much time before a change as after it."""

    # 2 days
    length: str
    # Without the UTC day of the change; otherwise without its quarter of an hour.
    is_of_days: bool
    # (label, before, after)
    rows: list[tuple[str, Number, Number]]


@dataclass(frozen=True)
class Change:
    at: datetime
    # What changed, as sentences.
    words: list[str]
    # None of older ones, and where nothing is counted yet.
    comparison: Comparison | None = None


@dataclass(frozen=True)
class History:
    """The newest change comes first; `known_since` is None before the first snapshot."""

    known_since: datetime | None
    changes: list[Change]
    # Whether there were more.
    is_cut: bool


def history(agent_id: uuid.UUID, until: datetime | None) -> History:
    """Without `until`, nothing is compared."""
    kept = WorkflowSnapshot.objects.of_agent(agent_id).order_by("-id")
    snapshots, oldest = list(kept[: MOST + 2]), kept.last()
    found = []
    for place, (newer, older) in enumerate(pairwise(snapshots)):
        comparison = None
        if until and place < MOST_COMPARED:
            # What came before the oldest one is not known: it may have been the same.
            began = None if older.pk == oldest.pk else older.since
            comparison = compared(agent_id, newer.since, began, until)
        found.append(Change(newer.since, what_changed(older.nodes, newer.nodes), comparison))
    return History(oldest and oldest.since, found[:MOST], len(found) > MOST)


def moments(agent_id: uuid.UUID) -> list[datetime]:
    """When its workflow changed."""
    snapshots = WorkflowSnapshot.objects.of_agent(agent_id).order_by("id")
    return list(snapshots.values_list("since", flat=True)[1:])


def compared(
    agent_id: uuid.UUID, at: datetime, began: datetime | None, until: datetime
) -> Comparison | None:
    """Over up to a week, if the workflow `began` so long before, and figures are known after it."""
    unit = QUARTER
    spans = around(at, began, until, unit)
    if spans and spans[0].since < kept_since():
        # Quarters of an hour are no longer kept.
        unit = DAY
        spans = around(at, began, until, unit)
    if not spans:
        return None
    found = figures.of_periods(spans, agent_id)
    active = [partial(links.conversations, span, **links.of_agent(agent_id)) for span in spans]
    rows = [
        (
            measure.label,
            *(measure.number(each, link) for each, link in zip(found, active, strict=True)),
        )
        for measure in MEASURES
    ]
    length = elapsed_words(spans[0].until - spans[0].since)
    return Comparison(length, unit == DAY, rows)


def around(
    at: datetime, began: datetime | None, until: datetime, unit: timedelta
) -> tuple[Span, Span] | None:
    """As much before the unit that a change is in as after it; None if that is not even a unit."""
    ends = unit_start(at, unit)
    begins = ends + unit
    length = min(LONGEST, until - begins)
    if began:
        length = min(length, ends - unit_start(began, unit) - unit)
    if length < unit:
        return None
    # As the words for it say.
    length -= length % next((each for each in (DAY, HOUR) if length >= each), QUARTER)
    return Span(ends - length, ends), Span(begins, begins + length)


def what_changed(before: list[list], after: list[list]) -> list[str]:
    return list(differences(before, after)) or ["Settings of the whole workflow changed."]


def differences(before: list[list], after: list[list]) -> Iterator[str]:
    old, new = ({name: rest for name, *rest in nodes} for nodes in (before, after))
    if not before or not after:
        yield "The workflow was added." if after else "The workflow was removed."
        return
    for name in new:
        if name not in old:
            yield f"“{shown(name)}” was added."
    for name in old:
        if name not in new:
            yield f"“{shown(name)}” was removed."
    for name, (node_type, digest, leads) in new.items():
        former_type, former_digest, former_leads = old.get(name, (node_type, digest, leads))
        if former_type != node_type:
            yield f"“{shown(name)}” is of another type: {shown(node_type)}."
        elif former_leads != leads:
            yield f"“{shown(name)}” leads elsewhere."
        elif former_digest != digest:
            yield f"“{shown(name)}” was edited."
