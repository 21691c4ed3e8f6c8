"""Conventions of the runtime, and of ours, that its tables do not state."""

from datetime import timedelta

# An unfinished run without a sign of life for this long has lost its process.
INTERRUPTED_AFTER = timedelta(minutes=15)
# The runtime's evaluations begin their external ids with it.
EVALUATION_PREFIX = "eval:"

# What we write in place of words that were removed.
REDACTED = "[redacted]"

# Which role speaks first where several do at one moment.
ROLE_ORDER = (
    "CASE {role} WHEN 'system' THEN 0 WHEN 'user' THEN 1 WHEN 'assistant' THEN 3 ELSE 2 END"
)
