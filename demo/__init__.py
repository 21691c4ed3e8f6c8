"""Demo conversations for a fresh local database, in exactly the form that the runtime writes."""

from .writer import write_demo

__all__ = ["write_demo"]
