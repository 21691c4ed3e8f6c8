"""What PostgreSQL can hold as text."""


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can store the text; if not, no stored value equals it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
