"""Agents as people choose them: those of one name are told apart."""

import uuid
from collections import Counter

from django.db.models import OuterRef, Subquery
from django.utils import timezone

from backoffice.databases.errors import timeouts_ignored
from backoffice.databases.time_limits import time_limit
from backoffice.words import elapsed_words

from ..models import Agent, Session, labelled

# Of more agents whose names others have too, the last activity is not looked for.
MOST = 100
SECONDS = 0.2


def labels(agents: list[tuple[uuid.UUID, str]]) -> dict[uuid.UUID, str]:
    """{id: name}, with the beginning of the id where others have the name."""
    times = Counter(name for _, name in agents)
    return {pk: labelled(name, pk if times[name] > 1 else None) for pk, name in agents}


def with_activity(found: dict[uuid.UUID, str]) -> dict[uuid.UUID, str]:
    """labels() that say of those with an id how long ago their last conversation was active."""
    same = [pk for pk, label in found.items() if label.endswith(f" ({str(pk)[:8]})")]
    if not same or len(same) > MOST:
        return found
    newest = Session.objects.filter(agent_id=OuterRef("pk")).order_by("-updated_at")
    agents = Agent.objects.filter(pk__in=same)
    with timeouts_ignored(), time_limit(agents.db, SECONDS):
        last = dict(agents.values_list("pk", Subquery(newest.values("updated_at")[:1])))
        now = timezone.now()
        told = {pk: f"{found[pk][:-1]}, {activity(last.get(pk), now)})" for pk in same}
        return {**found, **told}
    return found


def activity(last, now) -> str:
    return f"active {elapsed_words(now - last)} ago" if last else "no conversations"
