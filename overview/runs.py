"""How runs ended, or that they go on."""

import uuid
from collections.abc import Iterable

from django.db.models import QuerySet

from conversations.agentdb.compiled import tuples
from conversations.models import Run


def statuses(ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, str]:
    """{run: its status}, for those that exist."""
    return dict(tuples(with_statuses, ids=list(ids)))


def with_statuses(ids) -> QuerySet:
    return Run.objects.filter(pk__in=ids).with_status().values_list("pk", "status")
