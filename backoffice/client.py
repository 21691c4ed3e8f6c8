"""The browser or program at the other end of gunicorn's socket."""

import os
import select
import socket
import threading
import time
from collections import deque
from contextvars import ContextVar

from django.http import HttpResponse

# A client that reads nothing for this long is treated as gone.
STALLED_SECONDS = 60
# Heavy work gives way to the requests that began in the last N seconds.
ACTIVE_SECONDS = 1
# Seconds to sleep per second of work, for each of these requests: with fewer processors, heavy work
# slows pages down more.
REST_RATIO = 8 / (os.cpu_count() or 1)
# How many processes serve the site, which all get as many requests; gunicorn.conf.py says it.
processes = 1

# nginx's status for a client that left before it got an answer.
CLIENT_CLOSED_REQUEST = 499

# The thread of each of the latest requests, and when it began, in seconds.
_began: deque[tuple[int, float]] = deque(maxlen=100)


class Client:
    """Tells whether the client is still connected; gunicorn notices only when it writes."""

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
    """About how many requests of others began in the last ACTIVE_SECONDS, in all processes."""
    since = time.monotonic() - ACTIVE_SECONDS
    here = threading.get_ident()
    return processes * sum(began > since and thread != here for thread, began in list(_began))


def give_way(worked: float, at_most: float):
    """Sleep in proportion to the seconds worked and the number of other requests."""
    time.sleep(max(min(worked * others() * REST_RATIO, at_most), 0))


# The client whose page this thread is building; None during a change, which is always finished.
current_client: ContextVar[Client | None] = ContextVar("current_client", default=None)


def watch_client(get_response):
    """
    Limits how long a client that stops reading can hold a thread, which gunicorn does not, and ends
    queries whose client has left.
    """

    def middleware(request):
        _began.append((threading.get_ident(), time.monotonic()))
        client = Client(request)
        if client.socket:
            client.socket.settimeout(STALLED_SECONDS)
        # A change is finished even if its client has left.
        reads = request.method in ("GET", "HEAD")
        current_client.set(client if reads else None)
        if reads and not client.is_there():
            # The client left while its request waited for a thread.
            return HttpResponse(status=CLIENT_CLOSED_REQUEST)
        return get_response(request)

    return middleware
