"""Whoever waits for an answer, at the other end of gunicorn's socket."""

import os
import select
import socket
import threading
import time
from contextvars import ContextVar

# A reader who takes nothing in this time is as good as gone.
STALLED_SECONDS = 60
# Within so many seconds somebody who asked is taken to be there still.
LATELY = 1
# How often as long as one worked one rests for each of them: pages miss one of two processors more
# than one of sixteen.
RESTS = 8 / (os.cpu_count() or 1)

# {thread: when it began to answer somebody last, in seconds}
_began: dict[int, float] = {}


class Reader:
    """
    One who has left is otherwise noticed when something is written, which may take long.
    """

    def __init__(self, request):
        self.socket = request.META.get("gunicorn.socket")
        self.has_left = False

    def is_there(self) -> bool:
        self.has_left = self.has_left or not self.is_connected()
        return not self.has_left

    def is_connected(self) -> bool:
        # A socket with TLS cannot be looked at so.
        if type(self.socket) is not socket.socket:
            return True
        arrived = select.poll()
        arrived.register(self.socket, select.POLLIN)
        try:
            return not arrived.poll(0) or bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False


def others() -> int:
    """How many other threads of this process have begun to answer somebody just now."""
    since = time.monotonic() - LATELY
    here = threading.get_ident()
    return sum(began > since for thread, began in list(_began.items()) if thread != here)


def give_way(worked: float, at_most: float):
    """Who has worked so many seconds rests for each other who asks for something."""
    time.sleep(max(min(worked * others() * RESTS, at_most), 0))


# Of the page that is being made, where nobody else needs what is asked for it.
current_reader: ContextVar[Reader | None] = ContextVar("current_reader", default=None)


def readers_who_leave(get_response):
    """
    Nobody holds a thread of gunicorn's by standing still, which has no time limit of its own, and
    no database works on for a page that is not wanted any more.
    """

    def middleware(request):
        _began[threading.get_ident()] = time.monotonic()
        reader = Reader(request)
        if reader.socket:
            reader.socket.settimeout(STALLED_SECONDS)
        # A change is made whether or not anybody hears of it.
        current_reader.set(reader if request.method in ("GET", "HEAD") else None)
        return get_response(request)

    return middleware
