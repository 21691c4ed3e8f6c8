"""Personal data that the page for redacting offers to remove, besides the words typed there."""

import re
import uuid
from dataclasses import dataclass, replace

from django.utils.crypto import salted_hmac

from privacy import masking, personal_data
from privacy.stand_ins import CARD, EMAIL, IBAN, PHONE

from . import redaction
from .spellings import normalised, plain

# How many characters of a conversation a page searches for offers.
LOOKED_AT = 2_000_000
NAMES = {
    EMAIL: "E-mail address",
    PHONE: "Phone number",
    CARD: "Card number",
    IBAN: "IBAN",
}


@dataclass(frozen=True)
class Offer:
    """Personal data and how often it occurs. `token` stands for it in a form, revealing nothing."""

    kind: str
    text: str
    times: int
    token: str


class Offers:
    """Collects personal data from the texts passed to look()."""

    def __init__(self, session_id: uuid.UUID):
        self.session_id = session_id
        self.known: dict[str, Offer] = {}

    def look(self, text: str):
        """Search a text as it is stored, even if the user sees it masked."""
        for kind, words in personal_data.found(masking.raw(text)):
            key = key_of(kind, words)
            offer = self.known.get(key)
            if offer is None:
                offer = Offer(NAMES[kind], plain(words), 0, token(self.session_id, key))
            self.known[key] = replace(offer, times=offer.times + 1)

    def all(self) -> list[Offer]:
        """Most frequent first."""
        return sorted(self.known.values(), key=lambda offer: -offer.times)


def look(session_id: uuid.UUID, using: str, *finders) -> bool:
    """
    Pass the conversation's texts to each finder, up to LOOKED_AT characters. Returns whether that
    was the whole conversation.
    """
    left = LOOKED_AT
    for table in redaction.places():
        for _, values in redaction.rows_of(table, session_id, using):
            for text in values.values():
                if left <= 0:
                    return False
                left -= len(text)
                for finder in finders:
                    finder.look(text)
    return True


def key_of(kind: str, words: str) -> str:
    """Equal for the same data, however it is written."""
    normal = normalised(plain(words)).strip()
    return normal if kind == EMAIL else re.sub(r"[^0-9a-z]", "", normal)


def token(session_id: uuid.UUID, key: str) -> str:
    """Keyed, so that nobody can use it to test guesses at personal data."""
    return salted_hmac("conversations.offers", f"{session_id} {key}").hexdigest()[:20]
