"""Demo conversations for a fresh local database, in the very shape that the runtime writes."""

from .writer import write_demo

__all__ = ["write_demo"]
