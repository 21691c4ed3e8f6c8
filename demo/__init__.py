"""Demo conversations for a fresh local database, exactly as the runtime would write them."""

from .writer import write_demo

__all__ = ["write_demo"]
