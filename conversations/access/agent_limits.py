"""
Agent access: a user sees the conversations of all agents or, if an admin has limited one of their
groups, of certain agents.

During a request, every statement on the agent database sees only the rows that the limit allows,
so no page, file or query can forget it. A statement that cannot be limited is refused. Code that
writes reads the rows within the limit first, then writes inside `lifted()`. Commands and other
programs have no request and no limit. A new thread needs the request's context.
"""

import re
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

from django.core.exceptions import PermissionDenied
from psycopg.sql import Composable

from backoffice.databases.postgresql.base import Cursor

from ..agentdb import revision

_request: ContextVar = ContextVar("limited_request", default=None)

# Looks up each row's session by primary key: a join could become a hash of all sessions.
OF_SESSION = "SELECT * FROM {} WHERE (SELECT true FROM sessions WHERE sessions.id = {}.session_id)"
OF_AGENT = "SELECT * FROM {} WHERE {} = {}"
TABLES = ("agents", "sessions", "runs", "tasks", "chat_messages", "model_call_stats")
NAMES_TABLE = re.compile(rf"\b({'|'.join(TABLES)})\b", re.IGNORECASE)
# A name with its schema would get around the limit.
QUALIFIED = re.compile(rf'\.\s*"?({"|".join(TABLES)})\b', re.IGNORECASE)
# Rows read through a limit would not be locked.
LOCKING = re.compile(r"\bFOR\s+(NO\s+KEY\s+)?(UPDATE|SHARE|KEY\s+SHARE)\b", re.IGNORECASE)
READING = re.compile(r"\s*(?:(SELECT\b|\()|(WITH\b)|COPY\s*\((?=\s*SELECT\b))", re.IGNORECASE)


class NotLimited(PermissionDenied):
    """A statement that cannot be limited, from a user who has a limit."""


def agents() -> frozenset[UUID] | None:
    """The agents whose conversations may be read now; None for all."""
    request = _request.get()
    if request is None:
        return None
    return request.user.agent_limit if request.user.is_authenticated else frozenset()


def middleware(get_response):
    """Applies the user's limit to all that the request reads."""

    def limited(request):
        with reading_for(request):
            return get_response(request)

    return limited


@contextmanager
def reading_for(request):
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)


def lifted():
    """For rows already read within the limit, or results that no user sees."""
    return reading_for(None)


def limited_tables(allowed: frozenset[UUID]) -> str:
    """A WITH clause that replaces each table with the rows the limit allows."""
    ids = [str(agent) for agent in sorted(allowed)]
    # With `=`, an index yields one agent's sessions by last activity.
    any_of = f"'{ids[0]}'::uuid" if len(ids) == 1 else f"ANY('{{{','.join(ids)}}}'::uuid[])"
    queries = {
        "agents": OF_AGENT.format("agents", "id", any_of),
        "sessions": OF_AGENT.format("sessions", "agent_id", any_of),
        **{name: OF_SESSION.format(name, name) for name in TABLES[2:]},
    }
    if not revision.has_model_call_links():
        queries["model_call_stats"] = OF_AGENT.format("model_call_stats", "agent_id", any_of)
    tables = (f"{name} AS NOT MATERIALIZED ({query})" for name, query in queries.items())
    return f"WITH {', '.join(tables)} "


def confined(query, connection):
    """The statement, within the request's limit."""
    allowed = agents()
    if allowed is None:
        return query
    if isinstance(query, Composable):
        query = query.as_string(connection)
    text = query.decode() if isinstance(query, bytes) else query
    if not NAMES_TABLE.search(text):
        return query
    reading = READING.match(text)
    if not reading or LOCKING.search(text) or QUALIFIED.search(text):
        raise NotLimited(f"Cannot be limited: {text[:60]!r}")
    tables = limited_tables(allowed)
    if reading[1]:
        return tables + text
    if reading[2]:
        return f"{tables}SELECT * FROM ({text}) AS statement"  # noqa: S608
    return text[: reading.end()] + tables + text[reading.end() :]


class AgentLimitedCursor(Cursor):
    """Runs every statement through confined()."""

    def execute(self, query, params=None, **options):
        return super().execute(confined(query, self), params, **options)

    def executemany(self, query, params_seq, **options):
        return super().executemany(confined(query, self), params_seq, **options)

    def stream(self, query, params=None, **options):
        return super().stream(confined(query, self), params, **options)

    def copy(self, statement, params=None, **options):
        return super().copy(confined(statement, self), params, **options)

    def mogrify(self, query, params=None):
        return super().mogrify(confined(query, self), params)
