"""Facts about the agent database that each process caches for a minute."""

import functools
import time

# The database's columns and indexes may change while the site is up.
SECONDS = 60


class CachedForAMinute:
    """A function without arguments whose result may be up to SECONDS seconds old."""

    def __init__(self, look):
        functools.update_wrapper(self, look)
        self.look = look
        self.forget()

    def __call__(self):
        now = time.monotonic()
        # A single tuple, because threads share it.
        kept = self.kept
        if kept is None or now - kept[0] > SECONDS:
            kept = self.kept = (now, self.look())
        return kept[1]

    def forget(self):
        """Call the function again at the next use."""
        self.kept = None
