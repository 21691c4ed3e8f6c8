"""
The audit trail can read an external id only as long as some conversation has it, and a searched
text only for a while. After that, it keeps only fingerprints.
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
# A masked text cannot be compared with external ids.
NOT_MASKED = ~Q(folded="")


@contextmanager
def forgetting(ids: list):
    """
    Wraps the erasure of these conversations. Afterwards the audit trail forgets their external ids,
    unless other conversations have them. If that fails, forget_old() does it later.
    """
    with agent_limits.lifted():
        sessions = Session.objects.using(primary()).filter(pk__in=ids, external_id__isnull=False)
        external_ids = set(sessions.values_list("external_id", flat=True))
    texts.keep(external_ids, are_ids=True)
    yield
    with suppress(OperationalError):
        forget(external_ids | former_external_ids(ids))


def former_external_ids(ids: list) -> set[str]:
    """External ids that the conversations had before somebody edited them."""
    edits = Entry.objects.filter(act=Act.EDITED, session_id__in=ids)
    changes = edits.values_list("details__before", "details__after")
    found = {each for pair in changes for each in texts.FINGERPRINT.findall(json.dumps(pair))}
    return set(Text.objects.filter(NOT_MASKED, pk__in=found).values_list("value", flat=True))


def forget(external_ids: Iterable[str]):
    """Forget ids that no conversation has, and searched texts that are the beginning of one."""
    for batch in batches(external_ids):
        texts.forget(batch - existing(batch))


def forget_old():
    """Run by the thread of jobs, because other programs may delete and edit conversations too."""
    forget(Text.objects.filter(NOT_MASKED, is_external_id=True).values_list("value", flat=True))
    bound = timezone.now() - timedelta(days=settings.AUDIT_TEXT_DAYS)
    old = Text.objects.filter(~NOT_MASKED | Q(is_external_id=False), at__lt=bound)
    for batch in batches(old.values_list("value", flat=True)):
        # A complete external id is kept as long as its conversation exists.
        old.filter(value__in=batch - existing(batch)).delete()


def batches(values: Iterable[str]) -> Iterator[set[str]]:
    rest = iter(list(values))
    while batch := set(islice(rest, BATCH)):
        yield batch


def existing(external_ids: set[str]) -> set[str]:
    with agent_limits.lifted():
        # Names agents because the runtime's index begins with the agent, as in with_external_id().
        agents = Agent.objects.using(primary()).values("pk")
        sessions = Session.objects.using(primary()).order_by()
        sessions = sessions.filter(agent_id__in=agents, external_id__in=external_ids)
        return set(sessions.values_list("external_id", flat=True).distinct())


def primary() -> str:
    """Not a replica, which may not know yet what was just erased."""
    return "agents_write" if "agents_write" in settings.DATABASES else "agents"
