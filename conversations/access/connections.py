"""Sets up masking and agent limits on each new connection to the agent database."""

from django.conf import settings

from privacy import masking

from . import agent_limits


def mask_texts(connection, **kwargs):
    if settings.MASK_PERSONAL_DATA and connection.alias == "agents":
        masking.install(connection)


def limit_to_agents(connection, **kwargs):
    # Every alias but our own is the agent database.
    if connection.alias != "default":
        connection.connection.cursor_factory = agent_limits.AgentLimitedCursor
