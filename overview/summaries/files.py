"""What a summary's file has."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from backoffice.databases.work_slots import WorkSlot, try_slot
from conversations.exports.stream import TooManyExports
from conversations.exports.tables import Row
from conversations.models import Session

from .form import SummariesForm
from .rows import rows

NAME = "summaries"
MOST_ROWS = 50_000
TOO_MANY_ROWS = (
    f"A summary has at most {MOST_ROWS:,} rows, and this one would have more. Ask for fewer days, "
    "for weeks or months, or for one agent."
)


class TooManySummaryRows(Exception):
    """More than MOST_ROWS."""


@contextmanager
def export_slot() -> Iterator[None]:
    """While it is made, a file counts as a running export. Raises TooManyExports."""
    alias = Session.objects.db
    with transaction.atomic(using=alias):
        if not try_slot(alias, WorkSlot.EXPORT, settings.EXPORTS_AT_ONCE):
            raise TooManyExports
        yield


def summary(asked: SummariesForm) -> list[Row]:
    """The rows that a valid form asks for. Raises TooManySummaryRows and TooManyExports."""
    agent = asked.cleaned_data["agent"]
    with export_slot(), timezone.override(asked.zone):
        made = rows(asked.cleaned_data["buckets"], agent and agent.pk)
        found = list(islice(made, MOST_ROWS + 1))
    if len(found) > MOST_ROWS:
        raise TooManySummaryRows
    return found
