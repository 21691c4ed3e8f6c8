"""What PostgreSQL can hold as text."""


def is_storable(text: str) -> bool:
    """Whether PostgreSQL could hold the text at all; if not, nothing there equals it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
