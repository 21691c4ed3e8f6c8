"""
Keyset pagination: a cursor names the last row shown, so page 1,000 costs no more than page 1.
"""

import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.core.exceptions import BadRequest

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
HIGHEST_ID = uuid.UUID(int=2**128 - 1)
MICROSECONDS = "-?[0-9]{1,18}"
CURSOR = re.compile(
    rf"({MICROSECONDS})\.([0-9a-f]{{32}})(?:\.(0|[1-9][0-9]{{0,8}})(?:\.({MICROSECONDS}))?)?"
)


@dataclass(frozen=True)
class Cursor:
    """
    The place after a row in (updated_at, id) order, newest first.

    `number` is how many rows are above this place, if known. The rows were numbered when the newest
    conversation in the list had `numbered` as its updated_at. Old bookmarks may have neither.
    """

    updated_at: datetime
    id: uuid.UUID
    number: int | None = field(default=None, compare=False)
    numbered: datetime | None = field(default=None, compare=False)

    def __str__(self):
        text = f"{microseconds(self.updated_at)}.{self.id.hex}"
        if self.number is None:
            return text
        numbered = "" if self.numbered is None else f".{microseconds(self.numbered)}"
        return f"{text}.{self.number}{numbered}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Raises BadRequest for anything that str() does not produce."""
        match = CURSOR.fullmatch(text)
        try:
            updated_at, row_id, number, numbered = match.groups()
            return cls(
                moment(updated_at),
                uuid.UUID(row_id),
                None if number is None else int(number),
                None if numbered is None else moment(numbered),
            )
        except (AttributeError, OverflowError):
            raise BadRequest("Malformed cursor.") from None


def microseconds(at: datetime) -> int:
    return (at - EPOCH) // MICROSECOND


def moment(text: str) -> datetime:
    return EPOCH + int(text) * MICROSECOND
