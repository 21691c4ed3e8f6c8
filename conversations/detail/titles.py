"""What the titles of pages about a part of a conversation say of it; see detail/_title.html."""

import uuid

from django.db.models import F

from ..models import Session

# For rows with a session_id.
OF_CONVERSATION = {
    "external_id": F("session__external_id"),
    "agent_name": F("session__agent__name"),
}


def of_conversation(row) -> dict:
    """Of a row with these annotations."""
    names = {name: getattr(row, name) for name in OF_CONVERSATION}
    return {"pk": row.session_id, **names}


def of_session(session_id: uuid.UUID) -> dict | None:
    names = {"agent_name": F("agent__name")}
    return Session.objects.filter(pk=session_id).values("pk", "external_id", **names).first()
