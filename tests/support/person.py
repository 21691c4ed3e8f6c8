"""A person with a browser, as far as gunicorn can tell: cookies, forms and redirects."""

import html
import http.client
import re
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from urllib.parse import urlencode, urlsplit

from .deployment import HOST, SECONDS, Deployment, Server
from .signing_in import PASSWORD

MAKE = "from tests.support.signing_in import make_user; make_user({name!r}, {group!r})"


@dataclass
class Page:
    status: int
    url: str
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Person:
    headers: dict[str, str] = field(default_factory=dict)
    cookies: SimpleCookie = field(default_factory=SimpleCookie)

    @property
    def cookie(self) -> str:
        return "; ".join(f"{name}={each.value}" for name, each in self.cookies.items())

    def request(self, server: Server, method: str, path: str, data=None, **headers) -> Page:
        connection = http.client.HTTPConnection(HOST, server.port, timeout=SECONDS)
        sent = {**self.headers, "Cookie": self.cookie, **headers}
        body = None
        if data is not None:
            body = urlencode(data, doseq=True)
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        for line in response.headers.get_all("Set-Cookie", []):
            self.cookies.load(line)
        page = Page(response.status, path, response.headers, response.read())
        connection.close()
        return page

    def get(self, server: Server, path: str, **headers) -> Page:
        page = self.request(server, "GET", path, **headers)
        while page.status in (301, 302):
            place = urlsplit(page.headers["Location"])
            path = place.path + (f"?{place.query}" if place.query else "")
            page = self.request(server, "GET", path, **headers)
        return page

    def post(self, server: Server, path: str, answered_by: Server | None = None, **data) -> Page:
        """
        Open the page, fill in its form, send it and follow the redirect. If there is another server
        in `answered_by`, it gets the form and the rest.
        """
        form = self.get(server, path).text
        [token] = set(re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)[-1:])
        hidden = {
            name: html.unescape(value)
            for name, value in re.findall(
                r'<input type="hidden" name="(\w+)" value="([^"]*)"', form
            )
        }
        data = {**hidden, **data, "csrfmiddlewaretoken": token}
        server = answered_by or server
        scheme = self.headers.get("X-Forwarded-Proto", "http")
        origin = f"{scheme}://{self.headers.get('Host', f'{HOST}:{server.port}')}"
        page = self.request(server, "POST", path, data, Origin=origin)
        if page.status == 302:
            place = urlsplit(page.headers["Location"])
            return self.get(server, place.path + (f"?{place.query}" if place.query else ""))
        return page


def make_person(site: Deployment, group: str, name: str = "", **headers: str) -> Person:
    """A person with an account in this group, who is not signed in yet."""
    code = MAKE.format(name=name or group.lower(), group=group)
    site.run("shell", "--verbosity=0", "-c", code, check=True)
    return Person(headers)


def sign_in(person: Person, server: Server, name: str, answered_by: Server | None = None) -> Page:
    return person.post(server, "/accounts/login/", answered_by, username=name, password=PASSWORD)
