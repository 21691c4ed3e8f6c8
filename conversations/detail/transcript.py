"""One conversation as staff read it: runs in time order, each with its messages and steps."""

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
NAMES_SHOWN = 24
# A longer message is shortened; the rest is read when somebody opens it.
FOLD = 3000
GAP = timedelta(minutes=5)
# Bytes of HTML; when they are used up, the rest of the page is cut shorter.
ROOM_FOR_MESSAGES = 100_000


@dataclass
class Place:
    """Where a message, or (message_id None) the end of a run, stands in the conversation."""

    at: datetime
    run_id: uuid.UUID | None
    message_id: uuid.UUID | None = None
    # The end of a run without messages.
    is_silent: bool = False


@dataclass
class Transcript:
    entries: list[Entry]
    start: int
    end: int
    total: int

    @property
    def left(self) -> int:
        return self.total - self.end

    @property
    def is_whole(self) -> bool:
        return (self.start, self.end) == (0, self.total)

    @property
    def previous(self) -> int:
        return max(self.start - ITEMS_PER_PAGE, 0)


def outline(session_id, runs: dict[uuid.UUID, datetime] | None = None) -> list[Place]:
    """
    The order of everything in a conversation, from ids and times alone: messages by time, also
    where runs overlap, and each run's end behind its last message. `runs`: when each began, if that
    was read already.
    """
    if runs is None:
        runs = dict(Run.objects.filter(session_id=session_id).values_list("pk", "created_at"))
    messages = ChatMessage.objects.filter(session_id=session_id).oldest_first()
    said = list(messages.values_list("pk", "run_id", "created_at"))
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


def transcript(
    session_id,
    *,
    start: int = 0,
    message_id=None,
    run_id=None,
    items: int = ITEMS_PER_PAGE,
    fold: int = FOLD,
    runs: dict[uuid.UUID, datetime] | None = None,
) -> Transcript:
    """
    One page of a conversation: from an item on, or the page that holds a message or a run's end.
    `runs` as in outline().

    A constant number of queries; reads no payloads, and only as much of a message as is shown.
    """
    places = outline(session_id) if runs is None else outline(session_id, runs)
    if message_id or run_id:
        wanted = (message_id, None) if message_id else (None, run_id)
        found = next(
            (
                number
                for number, place in enumerate(places)
                if (place.message_id, None if place.message_id else place.run_id) == wanted
            ),
            0,
        )
        start = found // items * items
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
        # A run erased between two queries has no row.
        if place.run_id and place.run_id not in runs:
            continue
        run = runs[place.run_id] if place.run_id else None
        if run is None or not entries or entries[-1].run is not run:
            # Where runs overlap, each of them is told in parts.
            is_apart = previous is not None and previous.run_id != place.run_id
            entries.append(Entry(run, goes_on=is_apart and place.run_id in begun))
            begun.add(place.run_id)
        entry = entries[-1]
        # The first thing on a page has its date, and each day's.
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
    return Transcript(entries, start, start + len(shown), len(places))


def shortened(session_id, ids: list, fold: int) -> dict[uuid.UUID, ChatMessage]:
    """{id: message with the beginning of its text, and the text's length}"""
    messages = ChatMessage.objects.filter(session_id=session_id, pk__in=ids).defer("content")
    found = messages.annotate(text=cut_text("content", fold), length=Length("content"))
    return {message.pk: message for message in found}


def mask_cut(message: ChatMessage):
    if masking.is_active():
        is_whole = message.length == len(masking.raw(message.text))
        # A length above the text's means that there is more to show.
        message.length = (
            len(message.text) if is_whole else max(message.length, len(message.text) + 1)
        )


def add_steps(session_id, entries: Iterable[Entry]):
    by_run = {entry.run.pk: entry for entry in entries}
    for run_id, name, node_type in tuples(first_steps, session_id=session_id, run_ids=[*by_run]):
        label = masking.cut(name, NAME_LENGTH) or masking.cut(node_type, NAME_LENGTH)
        by_run[run_id].steps.append(label or NO_NAME)


def first_steps(session_id, run_ids) -> QuerySet:
    """Cut in SQL: a run may have thousands of steps, a name any length."""
    tasks = Task.objects.filter(session_id=session_id, run_id__in=run_ids).in_order()
    place = Window(RowNumber(), partition_by="run_id", order_by=tasks.query.order_by)
    shown = tasks.annotate(place=place).filter(place__lte=NAMES_SHOWN).order_by("run_id", "place")
    return shown.values_list("run_id", *(Left(name, NAME_LENGTH) for name in ("name", "node_type")))
