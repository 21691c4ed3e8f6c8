"""What titles and headings need to name a conversation; see detail/_title.html."""

import uuid

from django.db.models import F
from django.http import Http404

from privacy import masking

from ..models import Agent, Session, labelled
from ..summaries import summaries

# Annotations for rows with a session_id.
OF_CONVERSATION = {
    "external_id": F("session__external_id"),
    "agent_name": F("session__agent__name"),
}


def of_conversation(row) -> dict:
    """The conversation of a row that has the annotations OF_CONVERSATION."""
    label = labelled(row.agent_name, None)
    return {"pk": row.session_id, "external_id": row.external_id, "agent_label": label}


def of_session(session_id: uuid.UUID) -> Session | None:
    return (
        Session.objects.filter(pk=session_id).only("external_id", "agent_id").with_agent().first()
    )


def with_summary(session_id: uuid.UUID) -> Session:
    """A conversation as the list shows it, and whether its agent shares its name with another."""
    for session in summaries([session_id]):
        same = Agent.objects.filter(name=masking.raw(session.agent_name))
        session.has_namesake = same.exclude(pk=session.agent_id).exists()
        return session
    raise Http404
