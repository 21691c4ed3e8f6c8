"""One conversation as staff read it: runs in time order, each with its messages and steps."""

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime

from .models import ChatMessage, Run, Task

NAMES_SHOWN = 24


@dataclass
class Entry:
    """A run with its messages, or (run None) messages that belong to none."""

    at: datetime
    run: Run | None = None
    messages: list[ChatMessage] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)

    @property
    def tasks_left_out(self) -> int:
        return self.run.tasks_count - len(self.tasks)


def transcript(session_id) -> list[Entry]:
    """Three queries, whatever the conversation's length; no payload is read."""
    runs = Run.objects.filter(session_id=session_id).without_payloads().with_summary()
    entries = {run.id: Entry(run.created_at, run) for run in runs.oldest_first()}
    loose = []
    for message in ChatMessage.objects.filter(session_id=session_id).oldest_first():
        if entry := entries.get(message.run_id):
            entry.messages.append(message)
        else:
            loose.append(Entry(message.created_at, messages=[message]))
    steps = Task.objects.filter(session_id=session_id).without_payloads().in_order("run_id")
    for task in steps:
        entry = entries.get(task.run_id)
        if entry and len(entry.tasks) < NAMES_SHOWN:
            entry.tasks.append(task)
    return sorted([*entries.values(), *loose], key=lambda entry: entry.at)


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
