"""The rows of the list."""

import json
from datetime import datetime
from functools import cache

from django.db.models.expressions import RawSQL
from django.utils import timezone

from . import masking, revision
from .models import Session
from .querysets import INTERRUPTED_AFTER, PREVIEW_LENGTH

COUNTS = ("message_counts", "run_counts", "task_counts", "model_call_counts")


def summaries(ids: list) -> list[Session]:
    """Sessions with_summary(), in the order of their ids; one that is gone by now is left out."""
    if not ids:
        return []
    since = timezone.now() - INTERRUPTED_AFTER
    sql, params = statement(revision.has_run_durations(), revision.has_model_call_links())
    values = [ids if type(each) is list else since if type(each) is datetime else each
              for each in params]  # fmt: skip
    found = {}
    for row in Session.objects.raw(sql, values):
        for group in COUNTS:
            if value := getattr(row, group, None):
                setattr(row, group, json.loads(value))
        row.first_message = masking.cut(row.first_message, PREVIEW_LENGTH)
        row.last_message = masking.cut(row.last_message, PREVIEW_LENGTH)
        found[row.pk] = row
    return [found[pk] for pk in ids if pk in found]


@cache
def statement(*revision_has) -> tuple[str, tuple]:
    """
    The SQL of with_summary() for some ids; parameters: a list for these, and times.

    Kept, since building it takes Django longer than running it takes PostgreSQL.
    """
    ids = RawSQL("SELECT unnest(%s::uuid[])", [[]])
    return Session.objects.filter(pk__in=ids).with_summary().query.sql_with_params()
