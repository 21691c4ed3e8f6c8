"""
The audit trail can read external ids only as long as a conversation has them, and what was searched
for only for a while; afterwards it has nothing but fingerprints.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import islice

from django.conf import settings
from django.db import OperationalError
from django.db.models import Q
from django.utils import timezone

from audit import texts
from audit.models import Act, Entry, Text

from ..access import agent_limits
from ..models import Agent, Session

BATCH = 100
EVERY_SECONDS = 3600
# Of masked texts nobody can tell whether they are some conversation's id.
NOT_MASKED = ~Q(folded="")


@contextmanager
def forgetting(ids: list):
    """
    For the erasure of these conversations: afterwards their external ids go, unless another
    conversation has them. If that fails, forget_old() does it.
    """
    with agent_limits.lifted():
        sessions = Session.objects.using(primary()).filter(pk__in=ids, external_id__isnull=False)
        external_ids = set(sessions.values_list("external_id", flat=True))
    texts.keep(external_ids, are_ids=True)
    yield
    with suppress(OperationalError):
        forget(external_ids | former_external_ids(ids))


def former_external_ids(ids: list) -> set[str]:
    """Those that they had before somebody edited them."""
    edits = Entry.objects.filter(act=Act.EDITED, session_id__in=ids)
    changes = edits.values_list("details__before", "details__after")
    found = {each for pair in changes for each in texts.FINGERPRINT.findall(json.dumps(pair))}
    return set(Text.objects.filter(NOT_MASKED, pk__in=found).values_list("value", flat=True))


def forget(external_ids: Iterable[str]):
    """Those that no conversation has, with the searched texts that are their beginning."""
    for batch in batches(external_ids):
        texts.forget(batch - existing(batch))


def forget_old():
    """For the thread of jobs, since others may delete and edit conversations too."""
    forget(Text.objects.filter(NOT_MASKED, is_external_id=True).values_list("value", flat=True))
    bound = timezone.now() - timedelta(days=settings.AUDIT_TEXT_DAYS)
    old = Text.objects.filter(~NOT_MASKED | Q(is_external_id=False), at__lt=bound)
    for batch in batches(old.values_list("value", flat=True)):
        # A whole external id stays as long as its conversation.
        old.filter(value__in=batch - existing(batch)).delete()


def batches(values: Iterable[str]) -> Iterator[set[str]]:
    rest = iter(list(values))
    while batch := set(islice(rest, BATCH)):
        yield batch


def existing(external_ids: set[str]) -> set[str]:
    with agent_limits.lifted():
        # By agent first, as in with_external_id().
        agents = Agent.objects.using(primary()).values("pk")
        sessions = Session.objects.using(primary()).order_by()
        sessions = sessions.filter(agent_id__in=agents, external_id__in=external_ids)
        return set(sessions.values_list("external_id", flat=True).distinct())


def primary() -> str:
    """A replica may not know yet what was erased a moment ago."""
    return "agents_write" if "agents_write" in settings.DATABASES else "agents"
