import sys
from datetime import UTC, datetime

import psycopg
from django.apps import AppConfig
from django.conf import settings
from django.core.signals import got_request_exception
from django.db.backends.signals import connection_created
from psycopg.types.datetime import TimestamptzLoader

from backoffice.databases.errors import OTHER_TABLES, sqlstate
from privacy import masking

from .agentdb import revision

EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)


class ClampedLoader(TimestamptzLoader):
    """PostgreSQL's times reach further than Python's, to infinity: the nearest one we have."""

    # Django replaces a loader of another zone than the connection's.
    timezone = UTC

    def load(self, data):
        try:
            return super().load(data).astimezone(UTC)
        except (psycopg.DataError, OverflowError):
            text = bytes(data)
            early = text.startswith(b"-") or text.endswith(b"BC")
            return EARLIEST if early else LATEST


def mask_texts(connection, **kwargs):
    if settings.MASK_PERSONAL_DATA and connection.alias == "agents":
        masking.install(connection)


def clamp_times(connection, **kwargs):
    if connection.alias in ("agents", "agents_write"):
        connection.connection.adapters.register_loader("timestamptz", ClampedLoader)


def limit_to_agents(connection, **kwargs):
    # All but our own lead to the agent database.
    if connection.alias != "default":
        from .access import agent_limits

        connection.connection.cursor_factory = agent_limits.LimitedCursor


def look_again(sender, **kwargs):
    """A column was there when we looked, and is not now: the next request knows."""
    if sqlstate(sys.exc_info()[1]) in OTHER_TABLES:
        from .agentdb import compiled

        revision.forget()
        compiled.forget()


class ConversationsConfig(AppConfig):
    name = "conversations"

    def ready(self):
        from .agentdb import checks  # noqa: F401

        got_request_exception.connect(look_again, dispatch_uid="look_again")
        connection_created.connect(clamp_times, dispatch_uid="clamp_times")
        connection_created.connect(mask_texts, dispatch_uid="mask_texts")
        connection_created.connect(limit_to_agents, dispatch_uid="limit_to_agents")
