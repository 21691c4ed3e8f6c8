"""The newest conversations of several agents, found by the runtime's index on agents and times."""

import uuid
from datetime import datetime

from django.db import connections

from . import revision

OF_EACH = """
    SELECT agent.id, session.id, session.updated_at
    FROM unnest(%s::uuid[]) AS agent (id), LATERAL (
        SELECT id, updated_at FROM sessions WHERE agent_id = agent.id
        ORDER BY updated_at DESC LIMIT %s
    ) AS session
"""
OF_ONE = """
    (SELECT agent_id, id, updated_at FROM sessions WHERE agent_id = %s
     ORDER BY updated_at DESC LIMIT %s)
"""


def newest_sessions(
    agents: list[uuid.UUID], limit: int, using: str
) -> list[tuple[uuid.UUID, uuid.UUID, datetime]]:
    """One query: (agent, session, its last activity) for up to `limit` sessions of each agent."""
    if not agents:
        return []
    statement, values = OF_EACH, [agents, limit]
    if revision.is_distributed():
        # Citus cannot limit the rows of each agent, which are on many workers. PostgreSQL alone
        # would take ten times as long to plan this.
        statement = " UNION ALL ".join([OF_ONE] * len(agents))
        values = [value for agent in agents for value in (agent, limit)]
    with connections[using].cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()
