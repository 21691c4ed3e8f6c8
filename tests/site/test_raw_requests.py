"""Raw bytes to gunicorn that no HTTP client would send: refused at once, and nothing hangs."""

import os
import re
import select
import socket
import time
from contextlib import suppress

import pytest
from django.conf import settings

from backoffice.middleware import BODY_SECONDS

from ..support.deployment import HOST, deployment, write_sessions

# A request without an answer after this time counts as hanging, even on a busy machine.
SECONDS = 20
# A shorter time for requests that are never answered.
QUIET_SECONDS = 2
LIST = b"/conversations/"

pytestmark = pytest.mark.xdist_group("raw_requests")


@pytest.fixture(scope="module")
def site():
    with deployment(f"raw_{os.getpid()}", settings.LOCAL_POSTGRES) as made:
        write_sessions(made.database, 1, 1, 20)
        made.prepare()
        yield made


@pytest.fixture(scope="module")
def server(site):
    with site.serving() as serving:
        yield serving


@pytest.fixture
def send(server):
    def send(*lines: bytes, body=b"", closed=True) -> bytes:
        """Send the lines and return everything that comes back until the server hangs up."""
        with socket.create_connection((HOST, server.port), timeout=SECONDS) as connection:
            connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
            # If we close the connection before the answer starts, the server thinks we have left.
            if closed and not select.select([connection], [], [], QUIET_SECONDS)[0]:
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while block := connection.recv(65_536):
                    answer += block
                    if closed:
                        connection.shutdown(socket.SHUT_WR)
            except OSError:
                # The server has hung up, perhaps without reading everything we sent.
                pass
            return answer

    return send


@pytest.fixture
def local(server):
    """The Host header of this site, and the cookie of a signed-in user."""
    return [
        f"Host: {HOST}:{server.port}".encode(),
        f"Cookie: {server.deployment.cookie}".encode(),
        b"Connection: close",
    ]


def status(answer: bytes) -> int:
    assert answer, "no answer"
    return int(re.match(rb"HTTP/1\.[01] (\d{3}) ", answer)[1])


def header(answer: bytes, name: bytes) -> bytes | None:
    found = re.search(rb"(?im)^" + name + rb": (.*?)\r$", answer.partition(b"\r\n\r\n")[0])
    return found and found[1]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\x00\x01\x02",
        b"GET",
        b"GET /",
        b"GET / HTTP/9.9",
        b"GET / HTTP/1.1 HTTP/1.1",
        b"G\x00T / HTTP/1.1",
        b"get / http/1.1",
        b"GET /a b HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET " + b"/" + b"a" * 9_000 + b" HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_a_bad_first_line_is_refused(send, local, line):
    answer = send(line, *local)
    # If this is no request at all, there may be no answer.
    assert not answer or 400 <= status(answer) < 500
    assert b"Traceback" not in answer


@pytest.mark.parametrize(
    "lines",
    [
        [b"No colon"],
        [b"Space : before the colon"],
        [b"X: a\r\n folded"],
        [b"X\x00: y"],
        [b"X: \x00"],
        [b"X: " + b"y" * 10_000],
        [b"X-%d: y" % number for number in range(150)],
        [b"Cookie: " + b"a=b; " * 3_000],
        [b"Content-Length: -1"],
        [b"Content-Length: 1e3"],
        [b"Content-Length: " + b"9" * 5_000],
        [b"Content-Length: 5", b"Content-Length: 6"],
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: gzip"],
        [b"Transfer-Encoding: chunked, identity, chunked"],
        [b"Transfer-Encoding: \x0bchunked"],
    ],
)
def test_bad_headers_are_refused(send, local, lines):
    answer = send(b"POST /csp-report/ HTTP/1.1", *local, *lines, body=b"0\r\n\r\n")
    assert 400 <= status(answer) <= 501
    assert status(answer) != 500
    assert b"Traceback" not in answer


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\nabc\r\n0\r\n\r\n",
        b"-5\r\nabc\r\n0\r\n\r\n",
        b"5;" + b"x" * 9_000 + b"\r\nabcde\r\n0\r\n\r\n",
        b"ffffffffffffffffffff\r\nabc",
        b"5\r\nabcdeXX0\r\n\r\n",
        b"0\r\n\r\n",
        b"3\r\n[1]\r\n0\r\n\r\n",
        b"3\r\n[1",
    ],
)
@pytest.mark.parametrize("path", [b"/csp-report/", b"/accounts/login/"])
def test_a_body_in_bad_chunks_is_refused(send, local, path, body):
    types = [b"Transfer-Encoding: chunked", b"Content-Type: application/x-www-form-urlencoded"]
    answer = send(b"POST " + path + b" HTTP/1.1", *local, *types, body=body)
    assert not answer or 400 <= status(answer) < 500


@pytest.mark.parametrize("method", [b"POST", b"GET"])
@pytest.mark.parametrize("path", [b"/csp-report/", b"/accounts/login/", b"/nowhere/"])
def test_a_body_without_a_length_is_refused(send, local, method, path):
    chunked = b"Transfer-Encoding: chunked"
    answer = send(method + b" " + path + b" HTTP/1.1", *local, chunked, body=b"1\r\n{\r\n")
    assert status(answer) == 411
    assert b"The request has no length" in answer


def test_a_body_that_is_cut_off_is_refused(server, local):
    """Taken for a whole form, it would do something else."""
    with socket.create_connection((HOST, server.port), timeout=SECONDS) as connection:
        lines = [b"POST /accounts/login/ HTTP/1.1", *local, b"Content-Length: 1000", b"", b"a=b"]
        connection.sendall(b"\r\n".join(lines))
        connection.shutdown(socket.SHUT_WR)
        assert status(connection.recv(65_536)) == 408


@pytest.mark.slow
@pytest.mark.parametrize("path", [b"/csp-report/", b"/accounts/login/", b"/nowhere/"])
def test_a_slow_body_is_not_waited_for(server, local, path):
    with socket.create_connection((HOST, server.port), timeout=1) as connection:
        lines = [b"POST " + path + b" HTTP/1.1", *local, b"Content-Length: 1000", b"", b""]
        connection.sendall(b"\r\n".join(lines))
        began, answer = time.monotonic(), b""
        while not answer and time.monotonic() - began < 3 * BODY_SECONDS:
            connection.sendall(b" ")
            with suppress(TimeoutError):
                answer = connection.recv(65_536)
        assert status(answer) == 408
        assert time.monotonic() - began >= BODY_SECONDS


@pytest.mark.parametrize(
    "path",
    [
        b"/%",
        b"/%zz",
        b"/%00",
        b"/%ff%fe",
        b"/\xff\xfe",
        b"/conversations/%ED%A0%80/",
        b"/conversations/..%2f..%2fetc/passwd",
        b"/static/..%2f..%2f.env",
        b"/static/%2e%2e/%2e%2e/.env",
        b"/static/../../.env",
        b"//evil.example/",
        b"/conversations//evil.example",
        b"/conversations/?after=%ff",
        b"/conversations/?after=1.%00",
        b"/conversations/?a=" + b"%00" * 500,
    ],
)
def test_bad_escapes_in_an_address_break_nothing(send, local, path):
    answer = send(b"GET " + path + b" HTTP/1.1", *local)
    assert status(answer) in (200, 301, 302, 400, 404)
    assert not (header(answer, b"Location") or b"").startswith((b"//", b"http"))
    assert b"root:" not in answer
    # The page explains an unknown filter and shows no rows.
    assert b'class="row ' not in answer


@pytest.mark.parametrize(
    "hosts",
    [
        [b"Host: evil.example"],
        [b"Host: 127.0.0.1.evil.example"],
        [b"Host: 127.0.0.1@evil.example"],
        [b"Host: evil.example#127.0.0.1"],
        [b"Host: a b"],
        [b"Host: \xff"],
        [b"Host: [::1"],
        [b"Host: 127.0.0.1:x"],
        [b"Host:"],
        [b"Host: 127.0.0.1", b"Host: evil.example"],
        [],
    ],
)
def test_another_host_is_refused(send, hosts):
    answer = send(b"GET /conversations/ HTTP/1.1", *hosts, b"Connection: close")
    if hosts:
        assert status(answer) == 400
    assert b"evil.example" not in answer


@pytest.mark.parametrize(
    "line",
    [
        b"GET http://evil.example/conversations/export/conversations.jsonl HTTP/1.1",
        b"GET /conversations/export/conversations.jsonl HTTP/1.1",
    ],
)
def test_links_in_a_file_only_name_this_host(send, local, server, line):
    others = [b"X-Forwarded-Host: evil.example", b"X-Host: evil.example", b"Forwarded: host=evil"]
    answer = send(line, *local, *others)
    assert status(answer) in (200, 400, 404)
    assert b"evil" not in answer
    if status(answer) == 200:
        assert f'"http://{HOST}:{server.port}/conversations/'.encode() in answer


@pytest.mark.parametrize("name", [b"SCRIPT_NAME", b"SCRIPT-NAME", b"PATH_INFO", b"REMOTE_USER"])
def test_a_header_cannot_move_the_site_to_another_path(send, local, name):
    """A proxy that does not know the header passes it on, from an address that gunicorn trusts."""
    answer = send(b"GET /conversations/ HTTP/1.1", *local, name + b": /conversations")
    assert status(answer) == 200
    assert b'href="/conversations/errors/"' in answer
    assert b"/conversations/conversations/" not in answer


@pytest.mark.parametrize("charset", [b"=punycode", b"=hex", b"=utf-16", b"*=xxx''a", b"=\xff"])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_an_unusual_encoding_breaks_nothing(send, local, method, charset):
    kind = b"Content-Type: application/x-www-form-urlencoded; charset" + charset
    path = b" /conversations/?search=%41 HTTP/1.1"
    answer = send(method + path, *local, kind, b"Content-Length: 3", body=b"a=%")
    assert status(answer) == (200 if method == b"GET" else 403)
    assert header(answer, b"Content-Security-Policy")


def test_a_request_smuggled_inside_another_is_not_answered(send, local):
    """Bytes after a body of known length are another request or nothing, but never both."""
    smuggled = b"GET /accounts/login/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    lengths = [b"Content-Length: 4", b"Transfer-Encoding: chunked"]
    answer = send(b"POST /csp-report/ HTTP/1.1", *local, *lengths, body=b"0\r\n\r\n" + smuggled)
    assert status(answer) == 400
    assert answer.count(b"HTTP/1.") == 1
