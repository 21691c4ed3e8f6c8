"""For Django's commands that make or change accounts."""

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
    A transaction in which each saved account has an entry: `change(user)` gives what it was before
    and is after.
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
