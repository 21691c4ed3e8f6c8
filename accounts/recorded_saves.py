"""Makes Django's own commands record the accounts that they create or change."""

from collections.abc import Callable
from contextlib import contextmanager

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models.signals import post_save

from audit.models import Act
from audit.recording import record


@contextmanager
def recorded_saves(change: Callable[..., dict]):
    """
    A transaction that records each saved account in the audit log. `change(user)` returns
    {"before": …, "after": …}.
    """

    def saved(sender, instance, created, **kwargs):
        table, row = sender._meta.db_table, instance.get_username()
        record(None, Act.EDITED, table=table, row=row, **change(instance))

    with transaction.atomic():
        post_save.connect(saved, sender=get_user_model())
        try:
            yield
        finally:
            post_save.disconnect(saved, sender=get_user_model())
