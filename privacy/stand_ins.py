"""What is shown in place of personal data."""

EMAIL, PHONE, CARD, IBAN = "[e-mail]", "[phone]", "[card]", "[IBAN]"
# In place of whatever may have been cut in two.
CUT = "…"


def stand_in(kind: str, value: str) -> str:
    """What replaces a value, as it was written, that was found to be of this kind."""
    return kind
