"""
Keyset pagination: a cursor names the last row shown, so that page 1,000 costs what page 1 does.
"""

import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.core.exceptions import BadRequest

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Cursor:
    """The place after a row in (updated_at, id) order, newest first."""

    updated_at: datetime
    id: uuid.UUID

    def __str__(self):
        return f"{(self.updated_at - EPOCH) // MICROSECOND}.{self.id.hex}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Raises BadRequest for anything that str() does not make."""
        match = re.fullmatch(r"(-?[0-9]{1,18})\.([0-9a-f]{32})", text)
        try:
            return cls(EPOCH + int(match[1]) * MICROSECOND, uuid.UUID(match[2]))
        except (TypeError, OverflowError):
            raise BadRequest("Malformed cursor.") from None
