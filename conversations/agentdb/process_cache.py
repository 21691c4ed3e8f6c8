"""What each process knows of the agent database for a while."""

import functools
import time

# Its columns and indexes may change while the site is up.
LOOK_AGAIN = 60


class Kept:
    """A function without arguments whose answer is at most LOOK_AGAIN seconds old."""

    def __init__(self, look):
        functools.update_wrapper(self, look)
        self.look = look
        self.forget()

    def __call__(self):
        now = time.monotonic()
        # Both at once, since threads share it.
        kept = self.kept
        if kept is None or now - kept[0] > LOOK_AGAIN:
            kept = self.kept = (now, self.look())
        return kept[1]

    def forget(self):
        """Look again at the next use."""
        self.kept = None
