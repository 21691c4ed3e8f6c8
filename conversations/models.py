"""
The agent runtime's tables. The runtime owns them: we mirror them and never migrate them.
"""

import uuid
from urllib.parse import urlencode

from django.db import models
from django.utils.functional import cached_property
from django.utils.text import Truncator

from backoffice.words import lazy_external_id_label
from privacy import masking

from .agentdb import revision
from .agentdb.conventions import EVALUATION_PREFIX, REDACTED
from .agentdb.fields import PayloadField, SecondsField
from .agentdb.tokens import EMBEDDING, Tokens, normalised
from .problems import kinds
from .querysets import ChatMessageQuerySet, RunQuerySet, SessionQuerySet, TaskQuerySet

# Shown in place of a name that is missing or empty.
NO_NAME = "(no name)"
LONGEST_IN_ADDRESS = 200
# Where pages cut an agent's name; names that differ only behind it look alike.
CUT = 60


def labelled(name: str, agent_id: uuid.UUID | None) -> str:
    """
    An agent's name. If others have the same name, the beginning of its id follows, and a long name
    is cut so that pages do not cut the id.
    """
    if agent_id is None:
        return name or NO_NAME
    tail = f" ({str(agent_id)[:8]})"
    return Truncator(name or NO_NAME).chars(CUT - len(tail)) + tail


def agent_manager(queryset: type[models.QuerySet] = models.QuerySet) -> models.Manager:
    """A manager that does not select columns that this agent database lacks."""

    class AgentManager(models.Manager.from_queryset(queryset)):
        def get_queryset(self):
            missing = revision.missing_fields(self.model)
            rows = super().get_queryset()
            return rows.defer(*missing) if missing else rows

    return AgentManager()


class AgentRow(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        abstract = True

    @classmethod
    def from_db(cls, db, field_names, values):
        row = super().from_db(db, field_names, values)
        for name in revision.missing_fields(cls):
            row.__dict__[name] = None
        return row


# {model: the annotation of with_summary() that holds the counts of its rows}
COUNTS = {"Run": "run_counts", "Task": "task_counts", "ModelCall": "model_call_counts"}


class SummaryCounts:
    """Reads the counts that with_summary() annotated, in which None means "no rows at all"."""

    def _count(self, group: str, name: str) -> int:
        return (getattr(self, group, None) or {}).get(name, 0)

    @property
    def tasks_count(self) -> int:
        return self._count("task_counts", "total")

    @property
    def model_calls_count(self) -> int:
        return self._count("model_call_counts", "total")

    @property
    def tokens_count(self) -> int:
        return self._count("model_call_counts", "tokens") or 0

    @property
    def errors_count(self) -> int:
        """The number of tasks with errors, by the original system's rule."""
        return self._count("task_counts", "task_error")

    @cached_property
    def problems(self) -> list[tuple[str, int]]:
        """(kind, number) for each kind of problem that occurs."""
        found = [
            (kind.name, self._count(COUNTS[kind.model], kind.name)) for kind in kinds.problems()
        ]
        return [(kind, count) for kind, count in found if count]

    @property
    def problems_besides_status(self) -> list[tuple[str, int]]:
        """Problems that the status does not already show."""
        return [problem for problem in self.problems if problem != (self.status, 1)]


class Agent(AgentRow):
    name = models.TextField()
    description = models.TextField(null=True, blank=True)
    input_schema = PayloadField(null=True, blank=True)
    output_schema = PayloadField(null=True, blank=True)
    workflow = PayloadField(null=True, blank=True)

    objects = agent_manager()

    class Meta:
        managed = False
        db_table = "agents"

    def __str__(self):
        return self.name or NO_NAME


class Session(SummaryCounts, AgentRow):
    agent = models.ForeignKey(Agent, models.CASCADE)
    external_id = models.TextField(lazy_external_id_label(inside=True), null=True, blank=True)

    objects = agent_manager(SessionQuerySet)

    class Meta:
        managed = False
        db_table = "sessions"
        verbose_name = "conversation"
        default_permissions = ("view", "change", "delete")
        permissions = [
            ("export_session", "Can export conversations"),
            ("work_on_session", "Can work on conversations"),
            ("view_personal_data", "Can see personal data"),
            ("reveal_session", "Can reveal the personal data of a conversation"),
            ("redact_session", "Can redact conversations"),
            ("erase_session", "Can erase conversations"),
        ]

    def __str__(self):
        return self.external_id or str(self.id)

    @property
    def agent_label(self) -> str:
        """The agent's name, plus the beginning of its id if the row `has_namesake`."""
        same = getattr(self, "has_namesake", False)
        return labelled(self.agent_name, self.agent_id if same else None)

    @property
    def person_query(self) -> str:
        """
        The list's query for all conversations with this external id; empty if there is none. An
        address never shows a masked external id, nor a long one or one with line breaks.
        """
        text = masking.raw(self.external_id)
        if not text or REDACTED in text:
            return ""
        if text == self.external_id and len(text) <= LONGEST_IN_ADDRESS and text.isprintable():
            return urlencode({"external_id_is": text})
        return f"external_id_of={self.pk}"

    @property
    def runs_count(self) -> int:
        return self._count("run_counts", "total")

    @property
    def status(self) -> str | None:
        """The last run's status; None without runs."""
        return (self.run_counts or {}).get("status")

    @property
    def lacks_results(self) -> bool:
        """Whether some of its runs have no result, or none yet."""
        return any(self._count("run_counts", kind.name) for kind in kinds.known("Run"))

    @property
    def is_evaluation(self) -> bool:
        return (self.external_id or "").startswith(EVALUATION_PREFIX)

    @property
    def messages_count(self) -> int:
        return self._count("message_counts", "total")

    @property
    def unfinished_runs(self) -> list[str]:
        """Ids of runs that may still end; this includes interrupted ones, which may resume."""
        return (self.run_counts or {}).get("unfinished") or []

    @property
    def signature(self) -> str:
        """
        Changes whenever the runtime writes into the conversation, and when a run becomes
        interrupted. Needs with_signature() or with_summary().
        """
        counts = [self._count("run_counts", kind.name) for kind in kinds.known("Run")]
        counts += [self.runs_count, self.messages_count, self.tasks_count, self.model_calls_count]
        return " ".join(map(str, [int(self.updated_at.timestamp() * 1_000_000), *counts]))


class Run(SummaryCounts, AgentRow):
    session = models.ForeignKey(Session, models.CASCADE)
    input_data = PayloadField(null=True, blank=True)
    output_data = PayloadField(null=True, blank=True)
    context = PayloadField(null=True, blank=True)
    duration_seconds = SecondsField(null=True, blank=True)

    objects = agent_manager(RunQuerySet)

    class Meta:
        managed = False
        db_table = "runs"

    def __str__(self):
        return str(self.id)

    @property
    def signature(self) -> str:
        """
        Changes as the run goes on, ends or is interrupted. Needs with_state() or with_summary().
        """
        return f"{self.status} {self.tasks_count} {self.model_calls_count}"

    @property
    def state(self) -> str:
        """The signature, and the number of the run's messages. Needs with_state()."""
        return f"{self.signature} {self._count('message_counts', 'total')}"


class Task(AgentRow):
    agent = models.ForeignKey(Agent, models.SET_NULL, null=True, blank=True)
    session = models.ForeignKey(Session, models.CASCADE)
    run = models.ForeignKey(Run, models.CASCADE)
    inputs = PayloadField(null=True, blank=True)
    output = PayloadField(null=True, blank=True)
    name = models.TextField(null=True, blank=True)
    node_type = models.TextField(null=True, blank=True)
    prompt = models.TextField(null=True, blank=True)
    errors = PayloadField(null=True, blank=True)
    duration_seconds = SecondsField(null=True, blank=True)
    seq = models.IntegerField(null=True, blank=True)
    parent_task_name = models.TextField(null=True, blank=True)
    tool_uri = models.TextField(null=True, blank=True)

    objects = agent_manager(TaskQuerySet)

    class Meta:
        managed = False
        db_table = "tasks"

    def __str__(self):
        return self.name or str(self.id)

    @property
    def is_problem(self) -> bool:
        """Whether it is a problem of any kind. Needs with_problems()."""
        return any(getattr(self, kind.flag) for kind in kinds.problems("Task"))


class ChatMessage(AgentRow):
    agent = models.ForeignKey(Agent, models.CASCADE)
    session = models.ForeignKey(Session, models.CASCADE)
    run = models.ForeignKey(Run, models.SET_NULL, null=True, blank=True)
    role = models.TextField()
    content = models.TextField(blank=True)

    objects = agent_manager(ChatMessageQuerySet)

    class Meta:
        managed = False
        db_table = "chat_messages"

    def __str__(self):
        return str(self.id)


class ModelCall(AgentRow):
    call_type = models.TextField()
    model = models.TextField()
    # Not foreign keys, because these rows outlive what they refer to.
    agent_id = models.UUIDField(null=True, blank=True)
    session_id = models.UUIDField(null=True, blank=True)
    run_id = models.UUIDField(null=True, blank=True)
    request_data = PayloadField(null=True, blank=True)
    response_data = PayloadField(null=True, blank=True)
    response_code = models.IntegerField(null=True, blank=True)
    prompt_tokens = models.IntegerField(null=True, blank=True)
    completion_tokens = models.IntegerField(null=True, blank=True)
    total_tokens = models.IntegerField(null=True, blank=True)
    batch_size = models.IntegerField(null=True, blank=True)
    duration_seconds = SecondsField(null=True, blank=True)
    cached_prompt_tokens = models.IntegerField(null=True, blank=True)
    reasoning_tokens = models.IntegerField(null=True, blank=True)

    objects = agent_manager()

    class Meta:
        managed = False
        db_table = "model_call_stats"

    def __str__(self):
        return str(self.id)

    @cached_property
    def tokens(self) -> Tokens:
        return normalised(
            masking.raw(self.model),
            self.call_type == EMBEDDING,
            self.prompt_tokens,
            self.completion_tokens,
            self.total_tokens,
            self.cached_prompt_tokens,
            self.reasoning_tokens,
            has_details=revision.has_token_details(),
        )


# Columns with up to megabytes of data

PAYLOAD_LABELS = {
    "input_data": "Input",
    "output_data": "Output",
    "context": "Context",
    "errors": "Errors",
    "inputs": "Inputs",
    "output": "Output",
    "prompt": "Prompt",
    "request_data": "Request",
    "response_data": "Response",
}
# {kind in URLs: (model, column with the session's id, columns)}
PAYLOADS = {
    "runs": (Run, "session_id", ("input_data", "output_data", "context")),
    "tasks": (Task, "session_id", ("errors", "inputs", "output", "prompt")),
    "model-calls": (ModelCall, "session_id", ("request_data", "response_data")),
}
PLAIN_TEXT = {"prompt"}


def large_columns(model) -> tuple[str, ...]:
    return next(fields for owner, _, fields in PAYLOADS.values() if owner is model)
