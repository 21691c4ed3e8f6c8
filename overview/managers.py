"""The only ways to the tables of the overview."""

import uuid
from collections.abc import Collection
from datetime import datetime

from django.db import connections, models

from conversations.access import agent_limits


class AgentLimitedQuerySet(models.QuerySet):
    def of_agent(self, agent_id: uuid.UUID | None):
        """Of one agent or, without one, of all that the user may see."""
        return self if agent_id is None else self.filter(agent_id=agent_id)


class AgentLimitedManager(models.Manager.from_queryset(AgentLimitedQuerySet)):
    """
    Rows of the agents that the user may see. A request's limit rewrites statements on the agent
    database alone: in ours, nothing but this manager applies it.
    """

    def get_queryset(self):
        rows = super().get_queryset()
        allowed = agent_limits.agents()
        return rows if allowed is None else rows.filter(agent_id__in=allowed)


class UnlimitedManager(models.Manager):
    """For the rollup, which nobody asked for and which shows nothing."""


# One probe of an index for each agent: GROUP BY would read all of their conversations.
LAST_ACTIVITIES = """
    SELECT id, last_activity FROM unnest(%s::uuid[]) AS agent (id), LATERAL (
        SELECT last_activity FROM overview_fact WHERE agent_id = agent.id
        ORDER BY last_activity DESC LIMIT 1
    ) AS newest
"""


class FactManager(AgentLimitedManager):
    def last_activities(self, agent_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, datetime]:
        """{agent: when anything last happened in its conversations}, for those that have any."""
        allowed = agent_limits.agents()
        ids = [pk for pk in agent_ids if allowed is None or pk in allowed]
        with connections[self.db].cursor() as cursor:
            cursor.execute(LAST_ACTIVITIES, [ids])
            return dict(cursor.fetchall())


class CellQuerySet(AgentLimitedQuerySet):
    def of_agent(self, agent_id: uuid.UUID | None):
        """
        Cells to add up: one agent's or, without one, those of all agents that the user may see.
        Users without a limit get the cells that were made for all agents together.
        """
        if agent_id is not None:
            return self.filter(agent_id=agent_id)
        return self.filter(agent_id__isnull=agent_limits.agents() is None)


class CellManager(AgentLimitedManager.from_queryset(CellQuerySet)):
    pass
