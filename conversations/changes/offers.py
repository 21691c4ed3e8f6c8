"""What the redaction of a conversation offers to remove besides the words that somebody wrote."""

import re
import uuid
from dataclasses import dataclass, replace

from django.utils.crypto import salted_hmac

from privacy import masking, personal_data
from privacy.stand_ins import CARD, EMAIL, IBAN, PHONE

from . import redaction
from .spellings import normalised, plain

# No page reads more of a conversation, in characters, than this for what it offers.
LOOKED_AT = 2_000_000
NAMES = {
    EMAIL: "E-mail address",
    PHONE: "Phone number",
    CARD: "Card number",
    IBAN: "IBAN",
}


@dataclass(frozen=True)
class Offer:
    """Personal data, and how often it occurs. `token` names it in a form without telling it."""

    kind: str
    text: str
    times: int
    token: str


class Offers:
    """Collects from the texts that look() is given."""

    def __init__(self, session_id: uuid.UUID):
        self.session_id = session_id
        self.known: dict[str, Offer] = {}

    def look(self, text: str):
        """At a text as it is stored, even if its reader sees it masked."""
        for kind, words in personal_data.found(masking.raw(text)):
            key = key_of(kind, words)
            offer = self.known.get(key)
            if offer is None:
                offer = Offer(NAMES[kind], plain(words), 0, token(self.session_id, key))
            self.known[key] = replace(offer, times=offer.times + 1)

    def all(self) -> list[Offer]:
        """The most frequent first."""
        return sorted(self.known.values(), key=lambda offer: -offer.times)


def look(session_id: uuid.UUID, using: str, *finders) -> bool:
    """
    Show each finder the texts of the conversation, up to LOOKED_AT characters. Returns whether
    that was all of it.
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
    """The same for the same data, however it is written."""
    normal = normalised(plain(words)).strip()
    return normal if kind == EMAIL else re.sub(r"[^0-9a-z]", "", normal)


def token(session_id: uuid.UUID, key: str) -> str:
    """Keyed, so that nobody can test guesses of personal data against it."""
    return salted_hmac("conversations.offers", f"{session_id} {key}").hexdigest()[:20]
