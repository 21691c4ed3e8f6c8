"""Tells others which conversations we have changed ourselves."""

import uuid
from functools import partial

from django.db import transaction
from django.dispatch import Signal

# With `session_ids`, and whether they were `erased`, once the change is committed.
changed = Signal()


def tell(session_ids: list[uuid.UUID], *, erased: bool = False):
    """In the transaction on agents_write. Whatever a receiver does, the change holds."""
    send = partial(changed.send_robust, sender=None, session_ids=session_ids, erased=erased)
    transaction.on_commit(send, using="agents_write")
