"""
Posts a message to a webhook, as JSON that Slack and others understand. The address is a secret:
whoever knows it can post there.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

import requests
import urllib3
from django.conf import settings
from requests.adapters import HTTPAdapter

from .not_sent import NotSent

# For connecting, and for each part of the answer.
SECONDS = (5, 10)
PORTS = {"http": 80, "https": 443}


class ToHost(HTTPAdapter):
    """Connects to an IP address, and expects the certificate of the host that it was found for."""

    def __init__(self, host: str):
        self.host = host
        super().__init__()

    def init_poolmanager(self, *args, **kwargs):
        names = {"server_hostname": self.host, "assert_hostname": self.host}
        super().init_poolmanager(*args, **kwargs, **names)


def send(subject: str, text: str):
    parts = urlsplit(settings.NOTIFY_WEBHOOK_SECRET)
    port = parts.port or PORTS[parts.scheme]
    # Resolved once: a second answer of the DNS could be an address that was not checked.
    address = checked_address(parts.hostname, port)
    place = f"[{address}]" if ":" in address else address
    url = parts._replace(netloc=f"{place}:{port}").geturl()
    with requests.Session() as session:
        # No proxy and no password from the environment: they would see the address.
        session.trust_env = False
        session.mount(f"{parts.scheme}://", ToHost(parts.hostname))
        try:
            answer = session.post(
                url,
                json={"text": escaped(f"{subject}\n\n{text}")},
                headers={"Host": parts.netloc},
                timeout=SECONDS,
                allow_redirects=False,
                # The answer's text is of no interest, however long it is.
                stream=True,
            )
            answer.close()
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise NotSent(f"the webhook cannot be reached ({type(error).__name__})") from None
    if not 200 <= answer.status_code < 300:
        raise NotSent(f"the webhook answered with status {answer.status_code}")


def escaped(text: str) -> str:
    """As Slack wants it: an agent's name must not become a link or call everybody of a channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def checked_address(host: str, port: int) -> str:
    """The IP address to connect to."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NotSent("the webhook's host is not known") from None
    # IPv4 first: more networks reach it.
    addresses = [place[0] for family, *_, place in sorted(found, key=lambda each: each[0])]
    if not settings.NOTIFY_WEBHOOK_PRIVATE and not all(map(is_public, addresses)):
        raise NotSent("the webhook has a private address; see NOTIFY_WEBHOOK_PRIVATE")
    return addresses[0]


def is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    return found.is_global and not found.is_multicast
