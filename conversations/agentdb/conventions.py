"""Conventions of the runtime, and our own, that its tables do not state."""

from datetime import timedelta

# An unfinished run without any sign of life for this long has lost its process.
INTERRUPTED_AFTER = timedelta(minutes=15)
# The external ids of the runtime's evaluations begin with this.
EVALUATION_PREFIX = "eval:"

# Replaces text that was redacted.
REDACTED = "[redacted]"

# Which role comes first if several messages have the same time.
ROLE_ORDER = (
    "CASE {role} WHEN 'system' THEN 0 WHEN 'user' THEN 1 WHEN 'assistant' THEN 3 ELSE 2 END"
)
