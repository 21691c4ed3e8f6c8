"""One conversation as staff read it: runs in time order, each with its messages and steps."""

import uuid
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import QuerySet, Window
from django.db.models.functions import Left, Length, RowNumber
from django.utils.html import escape

from privacy import masking

from ..agentdb import revision
from ..agentdb.compiled import by_id, tuples
from ..models import NO_NAME, ChatMessage, ModelCall, Run, Task
from ..querysets import MODEL_ERROR, TASK_ERROR, TOOL_ERROR, payload_text
from ..summaries import run_summaries

ITEMS_PER_PAGE = 80
NAMES_SHOWN = 24
# A longer message is folded; the rest is read when somebody opens it.
FOLD = 3000
GAP = timedelta(minutes=5)
REASON_LENGTH = 500
REASONS_SHOWN = 3
NAME_LENGTH = 60
# Bytes of HTML; when they are used up, the rest of the page is cut shorter.
ROOM_FOR_MESSAGES = 100_000
ROOM_FOR_REASONS = 60_000
SHORT = 120
REASONS_READ = 300


@dataclass
class Place:
    """Where a message, or (message_id None) the end of a run, stands in the conversation."""

    at: datetime
    run_id: uuid.UUID | None
    message_id: uuid.UUID | None = None


@dataclass
class Entry:
    """A run with its messages, or (run None) messages that belong to none; maybe a part of it."""

    run: Run | None = None
    messages: list[ChatMessage] = field(default_factory=list)
    # The names of its first steps.
    steps: list[str] = field(default_factory=list)
    # Whether the run ends on this page, so that its outcome and steps are shown.
    ends: bool = False
    # What failed and with which words, most telling first.
    reasons: list[str] = field(default_factory=list)

    @property
    def steps_left_out(self) -> int:
        return self.run.tasks_count - len(self.steps)


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
    def is_running(self) -> bool:
        return any(entry.ends and entry.run.status == "running" for entry in self.entries)

    @property
    def previous(self) -> int:
        return max(self.start - ITEMS_PER_PAGE, 0)


def outline(session_id) -> list[Place]:
    """The order of everything in a conversation, from ids and times alone."""
    runs = dict(tuples(times_of_runs, session_id))
    grouped = defaultdict(list)
    groups = [(at, run_id) for run_id, at in runs.items()]
    for message_id, run_id, at in tuples(times_of_messages, session_id):
        if run_id in runs:
            grouped[run_id].append(Place(at, run_id, message_id))
        else:
            grouped[message_id].append(Place(at, None, message_id))
            groups.append((at, message_id))
    places = []
    for at, key in sorted(groups):
        places += grouped[key]
        if key in runs:
            places.append(Place(grouped[key][-1].at if grouped[key] else at, key))
    return places


def times_of_runs(session_id) -> QuerySet:
    return Run.objects.filter(session_id=session_id).values_list("pk", "created_at")


def times_of_messages(session_id) -> QuerySet:
    messages = ChatMessage.objects.filter(session_id=session_id).oldest_first()
    return messages.values_list("pk", "run_id", "created_at")


def transcript(session_id, *, start: int = 0, message_id=None, run_id=None) -> Transcript:
    """
    One page of a conversation: from an item on, or the page that holds a message or a run's end.

    A constant number of queries; no payload is read and no message further than it is shown.
    """
    places = outline(session_id)
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
        start = found // ITEMS_PER_PAGE * ITEMS_PER_PAGE
    shown = places[start : start + ITEMS_PER_PAGE]
    run_ids = {place.run_id for place in shown if place.run_id}
    runs = run_summaries(run_ids)
    contents = by_id(folded, [place.message_id for place in shown if place.message_id])
    entries: list[Entry] = []
    by_run: dict[uuid.UUID, Entry] = {}
    before = places[start - 1].at if start and shown else None
    for place in shown:
        if place.run_id is None:
            entry = Entry()
            entries.append(entry)
        elif place.run_id not in by_run:
            # A run that was erased between two queries has no row any more.
            if place.run_id not in runs:
                continue
            entry = by_run[place.run_id] = Entry(runs[place.run_id])
            entries.append(entry)
        else:
            entry = by_run[place.run_id]
        if place.message_id is None:
            entry.ends = True
        elif message := contents.get(place.message_id):
            mask_cut(message)
            message.gap = place.at - before if before and place.at - before > GAP else None
            entry.messages.append(message)
        before = place.at
    add_steps(entry for entry in by_run.values() if entry.ends)
    add_reasons(entry for entry in by_run.values() if entry.ends)
    return Transcript(entries, start, start + len(shown), len(places))


def folded(ids) -> QuerySet:
    messages = ChatMessage.objects.filter(pk__in=ids).defer("content")
    return messages.annotate(text=Left("content", FOLD), length=Length("content"))


def mask_cut(message: ChatMessage):
    if masking.is_active():
        is_whole = message.length == len(masking.raw(message.text))
        message.text = masking.cut(message.text, FOLD)
        # The length tells whether there is more to show than the text.
        message.length = (
            len(message.text) if is_whole else max(message.length, len(message.text) + 1)
        )


def add_steps(entries: Iterable[Entry]):
    by_run = {entry.run.pk: entry for entry in entries}
    for run_id, name, node_type, _ in tuples(first_steps, by_run):
        shown = masking.cut(name, NAME_LENGTH) or masking.cut(node_type, NAME_LENGTH)
        by_run[run_id].steps.append(shown or NO_NAME)


def first_steps(run_ids) -> QuerySet:
    """A run may have thousands of steps, and a name any length."""
    tasks = Task.objects.filter(run_id__in=run_ids).in_order()
    place = Window(RowNumber(), partition_by="run_id", order_by=tasks.query.order_by)
    shown = tasks.annotate(place=place).filter(place__lte=NAMES_SHOWN).order_by("run_id", "place")
    names = (Left(field, NAME_LENGTH) for field in ("name", "node_type"))
    return shown.values_list("run_id", *names, "place")


def add_reasons(entries: Iterable[Entry]):
    """For runs that gave no answer, the words that came with each failure, cut in SQL."""
    by_run = {
        entry.run.pk: entry.reasons
        for entry in entries
        if entry.run.status not in ("completed", "running")
    }
    if not by_run:
        return
    if revision.has_model_call_links():
        calls = ModelCall.objects.filter(MODEL_ERROR, run_id__in=by_run)
        words = calls.annotate(words=payload_text("response_data", REASON_LENGTH))
        rows = words.order_by("created_at", "pk").values_list("run_id", "model", "words")[
            :REASONS_READ
        ]
        for run_id, model, text in rows:
            text = masking.cut(text, REASON_LENGTH)
            by_run[run_id].append(f"{model}: {text or 'no reason was recorded'}")
    tasks = Task.objects.filter(TASK_ERROR | TOOL_ERROR, run_id__in=by_run)
    words = tasks.annotate(
        task_words=payload_text("errors", REASON_LENGTH),
        tool_words=payload_text("output", REASON_LENGTH, "result"),
    )
    rows = words.in_order("run_id").values_list(
        "run_id", "name", "node_type", "task_words", "tool_words"
    )[:REASONS_READ]
    for run_id, name, node_type, task_words, tool_words in rows:
        text = tool_words if node_type == "tool_call" and tool_words else task_words
        text = masking.cut(text, REASON_LENGTH)
        by_run[run_id].append(f"{(name or node_type or '')[:NAME_LENGTH]}: {text}")
    room = ROOM_FOR_REASONS
    for reasons in by_run.values():
        reasons[REASONS_SHOWN:] = []
        for number, reason in enumerate(reasons):
            if room <= 0:
                reasons[number] = f"{reason[:SHORT]}…"
            room -= len(escape(reason).encode())


def nested(tasks: list[Task]) -> list[Task]:
    """
    Tasks of a run in order, each tool call moved under the task that made it.

    The caller is the last task of that name before the call, else the first one after it that
    nobody called. Sets `depth`, 0 where the caller is not there.
    """
    places = defaultdict(list)
    for place, task in enumerate(tasks):
        places[task.name].append(place)
    calls = defaultdict(list)
    waiting = []
    for place, task in enumerate(tasks):
        caller = None
        if task.parent_task_name is not None:
            same_name = places.get(task.parent_task_name, [])
            before = bisect_left(same_name, place)
            later = (other for other in same_name[before:] if tasks[other].parent_task_name is None)
            caller = same_name[before - 1] if before else next(later, None)
        if caller is None:
            waiting.append((place, 0))
        else:
            calls[caller].append(place)
    ordered = []
    waiting.reverse()
    while waiting:
        place, depth = waiting.pop()
        tasks[place].depth = depth
        ordered.append(tasks[place])
        waiting += [(call, depth + 1) for call in reversed(calls[place])]
    return ordered
