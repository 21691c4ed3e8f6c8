"""What the overview does when we have changed or erased conversations ourselves."""

import uuid

from django.db import transaction

from .models import Activity, Changed, Fact
from .rollup.writing import mark_stale


def note(session_ids: list[uuid.UUID], erased: bool, **kwargs):
    """
    They are read again at the next pass, whatever a pass that goes on now has read of them. What is
    erased is counted no longer from now on, but for the sums of its quarters.
    """
    noted = (Changed(session_id=session_id) for session_id in session_ids)
    Changed.objects.bulk_create(noted, ignore_conflicts=True)
    if erased:
        with transaction.atomic(using="default"):
            activities = Activity.unlimited.filter(session_id__in=session_ids)
            mark_stale(activities.values_list("starts", flat=True))
            activities.delete()
            Fact.unlimited.filter(pk__in=session_ids).delete()
