"""The runtime's tables in the admin panel."""

from . import tables  # noqa: F401
