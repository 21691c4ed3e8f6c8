"""Reads the calls of a page, with their agents and conversations."""

import uuid

from django.db.models import OuterRef, Subquery

from ..agentdb import revision
from ..models import ModelCall, Session
from .costs import with_costs


def rows(ids: list[uuid.UUID], agents: dict[uuid.UUID, str]) -> list[ModelCall]:
    """
    These calls in this order, without requests and responses. Each has the label of its agent from
    `agents`, and says whether its conversation is still there. The agent is the conversation's: it
    may have been moved to another one since.
    """
    calls = ModelCall.objects.filter(pk__in=ids)
    if revision.has_model_call_links():
        session = Session.objects.filter(pk=OuterRef("session_id"))
        calls = calls.annotate(
            external_id=Subquery(session.values("external_id")),
            session_agent=Subquery(session.values("agent_id")),
        )
    found = {call.pk: call for call in with_costs(calls)}
    for call in found.values():
        agent = getattr(call, "session_agent", None)
        call.has_conversation = agent is not None
        call.agent_label = agents.get(agent or call.agent_id, "")
    return [found[pk] for pk in ids if pk in found]
