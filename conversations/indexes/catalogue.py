"""
Our optional indexes on the agent runtime's tables; their names begin with desk_.

`manage.py agent_indexes` builds and drops them. Every page works without them, but then covers only
as much of the past as its time limit allows.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..agentdb import normal_form
from ..agentdb.lookups import name_sql
from ..agentdb.sql import with_columns
from ..agentdb.step_names import TASK_NAME
from ..problems import kinds
from ..problems.kinds import Kind


@dataclass(frozen=True)
class Index:
    """`definition` is what follows CREATE INDEX name ON table."""

    name: str
    table: str
    definition: str
    purpose: str

    @property
    def digest(self) -> str:
        """Part of the index's comment: it tells us if an older version of ours built the index."""
        return hashlib.sha256(f"{self.table} {self.definition}".encode()).hexdigest()[:12]

    @property
    def comment(self) -> str:
        return f"Conversation Desk: {self.purpose} [{self.digest}]"

    @property
    def needs_pg_trgm(self) -> bool:
        return "gin_trgm_ops" in self.definition

    @property
    def needs_utf8(self) -> bool:
        """normalize() raises in databases with another encoding: the runtime could not write."""
        return "normalize(" in self.definition

    def create(self, *, concurrently: bool) -> str:
        how = "CONCURRENTLY " if concurrently else ""
        return f"CREATE INDEX {how}{self.name} ON {self.table} {self.definition}"

    def describe(self) -> str:
        return f"COMMENT ON INDEX {self.name} IS '{self.comment}'"


TRIGRAMS = Index(
    "desk_chat_messages_content",
    "chat_messages",
    f"USING gin (({normal_form.sql('content')}) gin_trgm_ops)",
    "search in messages, three letters and more",
)


EXTERNAL_IDS = Index(
    "desk_sessions_external_id",
    "sessions",
    f"(({name_sql('external_id')}) text_pattern_ops, updated_at)",
    "external ids in any case, whole and by their beginning",
)
OF_SESSIONS = (
    EXTERNAL_IDS,
    Index("desk_sessions_created_at", "sessions", "(created_at)", "short ranges of dates"),
    Index(
        "desk_sessions_lifetime",
        "sessions",
        "USING gist (tstzrange(least(created_at, updated_at), updated_at, '[]'))",
        "ranges of dates that end in the past",
    ),
)


# With session_id in it, the index alone answers. A BRIN index would be a thousandth of the size,
# but needs rows in physical order, and took about seven times as long for a day.
OF_ACTIVITY = tuple(
    Index(
        f"desk_{table}_created_at",
        table,
        "(created_at, session_id)",
        "conversations that were active in a range of dates",
    )
    for table in ("chat_messages", "runs")
)


# Without session_id: an index on an expression never answers alone, so it would only be larger.
# Nodes and tools share it, since few have the same name.
TASK_NAMES = Index(
    "desk_tasks_name",
    "tasks",
    f"(({with_columns(TASK_NAME)}), created_at)",
    "conversations that used one node or tool in a range of dates",
)


def of_kind(kind: Kind) -> Iterator[Index]:
    """Indexes on the rows of this kind and, if it has error texts, on these."""
    rows = f"(session_id, created_at) WHERE {kind.where}"
    yield Index(kind.index_name, kind.table, rows, kind.purpose)
    if kind.words:
        # Without session_id: with it, the planner chose this index to find a session's problems.
        message = f"({kind.words.message_sql()}, created_at) WHERE {kind.where}"
        purpose = "conversations with one error of the page Errors, and when it was first seen"
        yield Index(kind.message_index_name, kind.table, message, purpose)
        normal = normal_form.error_sql(kind.words.said_sql())
        words = f"USING gin (({normal}) gin_trgm_ops) WHERE {kind.where}"
        purpose = "search in errors, three letters and more"
        yield Index(kind.words_index_name, kind.table, words, purpose)


def built_for(found: Iterable[Kind]) -> list[Index]:
    """The most useful first. An index shared by several kinds is listed once."""
    of_kinds = {index.name: index for kind in found for index in of_kind(kind)}
    return [TRIGRAMS, *of_kinds.values(), *OF_SESSIONS, *OF_ACTIVITY, TASK_NAMES]


def indexes() -> list[Index]:
    """All indexes whose columns this agent database has."""
    return built_for(kinds.known())


def known_names() -> set[str]:
    """Index names of all revisions, which the command may remove."""
    return {index.name for index in built_for(kinds.KINDS)}
