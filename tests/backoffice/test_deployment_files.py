"""The files in deploy/, checked by the programs they are for. The proxies run with a real site."""

import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from compose_spec import PyOptions
from django.conf import settings

from ..support.deployment import (
    HOST,
    SECONDS,
    Deployment,
    create_database,
    deployment,
    drop_database,
    wait_until,
    write_sessions,
)

NAME = "desk.example.com"
TOKEN = "m-" + "0123456789" * 2
DEPLOY = settings.BASE_DIR / "deploy"
EXPORT = "/conversations/export/messages.csv"

pytestmark = pytest.mark.xdist_group("deployment_files")


def program(name: str) -> str:
    # Caddy comes from a Python package. Debian installs servers in /usr/sbin, which only root's
    # PATH has.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
    found = shutil.which(name, path=path)
    assert found, f"{name} is missing: make tools"
    return found


def said_by(*command) -> str:
    """The output of a program that must succeed."""
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=settings.BASE_DIR
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


# Files that are only checked


def test_the_image_follows_good_practice():
    assert said_by(Path(sys.executable).with_name("hadolint"), "Dockerfile") == ""


def test_the_image_has_what_the_site_needs_and_no_more():
    kept = re.findall(r"^!(.+)$", (settings.BASE_DIR / ".dockerignore").read_text(), re.MULTILINE)
    assert (settings.BASE_DIR / ".dockerignore").read_text().splitlines()[1] == "*"
    tracked = {path.split("/")[0] for path in said_by("git", "ls-files").splitlines()}
    left_out = r"\.|tests$|deploy$|Dockerfile|Makefile|README|CONTRIBUTING|requirements-"
    assert {name for name in tracked if not re.match(left_out, name)} == set(kept)
    assert not any(name.startswith(".") for name in kept)


@pytest.mark.slow
@pytest.mark.system
def test_the_site_starts_with_only_the_files_in_the_image(tmp_path):
    """Run migrations, static files, commands and gunicorn in a copy without any other files."""
    home, static = tmp_path / "site", tmp_path / "static"
    kept = re.findall(r"^!(.+)$", (settings.BASE_DIR / ".dockerignore").read_text(), re.MULTILINE)
    for path in said_by("git", "ls-files", "--", *kept).splitlines():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(settings.BASE_DIR / path, home / path)
    name, postgres = f"image_{os.getpid()}", settings.LOCAL_POSTGRES
    try:
        create_database(name, postgres)
        with psycopg.connect(postgres.uri(name), autocommit=True) as database:
            told = {"STATIC_ROOT": str(static), "DESK_DATA_DIR": str(tmp_path / "data")}
            site = Deployment(database, postgres.uri(name), told, home=home)
            site.run("migrate", "--verbosity=0", check=True)
            site.run("collectstatic", "--no-input", "--verbosity=0", check=True)
            site.run("demo_conversations", "--count=3", check=True)
            site.cookie = site.sign_in("Support")
            with site.serving(workers=1) as server:
                page = server.get("/conversations/").read().decode()
                assert page.count('<a class="row') == 3
                [style] = re.findall(r'href="(/static/app\.[^"]+\.css)"', page)
                assert server.get(style).status == 200
                assert server.get("/help/operating/").status == 200
    finally:
        drop_database(name, postgres)


def test_static_files_are_collected_without_a_key_or_a_database(tmp_path):
    """This is how the image is built."""
    command = re.search(r"^RUN (DESK_DATA_DIR.*)$", (settings.BASE_DIR / "Dockerfile").read_text(),
                        re.MULTILINE)[1]  # fmt: skip
    assert command.endswith("python manage.py collectstatic --no-input")
    environment = {"DESK_DATA_DIR": f"{tmp_path}/data", "STATIC_ROOT": f"{tmp_path}/static"}
    made = subprocess.run(
        [sys.executable, "manage.py", "collectstatic", "--no-input"],
        cwd=settings.BASE_DIR,
        env={**os.environ, **environment},
        capture_output=True,
    )
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "static" / "staticfiles.json").exists()
    assert not (tmp_path / "data" / "postgres").exists()


def test_compose_passes_on_every_setting_and_no_unknown_ones():
    options = PyOptions()
    options.apply_merge = True
    text = (DEPLOY / "compose.yaml").read_text()
    composed = options.from_yaml(text)
    composed.validate()
    services = composed.to_dict()["services"]
    told = services["web"]["environment"]
    known = re.findall(r"^#(\w+)=", (settings.BASE_DIR / ".env.example").read_text(), re.MULTILINE)
    # The image sets the first; the others are for use on one computer.
    elsewhere = {"STATIC_ROOT", "DEBUG", "DEMO_PASSWORD", "DESK_DATA_DIR", "PORT"}
    assert set(known) - elsewhere == told.keys()
    # A setting in .env that is not passed on would silently have no effect.
    follow_from_the_file = {"ALLOWED_HOSTS", "BEHIND_PROXY", "DATABASE_URL"}
    for name in told.keys() - follow_from_the_file:
        assert str(told[name]).startswith(f"${{{name}:"), name
    assert services["migrate"]["environment"] == services["web"]["environment"]
    assert services["web"]["read_only"]
    assert "ports" not in services["web"]
    assert "ports" not in services["db"]


@pytest.mark.system
@pytest.mark.skipif(sys.platform != "linux", reason="systemd is of Linux alone")
@pytest.mark.parametrize("name", ["conversation-desk", "conversation-desk-notify"])
def test_systemd_accepts_the_unit_and_rates_it_secure(tmp_path, name):
    unit = DEPLOY / f"{name}.service"
    copy = tmp_path / unit.name
    copy.write_text(re.sub(r"/srv/desk/.venv/bin/\w+", "/bin/true", unit.read_text()))
    assert unit.name not in said_by("systemd-analyze", "verify", copy)
    said_by("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)


@pytest.mark.system
@pytest.mark.skipif(sys.platform != "linux", reason="systemd is of Linux alone")
def test_systemd_starts_the_messages_every_five_minutes(tmp_path):
    timer = DEPLOY / "conversation-desk-notify.timer"
    for unit in (timer, timer.with_suffix(".service")):
        text = unit.read_text().replace("/srv/desk/.venv/bin/python", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    assert timer.stem not in said_by("systemd-analyze", "verify", tmp_path / timer.name)
    [calendar] = re.findall(r"^OnCalendar=(.+)$", timer.read_text(), re.MULTILINE)
    said = said_by("systemd-analyze", "calendar", "--iterations=2", "2026-01-01 00:01:00", calendar)
    assert "*-*-* *:00/5:00" in said


# Running proxies


@pytest.fixture(scope="module")
def site():
    with deployment(f"proxied_{os.getpid()}", settings.LOCAL_POSTGRES) as made:
        made.settings |= {
            "SECRET_KEY": os.urandom(40).hex(),
            "ALLOWED_HOSTS": NAME,
            "BEHIND_PROXY": "1",
            "METRICS_TOKEN": TOKEN,
        }
        write_sessions(made.database, 2_000, 1, 2_000)
        made.prepare()
        yield made


@pytest.fixture(scope="module")
def upstream(site):
    with site.serving() as server:
        yield server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    place = tmp_path_factory.mktemp("certificate")
    subject = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    said_by("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject,
            "-keyout", place / "privkey.pem", "-out", place / "fullchain.pem")  # fmt: skip
    return place


# These sockets are bound but do not listen: the system gives their ports to nobody else, but a
# program that asks for one of them gets it.
_reserved: list[socket.socket] = []


def free_port() -> int:
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((HOST, 0))
    _reserved.append(reserved)
    return reserved.getsockname()[1]


def nginx(place, certificate, upstream, port):
    """The nginx.conf from deploy/, with the addresses and files of the test."""
    text = (DEPLOY / "nginx.conf").read_text()
    for old, new in {
        "127.0.0.1:8000": f"{HOST}:{upstream}",
        "listen 80;": f"listen {HOST}:{free_port()};",
        "listen 443 ssl;": f"listen {HOST}:{port} ssl;",
        "/etc/ssl/desk/": f"{certificate}/",
        "/var/log/nginx/": f"{place}/",
    }.items():
        assert old in text
        text = text.replace(old, new)
    (place / "desk.conf").write_text(text)
    temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = " ".join(f"{name}_temp_path {place}/{name};" for name in temporary)
    user = "user root;" if os.geteuid() == 0 else ""
    main = f"""
        {user} daemon off; pid {place}/pid; error_log {place}/start.log;
        events {{}}
        http {{ {paths} include {place}/desk.conf; }}
    """
    (place / "nginx.conf").write_text(main)
    command = [program("nginx"), "-e", f"{place}/start.log", "-c", f"{place}/nginx.conf"]
    said_by(*command, "-t")
    return command


def caddy(place, certificate, upstream, port):
    text = (DEPLOY / "Caddyfile").read_text()
    pair = f"{certificate}/fullchain.pem {certificate}/privkey.pem"
    for old, new in {
        "{$DESK_HOST} {": f"https://{NAME}:{port} {{\n\tbind {HOST}\n\ttls {pair}",
        "{$DESK_UPSTREAM}": f"{HOST}:{upstream}",
        "{\n\tservers": "{\n\tadmin off\n\tauto_https off\n\tservers",
    }.items():
        assert old in text
        text = text.replace(old, new)
    (place / "Caddyfile").write_text(text)
    command = [program("caddy"), "run", "--adapter", "caddyfile", "--config", f"{place}/Caddyfile"]
    said_by(command[0], "validate", *command[2:])
    return command


@dataclass
class Proxy:
    site: object
    port: int
    place: Path
    certificate: Path
    make: Callable

    def ask(self, path, method="GET", body=None, seconds=SECONDS, **headers):
        """Send a request over TLS, checking the certificate, and return the response."""
        secure = ssl.create_default_context(cafile=self.certificate / "fullchain.pem")
        connection = http.client.HTTPConnection(HOST, self.port, timeout=seconds)
        connection.connect()
        connection.sock = secure.wrap_socket(connection.sock, server_hostname=NAME)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        host = {"Host": f"{NAME}:{self.port}", "Cookie": self.site.cookie}
        connection.request(method, path, body, {**host, **headers})
        response = connection.getresponse()
        response.connection = connection
        return response

    def connect(self, *lines: bytes) -> ssl.SSLSocket:
        """Send the beginning of a request on a connection with small buffers, and return it."""
        secure = ssl.create_default_context(cafile=self.certificate / "fullchain.pem")
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(SECONDS)
        connection.connect((HOST, self.port))
        connection = secure.wrap_socket(connection, server_hostname=NAME)
        host = f"Host: {NAME}:{self.port}\r\nCookie: {self.site.cookie}".encode()
        connection.sendall(b"\r\n".join([lines[0], host, *lines[1:]]))
        return connection

    def logs(self) -> str:
        return "".join(
            path.read_text() for path in self.place.iterdir()
            if path.suffix == ".log" or path.name == "output"
        )  # fmt: skip


@contextmanager
def running(make, place, certificate, site, upstream):
    port = free_port()
    command = make(place, certificate, upstream, port)
    with (place / "output").open("wb") as output:
        home = {"HOME": str(place), "XDG_DATA_HOME": str(place), "XDG_CONFIG_HOME": str(place)}
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **home}
        )
    proxy = Proxy(site, port, place, certificate, make)
    try:
        wait_until(lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, proxy.logs()
        yield proxy
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port)):
        return True
    return False


@pytest.fixture(scope="module", params=[nginx, caddy])
def proxy(request, site, upstream, certificate, tmp_path_factory):
    place = tmp_path_factory.mktemp("proxy")
    with running(request.param, place, certificate, site, upstream.port) as running_proxy:
        # Wait until the site itself has started.
        assert running_proxy.ask("/livez").status == 200
        yield running_proxy


# More than the site's threads.
MANY = 24
REPORT = [
    b"POST /csp-report/ HTTP/1.1",
    b"Content-Type: application/csp-report",
    b"Content-Length: 1000",
    b"",
    b"{",
]


def is_quick(proxy) -> bool:
    """Whether other people's pages still come at once."""
    for path in ("/livez", "/conversations/"):
        assert proxy.ask(path, seconds=5).read()
    return True


@pytest.mark.slow
def test_slow_senders_do_not_hold_the_site(proxy):
    senders = [proxy.connect(*REPORT) for _ in range(MANY)]
    for _ in range(3):
        for sender in senders:
            sender.sendall(b" ")
        assert is_quick(proxy)
    for sender in senders:
        sender.close()


@pytest.mark.slow
def test_slow_readers_do_not_hold_the_site(proxy, site):
    # Larger than what the kernel buffers for a reader.
    [(message, session)] = site.database.execute(
        "UPDATE chat_messages SET content = repeat('word ', 3200000) WHERE id = "
        "(SELECT id FROM chat_messages ORDER BY id LIMIT 1) RETURNING id, session_id"
    )
    path = f"GET /conversations/{session}/messages/{message}/ HTTP/1.1".encode()
    readers = []
    for _ in range(MANY):
        readers.append(proxy.connect(path, b"", b""))
        assert readers[-1].recv(20).startswith(b"HTTP/1.1 200")
    assert is_quick(proxy)
    for reader in readers:
        reader.close()


ADDRESSES = "SELECT DISTINCT address FROM audit_entry WHERE act = 'searched'"


def test_a_client_cannot_forge_its_address_or_protocol(proxy, site):
    with site.database.transaction():
        # Switch off triggers.
        site.database.execute("SET LOCAL session_replication_role = replica")
        site.database.execute("DELETE FROM audit_entry")
    for forged in ("6.6.6.6", "6.6.6.6, 127.0.0.2", "", "nonsense"):
        response = proxy.ask(
            "/conversations/?search=word", X_Forwarded_For=forged, X_Forwarded_Proto="http"
        )
        # If the site believed the client's header, it would redirect to HTTPS.
        assert response.status == 200
    assert [str(address) for (address,) in site.database.execute(ADDRESSES)] == [HOST]


def test_links_and_forms_use_the_requested_address(proxy):
    # A form from our own origin, port included, is accepted; others are not.
    for origin, status in ((f"https://{NAME}:{proxy.port}", 302), ("https://evil.example", 403)):
        token = "t" * 32
        cookies = f"{proxy.site.cookie}; __Host-csrftoken={token}"
        form = f"csrfmiddlewaretoken={token}&timezone=UTC"
        response = proxy.ask(
            "/accounts/login/",
            "POST",
            form,
            Origin=origin,
            Cookie=cookies,
            Content_Type="application/x-www-form-urlencoded",
        )
        assert response.status == status, origin


@pytest.mark.parametrize("path", ["/metrics", "/%6detrics", "/metrics?x=1", "//metrics",
                                  "/x/../metrics", "/metrics/", "/METRICS", "/readyz"])  # fmt: skip
def test_internal_addresses_are_hidden_in_front_of_the_proxy(proxy, path):
    response = proxy.ask(path, Authorization=f"Bearer {TOKEN}")
    assert response.status in (404, 301, 302)
    assert b"desk_" not in response.read()


def test_internal_addresses_answer_behind_the_proxy(upstream):
    assert upstream.get("/metrics", Authorization=f"Bearer {TOKEN}").status == 200
    assert upstream.get("/readyz").status == 200


def test_an_export_arrives_while_it_is_being_written(proxy, site):
    with site.locked():
        response = proxy.ask(EXPORT)
        assert response.status == 200
        assert b"session_id" in response.read(40)
        wait_until(site.exporting)
        response.close()
        response.connection.close()
        # The site notices through the proxy that the reader has left.
        wait_until(lambda: not site.exporting())


def test_a_broken_export_looks_broken(proxy, site):
    with site.locked():
        response = proxy.ask(EXPORT)
        wait_until(site.exporting)
        site.database.execute("SELECT pg_terminate_backend(%s)", site.exporting())
        with pytest.raises((http.client.HTTPException, OSError)):
            response.read()


def test_a_complete_export_arrives_complete(proxy):
    response = proxy.ask(EXPORT)
    assert response.read().count(b"\r\n") == 2_001


@pytest.mark.parametrize("make", [nginx, caddy])
def test_the_proxies_log_no_query(site, upstream, certificate, tmp_path, make):
    with running(make, tmp_path, certificate, site, upstream.port) as proxy:
        query = "/conversations/?search=canaryquery"
        assert proxy.ask(query, Referer=f"https://{NAME}{query}").status == 200
    gone = tmp_path / "gone"
    gone.mkdir()
    with running(make, gone, certificate, site, free_port()) as proxy_before_nothing:
        assert proxy_before_nothing.ask(query, Referer=query).status == 502
    for each in (proxy, proxy_before_nothing):
        assert "canary" not in each.logs()
    assert proxy_before_nothing.logs()


@pytest.mark.parametrize(("size", "status"), [(9_000_000, None), (11_000_000, 413)])
def test_nginx_refuses_a_big_upload_before_reading_it(
    site, upstream, certificate, tmp_path, size, status
):
    with running(nginx, tmp_path, certificate, site, upstream.port) as proxy:
        if status is None:
            with pytest.raises(TimeoutError):
                proxy.ask("/accounts/login/", "POST", seconds=1, Content_Length=str(size))
        else:
            answer = proxy.ask("/accounts/login/", "POST", Content_Length=str(size))
            assert answer.status == status


def test_nginx_redirects_to_https(site, upstream, certificate, tmp_path):
    with running(nginx, tmp_path, certificate, site, upstream.port):
        port = int(re.search(rf"listen {HOST}:(\d+);", (tmp_path / "desk.conf").read_text())[1])
        connection = http.client.HTTPConnection(HOST, port, timeout=SECONDS)
        connection.request("GET", "/conversations/", headers={"Host": "elsewhere.example"})
        response = connection.getresponse()
        assert response.status == 301
        assert response.headers["Location"] == f"https://{NAME}/conversations/"
