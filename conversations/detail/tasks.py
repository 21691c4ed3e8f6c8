"""Tasks in reading order, with tool calls under the step that made them."""

from bisect import bisect_left
from collections import defaultdict

from ..models import Task


def nested(tasks: list[Task]) -> list[Task]:
    """
    Return a run's tasks with each tool call moved under the task that made it (its caller).

    The caller is the last task before the call that has the name in parent_task_name or, failing
    that, the first such task after it that itself has no caller. Sets `depth`: 0 without a caller.
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
