"""Conventions of the runtime that its tables do not state."""

from datetime import timedelta

# An unfinished run without a sign of life for this long has lost its process.
INTERRUPTED_AFTER = timedelta(minutes=15)
# The runtime's evaluations begin their external ids with it.
EVALUATION_PREFIX = "eval:"
