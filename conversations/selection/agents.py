"""Labels for choosing agents that tell apart agents with the same name."""

import uuid
from collections import Counter

from django.utils import timezone

from backoffice.databases.errors import timeouts_ignored
from backoffice.databases.time_limits import time_limit
from backoffice.words import elapsed_words

from ..agentdb.newest_sessions import newest_sessions
from ..models import CUT, Session, labelled

# If more agents than this share their names, last activities are not looked up.
MOST = 100
SECONDS = 0.2


def labels(agents: list[tuple[uuid.UUID, str]]) -> dict[uuid.UUID, str]:
    """{id: name}, plus the beginning of the id if other agents' names look the same."""
    times = Counter(name[:CUT] for _, name in agents)
    return {pk: labelled(name, pk if times[name[:CUT]] > 1 else None) for pk, name in agents}


def with_activity(found: dict[uuid.UUID, str]) -> dict[uuid.UUID, str]:
    """The labels(), saying for those with an id when their last conversation was active."""
    same = [pk for pk, label in found.items() if label.endswith(f" ({str(pk)[:8]})")]
    if not same or len(same) > MOST:
        return found
    using = Session.objects.db
    with timeouts_ignored(), time_limit(using, SECONDS):
        last = {agent: updated_at for agent, _, updated_at in newest_sessions(same, 1, using)}
        now = timezone.now()
        active = {pk: f"{found[pk][:-1]}, {activity(last.get(pk), now)})" for pk in same}
        return {**found, **active}
    return found


def activity(last, now) -> str:
    return f"active {elapsed_words(now - last)} ago" if last else "no conversations"
