"""One conversation as staff read it: messages in time order, and each run's outcome and steps."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import QuerySet, Window
from django.db.models.functions import Left, Length, RowNumber

from backoffice.words import local
from privacy import masking

from ..agentdb.compiled import tuples
from ..agentdb.sql import cut_text
from ..models import NO_NAME, ChatMessage, Run, Task
from ..summaries import run_summaries
from .reasons import NAME_LENGTH, Entry, add_reasons

ITEMS_PER_PAGE = 80
# If only this many are left at the beginning, they join the next page.
FEW = 20
NAMES_SHOWN = 24
# Longer messages are cut here; the rest is read when somebody opens it.
FOLD = 3000
GAP = timedelta(minutes=5)
# Bytes of HTML; once they are used up, the remaining messages are cut shorter.
ROOM_FOR_MESSAGES = 100_000


@dataclass
class Place:
    """The position of a message or, if message_id is None, of the end of a run."""

    at: datetime
    run_id: uuid.UUID | None
    message_id: uuid.UUID | None = None
    # Whether it is the end of a run without messages.
    is_silent: bool = False


@dataclass
class Transcript:
    entries: list[Entry]
    start: int
    end: int
    total: int
    # Where the request said that this part ends, because the next part is already shown.
    until: int | None = None

    @property
    def left(self) -> int:
        return self.total - self.end

    @property
    def is_whole(self) -> bool:
        return (self.start, self.end) == (0, self.total)

    @property
    def previous(self) -> int:
        before = self.start - ITEMS_PER_PAGE
        return before if before > FEW else 0

    @property
    def is_long(self) -> bool:
        return self.total > ITEMS_PER_PAGE

    @property
    def newest(self) -> int:
        """The start of the page that ends with the newest item."""
        return max(self.total - ITEMS_PER_PAGE, 0)


def outline(session_id, runs: dict[uuid.UUID, datetime] | None = None) -> list[Place]:
    """
    The order of everything in a conversation, read from ids and times alone: messages by time, even
    if runs overlap, and the end of each run after its last message. `runs` maps each run's id to
    when it began; pass it if you have it, to save a query.
    """
    if runs is None:
        runs = dict(tuples(run_places, session_id=session_id))
    said = tuples(message_places, session_id=session_id)
    last = {run_id: message_id for message_id, run_id, _ in said if run_id in runs}
    silent = [(at, run_id) for run_id, at in runs.items() if run_id not in last]
    silent.sort(reverse=True)
    places: list[Place] = []
    for message_id, run_id, at in said:
        while silent and silent[-1][0] < at:
            places.append(Place(*silent.pop(), is_silent=True))
        places.append(Place(at, run_id if run_id in runs else None, message_id))
        if last.get(run_id) == message_id:
            places.append(Place(at, run_id))
    return places + [Place(*each, is_silent=True) for each in reversed(silent)]


def run_places(session_id) -> QuerySet:
    return Run.objects.filter(session_id=session_id).values_list("pk", "created_at")


def message_places(session_id) -> QuerySet:
    messages = ChatMessage.objects.filter(session_id=session_id).oldest_first()
    return messages.values_list("pk", "run_id", "created_at")


def transcript(
    session_id,
    places: list[Place] | None = None,
    *,
    start: int | None = 0,
    until: int | None = None,
    message_id=None,
    run_id=None,
    items: int = ITEMS_PER_PAGE,
    fold: int = FOLD,
) -> Transcript:
    """
    One page of a conversation: the items from `start` (to `until`, if given); the page with this
    message or the end of this run; or, if `start` is None and neither was found, the newest page.
    `places` as outline() returns them; pass them if you have them, to save two queries.

    The number of queries is constant. No payloads are read, and messages only as far as shown.
    """
    if places is None:
        places = outline(session_id)
    if message_id or run_id:
        wanted = (message_id, None) if message_id else (None, run_id)
        for number, place in enumerate(places):
            if (place.message_id, None if place.message_id else place.run_id) == wanted:
                start = number // items * items
                break
    if start is None:
        start = max(len(places) - items, 0)
    if until is not None:
        items = min(max(until - start, 0), ITEMS_PER_PAGE + FEW)
    shown = places[start : start + items]
    run_ids = {place.run_id for place in shown if place.run_id}
    runs = run_summaries(session_id, run_ids)
    ids = [place.message_id for place in shown if place.message_id]
    contents = shortened(session_id, ids, fold)
    entries: list[Entry] = []
    previous = places[start - 1] if start and shown else None
    begun = {place.run_id for place in places[:start] if place.run_id}
    date = None
    for place in shown:
        # A run that was erased between the two queries has no row.
        if place.run_id and place.run_id not in runs:
            continue
        run = runs[place.run_id] if place.run_id else None
        if run is None or not entries or entries[-1].run is not run:
            # If runs overlap, each of them is shown in several parts.
            is_apart = previous is not None and previous.run_id != place.run_id
            entries.append(Entry(run, is_continuation=is_apart and place.run_id in begun))
            begun.add(place.run_id)
        entry = entries[-1]
        # A date stands above the first item of the page and above the first of each day.
        day = place.at if local(place.at).date() != date else None
        if place.message_id is None:
            entry.ends, entry.is_silent = True, place.is_silent
            entry.day = day if place.is_silent else None
        elif message := contents.get(place.message_id):
            mask_cut(message)
            message.day = day
            pause = place.at - previous.at if previous else None
            message.gap = pause if pause and pause > GAP else None
            entry.messages.append(message)
        previous, date = place, local(place.at).date()
    ended = [entry for entry in entries if entry.ends]
    add_steps(session_id, ended)
    add_reasons(session_id, ended)
    return Transcript(entries, start, start + len(shown), len(places), until)


def shortened(session_id, ids: list, fold: int) -> dict[uuid.UUID, ChatMessage]:
    """{id: message, annotated with the beginning of its text and the length of all of it}"""
    messages = ChatMessage.objects.filter(session_id=session_id, pk__in=ids).defer("content")
    found = messages.annotate(text=cut_text("content", fold), length=Length("content"))
    return {message.pk: message for message in found}


def mask_cut(message: ChatMessage):
    if masking.is_active():
        is_whole = message.length == len(masking.raw(message.text))
        # The page offers the rest of the message if its length exceeds that of the text.
        message.length = (
            len(message.text) if is_whole else max(message.length, len(message.text) + 1)
        )


def add_steps(session_id, entries: Iterable[Entry]):
    by_run = {entry.run.pk: entry for entry in entries}
    for run_id, name, node_type in tuples(first_steps, session_id=session_id, run_ids=[*by_run]):
        label = masking.cut(name, NAME_LENGTH) or masking.cut(node_type, NAME_LENGTH)
        by_run[run_id].steps.append(label or NO_NAME)


def first_steps(session_id, run_ids) -> QuerySet:
    """Limited in SQL: a run may have thousands of steps, and a name may have any length."""
    tasks = Task.objects.filter(session_id=session_id, run_id__in=run_ids).in_order()
    place = Window(RowNumber(), partition_by="run_id", order_by=tasks.query.order_by)
    shown = tasks.annotate(place=place).filter(place__lte=NAMES_SHOWN).order_by("run_id", "place")
    return shown.values_list("run_id", *(Left(name, NAME_LENGTH) for name in ("name", "node_type")))
