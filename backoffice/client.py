"""The browser or program at the other end of gunicorn's socket."""

import os
import select
import socket
import threading
import time
from contextvars import ContextVar

from django.http import HttpResponse

# A client that reads nothing for this long is treated as gone.
STALLED_SECONDS = 60
# A user who sent a request in the last N seconds counts as active.
LATELY = 1
# Seconds of rest per second of work, for each active user: the fewer processors there are, the more
# heavy work slows pages.
RESTS = 8 / (os.cpu_count() or 1)

# nginx's status for a client that left before it was answered.
CLIENT_CLOSED_REQUEST = 499

# {thread: when its latest request began, in seconds}
_began: dict[int, float] = {}


class Client:
    """Tells whether the client is still connected; gunicorn itself only notices when it writes."""

    def __init__(self, request):
        self.socket = request.META.get("gunicorn.socket")
        self.has_left = False

    def is_there(self) -> bool:
        self.has_left = self.has_left or not self.is_connected()
        return not self.has_left

    def is_connected(self) -> bool:
        # A TLS socket cannot be checked this way.
        if type(self.socket) is not socket.socket:
            return True
        arrived = select.poll()
        arrived.register(self.socket, select.POLLIN)
        try:
            return not arrived.poll(0) or bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False


def others() -> int:
    """How many other threads of this process began a request in the last LATELY seconds."""
    since = time.monotonic() - LATELY
    here = threading.get_ident()
    return sum(began > since for thread, began in list(_began.items()) if thread != here)


def give_way(worked: float, at_most: float):
    """Sleep in proportion to the seconds worked and the other active users."""
    time.sleep(max(min(worked * others() * RESTS, at_most), 0))


# The client whose page this thread is building; None during a change, which always finishes.
current_client: ContextVar[Client | None] = ContextVar("current_reader", default=None)


def watch_client(get_response):
    """
    Limits how long a client that stops reading can hold a thread, which gunicorn does not, and
    ends queries whose client has left.
    """

    def middleware(request):
        _began[threading.get_ident()] = time.monotonic()
        client = Client(request)
        if client.socket:
            client.socket.settimeout(STALLED_SECONDS)
        # A change is finished even if its client has left.
        reads = request.method in ("GET", "HEAD")
        current_client.set(client if reads else None)
        if reads and not client.is_there():
            # It left while it waited for a thread: nobody reads this answer.
            return HttpResponse(status=CLIENT_CLOSED_REQUEST)
        return get_response(request)

    return middleware
