"""
Agent access: a user sees the conversations of all agents or, if an admin has limited one of the
user's groups, of certain agents only.

During a request, every statement on the agent database sees only the rows that the limit allows, so
no page, file or query can forget it. A statement that cannot be limited is refused. Code that
writes first reads the rows within the limit, then writes inside `lifted()`. Commands and other
programs have no request and therefore no limit. A new thread needs the request's context.
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

# Looks up each row's session by primary key: PostgreSQL could turn a join into a hash of all
# sessions.
OF_SESSION = "SELECT * FROM {} WHERE (SELECT true FROM sessions WHERE sessions.id = {}.session_id)"
OF_AGENT = "SELECT * FROM {} WHERE {} = {}"
TABLES = ("agents", "sessions", "runs", "tasks", "chat_messages", "model_call_stats")
NAMES_TABLE = re.compile(rf"\b({'|'.join(TABLES)})\b", re.IGNORECASE)
# With a schema in front of its name, a table would be read without the limit.
QUALIFIED = re.compile(rf'\.\s*"?({"|".join(TABLES)})\b', re.IGNORECASE)
# Rows are read through a subquery, where FOR UPDATE would not lock them.
LOCKING = re.compile(r"\bFOR\s+(NO\s+KEY\s+)?(UPDATE|SHARE|KEY\s+SHARE)\b", re.IGNORECASE)
READING = re.compile(r"\s*(?:(SELECT\b|\()|(WITH\b)|COPY\s*\((?=\s*SELECT\b))", re.IGNORECASE)


class NotLimited(PermissionDenied):
    """A user with a limit tried to run a statement that cannot be limited."""


def agents() -> frozenset[UUID] | None:
    """The agents whose conversations may be read at the moment; None means all."""
    request = _request.get()
    if request is None:
        return None
    return request.user.agent_limit if request.user.is_authenticated else frozenset()


def middleware(get_response):
    """Applies the user's limit to everything that the request reads."""

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
    """For rows that were read within the limit, and for results that no user sees."""
    return reading_for(None)


def limited_tables(allowed: frozenset[UUID]) -> str:
    """A WITH clause that replaces each table with the rows the limit allows."""
    ids = [str(agent) for agent in sorted(allowed)]
    # With `=` instead of ANY, an index gives one agent's sessions by last activity.
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
    """The statement, rewritten to stay within the request's limit."""
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
