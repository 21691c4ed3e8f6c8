"""
The six tables in the admin panel. Lists read from `agents`, without payloads. An editable form
reads its row from the database that it writes to. changes/edits.py defines what may be edited, and
how.
"""

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import BigIntegerField
from django.utils.text import format_lazy

from backoffice.words import lazy_external_id_label

from ..agentdb import tokens
from ..agentdb.sql import Template
from ..models import Agent, ChatMessage, ModelCall, Run, Session, Task
from ..templatetags.desk import token_line
from .base import AgentRowAdmin
from .columns import (
    DURATION,
    change_link,
    conversation,
    cut,
    field,
    its_conversations,
    long_text,
    rows_of,
    text,
    time,
)

EXTERNAL_ID = lazy_external_id_label(inside=True)
# Agents have no page of their own, so their form shows more.
SHOWN_OF_AGENT = 20_000


@admin.register(Agent)
class AgentAdmin(AgentRowAdmin):
    # There are few agents: no index is needed to sort them.
    ordering = ["name", "id"]
    list_display = [
        field("name", cut),
        "id",
        time("created_at"),
        time("updated_at"),
        its_conversations,
    ]
    lines = [
        "id",
        text("name"),
        long_text("description"),
        long_text("input_schema", SHOWN_OF_AGENT),
        long_text("output_schema", SHOWN_OF_AGENT),
        long_text("workflow", SHOWN_OF_AGENT),
        time("created_at"),
        time("updated_at"),
        rows_of("agent_id", Session, ChatMessage, Task, ModelCall),
    ]
    search_help_text = "Search by id, or by part of the name."

    def text_searches(self, term):
        yield lambda rows: rows.filter(name__contains_text=term)


@admin.register(Session)
class SessionAdmin(AgentRowAdmin):
    ordering = ["-updated_at", "-id"]
    list_display = [
        "id",
        text("external_id", EXTERNAL_ID),
        field("agent_name", cut, "agent"),
        time("updated_at", "last activity"),
        time("created_at"),
        conversation("pk"),
    ]
    lines = [
        "id",
        text("external_id", EXTERNAL_ID),
        change_link(Agent),
        time("created_at"),
        time("updated_at", "last activity"),
        conversation("pk"),
        rows_of("session_id", ChatMessage, Run, Task, ModelCall),
    ]
    raw_id_fields = ["agent"]
    named_by = ("id", "agent_id")
    search_help_text = format_lazy(
        "Search by id, by the agent's id, or by {} or the beginning of it.", EXTERNAL_ID
    )

    def text_searches(self, term):
        yield lambda rows: rows.named(term)
        yield lambda rows: rows.with_external_id_prefix(term)


@admin.register(Run)
class RunAdmin(AgentRowAdmin):
    ordering = ["id"]
    list_display = ["id", DURATION, time("created_at"), conversation(query="run")]
    lines = [
        "id",
        conversation(query="run"),
        change_link(Session),
        *(long_text(name) for name in ("input_data", "output_data", "context")),
        DURATION,
        time("created_at"),
        time("updated_at"),
        rows_of("run_id", Task, ChatMessage, ModelCall),
    ]
    named_by = ("id", "session_id")
    search_help_text = format_lazy("Search by id, or by the conversation's id or {}.", EXTERNAL_ID)


@admin.register(Task)
class TaskAdmin(AgentRowAdmin):
    ordering = ["id"]
    list_display = [
        "id",
        text("name"),
        text("node_type"),
        text("tool_uri"),
        "seq",
        DURATION,
        time("created_at"),
        conversation(),
    ]
    lines = [
        "id",
        conversation(),
        change_link(Session),
        change_link(Run),
        change_link(Agent),
        *(text(name) for name in ("name", "node_type", "tool_uri", "parent_task_name")),
        "seq",
        *(long_text(name) for name in ("errors", "inputs", "output", "prompt")),
        DURATION,
        time("created_at"),
        time("updated_at"),
    ]
    named_by = ("id", "run_id", "session_id", "agent_id")
    search_help_text = format_lazy(
        "Search by id, by the id of the run, conversation or agent, by {}, or by a tool's URI.",
        EXTERNAL_ID,
    )

    def text_searches(self, term):
        if self.present(["tool_uri"]):
            yield lambda rows: rows.filter(tool_uri=term)
        yield from super().text_searches(term)


@admin.register(ChatMessage)
class ChatMessageAdmin(AgentRowAdmin):
    ordering = ["id"]
    list_display = [
        "id",
        text("role"),
        field("agent_name", cut, "agent"),
        time("created_at"),
        conversation(query="m"),
    ]
    lines = [
        "id",
        conversation(query="m"),
        text("role"),
        long_text("content"),
        change_link(Session),
        change_link(Run),
        change_link(Agent),
        time("created_at"),
        time("updated_at"),
    ]
    named_by = ("id", "session_id", "run_id", "agent_id")
    in_time_by = ("session_id", "run_id", "agent_id")
    search_help_text = format_lazy(
        "Search by id, by the id of the run, conversation or agent, or by {}.", EXTERNAL_ID
    )


@admin.register(ModelCall)
class ModelCallAdmin(AgentRowAdmin):
    ordering = ["-created_at", "-id"]
    list_display = [
        "id",
        text("call_type"),
        text("model"),
        "response_code",
        # Not the recorded total, in which some providers leave out a part.
        field("tokens_count", intcomma, "tokens"),
        DURATION,
        time("created_at"),
        conversation(),
    ]
    lines = [
        "id",
        conversation(),
        change_link(Session),
        change_link(Run),
        change_link(Agent),
        text("call_type"),
        text("model"),
        "response_code",
        field("tokens", lambda tokens: token_line(tokens) or "-"),
        *(
            field(name, str, f"{name.replace('_', ' ')}, as recorded")
            for name in (
                "prompt_tokens",
                "cached_prompt_tokens",
                "completion_tokens",
                "reasoning_tokens",
                "total_tokens",
            )
        ),
        "batch_size",
        DURATION,
        long_text("request_data"),
        long_text("response_data"),
        time("created_at"),
        time("updated_at"),
    ]
    named_by = ("id", "session_id", "run_id", "agent_id")
    in_time_by = ("session_id", "run_id", "agent_id")
    search_help_text = format_lazy(
        "Search by id, by the id of the run, conversation or agent, or by {}.", EXTERNAL_ID
    )

    def get_queryset(self, request):
        total = Template(tokens.total_sql(), BigIntegerField())
        return super().get_queryset(request).annotate(tokens_count=total)
