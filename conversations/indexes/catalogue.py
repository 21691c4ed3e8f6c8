"""
Indexes of ours on the agent runtime's tables: the operator's choice, and named so.

`manage.py agent_indexes` builds and drops them. Every page works without any of them, but looks
back only as far as its time allows.
"""

import hashlib
from dataclasses import dataclass

from ..agentdb import revision
from ..problems.kinds import FAILING
from ..problems.messages import message_sql, whole_words_sql

# Of every revision, and of every version of ours: what the command may remove.
KNOWN_NAMES = {
    "desk_chat_messages_content",
    "desk_model_call_stats_model_error",
    "desk_model_call_stats_model_error_message",
    "desk_model_call_stats_model_error_words",
    "desk_runs_failed",
    "desk_runs_incomplete",
    "desk_runs_unfinished",
    "desk_sessions_created_at",
    "desk_sessions_external_id",
    "desk_sessions_lifetime",
    "desk_tasks_task_error",
    "desk_tasks_task_error_message",
    "desk_tasks_task_error_words",
    "desk_tasks_tool_error",
    "desk_tasks_tool_error_message",
    "desk_tasks_tool_error_words",
}


@dataclass(frozen=True)
class Index:
    """`definition` is what follows CREATE INDEX name ON table."""

    name: str
    table: str
    definition: str
    purpose: str

    @property
    def digest(self) -> str:
        """Kept in the index's comment: tells one that an older version of ours has built."""
        return hashlib.sha256(f"{self.table} {self.definition}".encode()).hexdigest()[:12]

    @property
    def comment(self) -> str:
        return f"Conversation Desk: {self.purpose} [{self.digest}]"

    @property
    def needs_pg_trgm(self) -> bool:
        return "gin_trgm_ops" in self.definition

    def create(self, *, concurrently: bool) -> str:
        how = "CONCURRENTLY " if concurrently else ""
        return f"CREATE INDEX {how}{self.name} ON {self.table} {self.definition}"

    def describe(self) -> str:
        return f"COMMENT ON INDEX {self.name} IS '{self.comment}'"


def failing_name(kind: str) -> str:
    """The index on the rows that are a problem of this kind; running runs are unfinished ones."""
    kind = "unfinished" if kind in ("running", "interrupted") else kind
    return f"desk_{FAILING[kind][0]}_{kind}"


def message_name(kind: str) -> str:
    return f"{failing_name(kind)}_message"


def failing(kind: str, purpose: str) -> Index:
    table, condition = FAILING[kind]
    columns = "(session_id, created_at)"
    return Index(failing_name(kind), table, f"{columns} WHERE {condition}", purpose)


def words_name(kind: str) -> str:
    return f"{failing_name(kind)}_words"


def words(kind: str) -> Index:
    table, condition = FAILING[kind]
    columns = f"USING gin (({whole_words_sql(kind)}) gin_trgm_ops)"
    purpose = "search in errors, three letters and more"
    return Index(words_name(kind), table, f"{columns} WHERE {condition}", purpose)


def message(kind: str) -> Index:
    table, condition = FAILING[kind]
    # Without session_id, with which the planner took it for the index on failures of a session.
    columns = f"({message_sql(kind)}, created_at)"
    purpose = "conversations with one error of the page Errors, and when it was first seen"
    return Index(message_name(kind), table, f"{columns} WHERE {condition}", purpose)


TRIGRAMS = Index(
    "desk_chat_messages_content",
    "chat_messages",
    "USING gin (content gin_trgm_ops)",
    "search in messages, three letters and more",
)


def indexes() -> list[Index]:
    """All that the agent database's revision has columns for, the most useful first."""
    found = [TRIGRAMS]
    if revision.has_run_durations():
        found += [
            failing("failed", "runs that failed"),
            failing("unfinished", "runs that are running or were interrupted"),
        ]
    else:
        found += [failing("incomplete", "runs without an output")]
    if revision.has_model_call_links():
        found += [
            failing("model_error", "model calls that failed"),
            message("model_error"),
            words("model_error"),
        ]
    found += [
        failing("tool_error", "tool calls that failed"),
        message("tool_error"),
        words("tool_error"),
        failing("task_error", "tasks that recorded errors"),
        message("task_error"),
        words("task_error"),
        Index(
            "desk_sessions_external_id",
            "sessions",
            "(external_id text_pattern_ops, updated_at)",
            "external ids, whole and by their beginning",
        ),
        Index(
            "desk_sessions_created_at",
            "sessions",
            "(created_at)",
            "short ranges of dates",
        ),
        Index(
            "desk_sessions_lifetime",
            "sessions",
            "USING gist (tstzrange(least(created_at, updated_at), updated_at, '[]'))",
            "ranges of dates that end in the past",
        ),
    ]
    return found
