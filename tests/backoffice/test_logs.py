"""The log of a deployment: one line for each request, and nothing that anybody said."""

import http.client
import json
import logging
import os
import socket
import sys
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import psycopg
import pytest
from django.conf import settings
from django.core.management.utils import get_random_secret_key

from backoffice import logs

from ..support.deployment import HOST, SECONDS, deployment, wait_until, write_sessions
from ..support.redacting import PREVIEWED

NAME = "desk.example.com"
SESSION = "SELECT id FROM sessions ORDER BY updated_at DESC LIMIT 1"
MESSAGE = "SELECT id FROM chat_messages WHERE session_id = %s LIMIT 1"

pytestmark = pytest.mark.xdist_group("logs")


def canary(name: str) -> str:
    return f"canary{name}{os.urandom(6).hex()}"


@dataclass
class Canaries:
    """Words to look for in the log, named after where they were put."""

    words: dict[str, str] = field(default_factory=dict)

    def __getattr__(self, name: str) -> str:
        return self.words.setdefault(name, canary(name.replace("_", "")))


@dataclass
class Site:
    canaries: Canaries
    deployment: object
    session_id: str = ""
    message_id: str = ""
    admin: str = ""


@pytest.fixture(scope="module")
def site():
    words = Canaries()
    with deployment(f"logs_{os.getpid()}", settings.LOCAL_POSTGRES) as made:
        made.uri = made.uri.replace("//desk@", f"//desk:{words.database_password}@")
        made.settings |= {
            "SECRET_KEY": words.secret_key + get_random_secret_key(),
            "ALLOWED_HOSTS": NAME,
            "BEHIND_PROXY": "1",
            "MASK_PERSONAL_DATA": "1",
            "METRICS_TOKEN": words.metrics_token,
            "STATEMENT_TIMEOUT_SECONDS": "1",
        }
        write_sessions(made.database, 2_000, 1, 2_000)
        made.prepare()
        [session_id] = made.database.execute(SESSION).fetchone()
        [message_id] = made.database.execute(MESSAGE, [session_id]).fetchone()
        made.database.execute(
            "UPDATE chat_messages SET content = %s WHERE id = %s",
            [f"{words.message} {words.redacted}", message_id],
        )
        made.database.execute("UPDATE sessions SET external_id = %s", [words.external_id])
        # A trigger whose error message contains what was written.
        made.database.execute(
            """
            CREATE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN RAISE EXCEPTION 'refused: %', NEW USING DETAIL = OLD::text; END
            $$;
            CREATE TRIGGER refused BEFORE UPDATE ON chat_messages
                FOR EACH ROW EXECUTE FUNCTION refused();
            CREATE TRIGGER refused BEFORE UPDATE ON agents
                FOR EACH ROW EXECUTE FUNCTION refused();
            """
        )
        admin = made.sign_in("Admin")
        words.words["session_cookie"] = made.cookie.partition("=")[2]
        words.words["admins_cookie"] = admin.partition("=")[2]
        yield Site(words, made, str(session_id), str(message_id), admin)


@dataclass
class Browser:
    site: Site
    port: int
    asked: list = field(default_factory=list)

    def ask(self, path, form=None, cookie="", **headers):
        """Send a request as a proxy passes it on; return (status, body)."""
        token = self.site.canaries.csrf.ljust(32, "x")[:32]
        cookies = [cookie or self.site.deployment.cookie, f"__Host-csrftoken={token}"]
        headers = {
            "Host": NAME,
            "X-Forwarded-Proto": "https",
            "Cookie": "; ".join(cookies),
            "Origin": f"https://{NAME}",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        body = None
        if form is not None:
            body = urlencode({"csrfmiddlewaretoken": token, **form})
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection(HOST, self.port, timeout=SECONDS)
        connection.request("GET" if form is None else "POST", path, body, headers)
        response = connection.getresponse()
        self.asked.append(response.status)
        content = response.read()
        connection.close()
        return response.status, content

    def send(self, raw: bytes):
        with socket.create_connection((HOST, self.port), timeout=SECONDS) as connection:
            connection.sendall(raw)
            return connection.recv(100)


def everything(browser: Browser, site: Site):
    """Send requests that work, are refused or fail, each with words that must not be logged."""
    words, made = site.canaries, site.deployment
    conversation = f"/conversations/{site.session_id}/"
    redact = f"{conversation}messages/{site.message_id}/redact/"
    sign_in = {"username": f"{words.email}@example.com", "password": words.password}
    ask = browser.ask

    assert words.message in ask(conversation)[1].decode()
    assert ask(f"/conversations/?search={words.search}")[0] == 200
    assert ask(f"/conversations/?external_id={words.external_id}")[0] == 200
    assert ask("/conversations/", Authorization=f"Basic {words.authorization}")[0] == 200
    assert ask("/conversations/", User_Agent=words.user_agent)[0] == 200
    assert ask("/conversations/?search=" + quote(f"a\0{words.nul}"))[0] == 200
    assert words.message in ask("/conversations/export/messages.csv")[1].decode()
    words.words["export"] = words.message
    assert ask(f"/conversations/?after={words.cursor}")[0] in (200, 400)
    assert ask("/conversations/", Host=words.host)[0] == 400
    assert ask(f"/conversations/export/messages.csv?agent={words.bad_filter}")[0] == 400
    assert ask("/metrics", Authorization=f"Bearer {words.metrics_token}")[0] == 200
    assert ask("/metrics", Authorization=f"Bearer {words.wrong_token}")[0] == 401
    del browser.asked[-2:]
    signing_in = "/accounts/login/"
    assert ask(signing_in, sign_in, cookie="a=b")[0] == 200
    assert ask(signing_in, {**sign_in, "username": f"\0{words.nul}"}, cookie="a=b")[0] == 200
    assert ask(signing_in, {**sign_in, "code": words.totp}, cookie="a=b")[0] == 200
    forged = {"Origin": "null", "Referer": f"https://elsewhere.example/?q={words.referrer}"}
    assert ask(signing_in, sign_in, **forged)[0] == 403
    forged = {"Origin": f"https://{words.origin}.example"}
    assert ask(signing_in, sign_in, **forged)[0] == 403
    del forged["Origin"]
    assert (
        ask(f"{conversation}reveal/", {"reason": words.reason, "text": words.form_text})[0] == 302
    )
    fields = {f"{words.many_fields}{number}": "" for number in range(1_100)}
    assert ask(signing_in, fields, cookie="a=b")[0] == 400
    status, page = ask(redact, {"words": words.redacted}, cookie=site.admin)
    assert status == 200
    [previewed] = PREVIEWED.findall(page.decode())
    confirmed = {"words": words.redacted, "confirmation": "redact", "confirm": "1"}
    confirmed |= {"previewed": previewed}
    assert ask(redact, confirmed, cookie=site.admin)[0] == 500
    answer = browser.send(f"GET /?q={words.request_line} HTTP/9.9\r\n\r\n".encode())
    assert words.request_line not in answer.decode()
    browser.send(f"{words.request_line}\r\n\r\n".encode())
    browser.send(f"GET / HTTP/1.1\r\nHost: {NAME}\r\n{words.header_line}\r\n\r\n".encode())

    with made.locked("chat_messages"):
        assert ask(conversation)[0] == 503
        assert ask(f"/conversations/?search={words.literal}")[0] in (200, 503)
        broken_export(browser, made)
    with gone(made):
        assert ask(f"/conversations/?search={words.while_gone}")[0] == 503
        assert ask("/accounts/login/", sign_in, cookie="a=b")[0] == 503
    wait_until(lambda: ask("/conversations/")[0] == 200)


def broken_export(browser, made):
    """Start an export whose database goes away on the way."""
    connection = http.client.HTTPConnection(HOST, browser.port, timeout=SECONDS)
    headers = {"Host": NAME, "X-Forwarded-Proto": "https", "Cookie": made.cookie}
    connection.request("GET", "/conversations/export/messages.csv", headers=headers)
    response = connection.getresponse()
    browser.asked.append(response.status)
    assert response.status == 200
    made.database.execute("SELECT pg_terminate_backend(%s)", made.exporting())
    with pytest.raises((http.client.HTTPException, OSError)):
        response.read()
    connection.close()


class gone:
    """In the block, neither our database nor the agent database accepts connections."""

    def __init__(self, made):
        self.name = made.database.info.dbname

    def tell(self, statement, *values):
        uri = settings.LOCAL_POSTGRES.uri("postgres")
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute(statement, values or None)

    def __enter__(self):
        self.tell(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false")
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        self.tell(ended + " AND state = 'idle'", self.name)

    def __exit__(self, *failure):
        self.tell(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS true")


@pytest.fixture(scope="module")
def written(site, tmp_path_factory):
    """(the processes' whole output, the statuses of all requests), after everything() was run."""
    file = tmp_path_factory.mktemp("logs") / "output"
    with file.open("wb") as output, site.deployment.serving(output=output) as server:
        browser = Browser(site, server.port)
        everything(browser, site)
        for path in INJECTED:
            browser.ask(path)
    return file.read_text(), browser.asked


INJECTED = (
    '/conversations/%0a{"level":"FORGED"}',
    "/%0d%0aFORGED/",
    "/conversations/?search=%0aFORGED",
    "/%E2%80%A8FORGED/%1b[2J/",
)


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_nothing_that_anybody_said_or_typed_is_written(site, written):
    words = site.canaries.words
    assert len(words) > 24
    for name, word in words.items():
        assert word not in written[0], name


def test_every_line_is_a_json_object(written):
    for line in lines(written[0]):
        assert {"time", "level", "logger", "message"} <= line.keys()
        assert line["level"] in logging.getLevelNamesMapping()
    assert written[0].isascii()


def test_every_request_has_one_line_without_its_query(site, written):
    accesses = [line for line in lines(written[0]) if line["logger"] == "backoffice.access"]
    assert [line["status"] for line in accesses] == written[1]
    assert len({line["request_id"] for line in accesses}) == len(accesses)
    assert not any("?" in line["path"] for line in accesses)
    first = accesses[0]
    assert first["path"] == f"/conversations/{site.session_id}/"
    assert (first["view"], first["method"]) == ("conversations:detail", "GET")
    assert isinstance(first["user_id"], int)
    assert 0 < first["duration_ms"] < 60_000


def test_a_failure_is_logged_with_its_place_type_and_request(written):
    found = lines(written[0])
    requests = {line["request_id"] for line in found if line["logger"] == "backoffice.access"}
    failures = [line for line in found if "exception" in line]
    assert {line["request_id"] for line in failures} <= requests
    causes = [cause for line in failures for cause in line["exception"]]
    # A trigger's exception, and a statement that took too long.
    assert {"P0001", "57014"} <= {cause["sqlstate"] for cause in causes}
    assert any("redaction.py" in frame for cause in causes for frame in cause["frames"])
    # In the middle of an export, gunicorn logs the failure.
    assert "gunicorn.error" in {line["logger"] for line in failures}


def test_a_log_line_outside_a_request_has_no_user(written):
    """The thread that writes it has answered a user's request before."""
    invalid = [line for line in lines(written[0]) if line["message"].startswith("Invalid request")]
    assert len(invalid) == 3
    assert not [line for line in invalid if line.keys() & {"request_id", "user_id"}]


# The formatter itself


def formatted(name: str, message: str, *args, **extra) -> dict:
    record = logging.LogRecord(name, logging.WARNING, "x.py", 1, message, args, None)
    record.__dict__.update(extra)
    text = logs.JsonFormatter().format(record)
    assert "\n" not in text
    return json.loads(text)


@pytest.mark.parametrize(
    ("name", "message", "args", "shown"),
    [
        ("conversations.x", "%s rows of %s", (3, "Shop"), "3 rows of Shop"),
        ("library", "%s rows of %s in %.1f s", (3, "Shop", 0.25), "3 rows of … in 0.2 s"),
        ("conversationsx", "of %s", ("Shop",), "of …"),
        ("library", "Invalid header: 'Shop'", (), "Invalid header"),
        ("library", "of %(name)s", ({"name": "Shop"},), "of %(name)s"),
        ("library", "two %s of %s", ("Shop",), "two %s of %s"),
        ("library", ValueError("Shop"), (), "ValueError"),
    ],
)
def test_texts_inserted_into_library_messages_are_left_out(name, message, args, shown):
    assert formatted(name, message, *args)["message"] == shown


def test_an_exception_is_logged_with_its_causes_and_without_its_text():
    try:
        try:
            raise ValueError("somebody's secret")
        except ValueError as error:
            raise KeyError("another secret") from error
    except KeyError:
        line = formatted("library", "failed", exc_info=sys.exc_info())
    assert [cause["type"] for cause in line["exception"]] == [
        "builtins.KeyError",
        "builtins.ValueError",
    ]
    assert "secret" not in json.dumps(line)
    assert line["exception"][0]["frames"][0].endswith("causes_and_without_its_text")


def test_a_circular_chain_of_exceptions_ends():
    error = ValueError()
    for _ in range(1_000):
        following = ValueError()
        following.__cause__ = error
        error = following
    assert len(list(logs.causes(error))) == logs.MOST_CAUSES
