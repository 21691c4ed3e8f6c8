"""What the runtime means without saying so in its tables."""

from datetime import timedelta

# A run that has not ended and shows no sign of life for this long lost its process.
INTERRUPTED_AFTER = timedelta(minutes=15)
# What the runtime's evaluations put before their external ids.
EVALUATION_PREFIX = "eval:"
