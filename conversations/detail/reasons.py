"""Why a run gave no answer: the texts of its problems, shown where the answer would be."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from django.utils.html import escape

from ..agentdb import revision
from ..models import ChatMessage, ModelCall, Run, Task
from ..problems import kinds

NAME_LENGTH = 60
REASON_LENGTH = 500
REASONS_SHOWN = 3
REASONS_READ = 300
# Bytes of HTML; once they are used up, the remaining reasons are cut shorter.
ROOM_FOR_REASONS = 60_000
SHORT = 120


@dataclass
class Entry:
    """A run or part of it with its messages, or (if run is None) messages outside any run."""

    run: Run | None = None
    messages: list[ChatMessage] = field(default_factory=list)
    # Names of the run's first steps.
    steps: list[str] = field(default_factory=list)
    # Whether the run ends here; its outcome and steps are shown after its last message.
    ends: bool = False
    # Whether the run has no messages at all; if another day begins with it, `day` is its time.
    is_silent: bool = False
    day: datetime | None = None
    # Whether this run began further up, above messages of another run.
    is_continuation: bool = False
    # What failed and the error text, most informative first.
    reasons: list[str] = field(default_factory=list)
    failed_calls: list[ModelCall] = field(default_factory=list)

    @property
    def steps_left_out(self) -> int:
        return self.run.tasks_count - len(self.steps)


def failed_calls(session_id, run_ids: Iterable) -> list[ModelCall]:
    """Failed model calls of these runs, each with its error text (`words`), without payloads."""
    if not revision.has_model_call_links():
        return []
    calls = ModelCall.objects.filter(kinds.any_problem("ModelCall"), session_id=session_id)
    calls = calls.filter(run_id__in=run_ids).defer("request_data", "response_data")
    words = calls.annotate(words=kinds.MODEL_ERROR.words.as_sentence(REASON_LENGTH))
    return list(words.order_by("created_at", "pk")[:REASONS_READ])


def add_reasons(session_id, entries: Iterable[Entry]):
    """Add each problem's error text to the runs that gave no answer. Texts are cut in SQL."""
    unanswered = {
        entry.run.pk: entry for entry in entries if entry.run.status not in ("completed", "running")
    }
    if not unanswered:
        return
    by_run = {run_id: entry.reasons for run_id, entry in unanswered.items()}
    failed = {"session_id": session_id, "run_id__in": by_run}
    for call in failed_calls(session_id, by_run):
        unanswered[call.run_id].failed_calls.append(call)
        by_run[call.run_id].append(f"{call.model}: {call.words or 'no reason was recorded'}")
    tasks = Task.objects.filter(kinds.any_problem("Task"), **failed)
    words = tasks.annotate(
        task_words=kinds.TASK_ERROR.words.as_sentence(REASON_LENGTH),
        tool_words=kinds.TOOL_ERROR.words.as_sentence(REASON_LENGTH),
    )
    rows = words.in_order("run_id").values_list(
        "run_id", "name", "node_type", "task_words", "tool_words"
    )[:REASONS_READ]
    for run_id, name, node_type, task_words, tool_words in rows:
        text = tool_words if node_type == "tool_call" and tool_words else task_words
        by_run[run_id].append(f"{(name or node_type or '')[:NAME_LENGTH]}: {text}")
    room = ROOM_FOR_REASONS
    for reasons in by_run.values():
        reasons[REASONS_SHOWN:] = []
        for number, reason in enumerate(reasons):
            if room <= 0:
                reasons[number] = f"{reason[:SHORT]}…"
            room -= len(escape(reason).encode())
