"""Settings come from the environment, and a bad value stops the start with one clear line."""

import os
import re
import secrets
import subprocess
import sys

import pytest
from django.conf import settings

from audit.checks import audit_key
from backoffice import env
from backoffice.databases import uris
from backoffice.local_postgres.server import LocalPostgres

from ..support.environment import BLANK, KEY, start
from ..support.signing_in import let_in

pytestmark = pytest.mark.thorough


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"DEBUG": "maybe"}, "DEBUG must be 1 or 0"),
        ({"PORT": "http"}, "PORT must be a whole number"),
        ({"PHONE_REGION": "Estonia"}, "PHONE_REGION must be a country like EE or US"),
        ({"PORT": "70000"}, "PORT must be between 1 and 65535"),
        ({"STATEMENT_TIMEOUT_SECONDS": "0"}, "STATEMENT_TIMEOUT_SECONDS must be between"),
        ({"EXTERNAL_ID_LABEL": "x" * 31}, "EXTERNAL_ID_LABEL must be at most 30 characters"),
        ({"TIME_ZONE": "Mars/Olympus"}, "TIME_ZONE must be a name like"),
        ({"ALLOWED_HOSTS": "desk.example.com"}, "ALLOWED_HOSTS without SECRET_KEY"),
        ({"SECRET_KEY": "short", "ALLOWED_HOSTS": "a"}, "SECRET_KEY must be at least 50"),
        ({"SECRET_KEY": "a" * 60, "ALLOWED_HOSTS": "a"}, "SECRET_KEY must be at least 50"),
        ({"BEHIND_PROXY": "1"}, "BEHIND_PROXY without SECRET_KEY"),
        ({"CSRF_TRUSTED_ORIGINS": "https://a"}, "CSRF_TRUSTED_ORIGINS without SECRET_KEY"),
        ({"SECRET_KEY": "change-me" * 8, "ALLOWED_HOSTS": "a"}, "SECRET_KEY must be at least 50"),
        ({"SECRET_KEY": f"django-insecure-{KEY}", "ALLOWED_HOSTS": "a"}, "SECRET_KEY must be"),
        ({"SECRET_KEY": KEY}, "ALLOWED_HOSTS must name the hosts"),
        *(
            (
                {"SECRET_KEY": KEY, "ALLOWED_HOSTS": f"desk.example.com,{hosts}"},
                "ALLOWED_HOSTS must name the hosts",
            )
            for hosts in ("*", ".com", ".example.com", "*.example.com", "https://a", "a:443", "a b")
        ),
        *(
            (
                {"SECRET_KEY": KEY, "ALLOWED_HOSTS": "a", "CSRF_TRUSTED_ORIGINS": origin},
                "CSRF_TRUSTED_ORIGINS must be like https://",
            )
            for origin in ("http://a", "https://*.example.com", "https://a/path", "a", "https://")
        ),
        ({"SECRET_KEY": KEY, "ALLOWED_HOSTS": "a", "DEBUG": "1"}, "DEBUG must be off"),
        (
            {"SECRET_KEY": KEY, "ALLOWED_HOSTS": "a", "AUDIT_KEY": "hunter2"},
            "AUDIT_KEY must be at least 50",
        ),
        ({"SECRET_KEY_FALLBACKS": KEY}, "SECRET_KEY_FALLBACKS must be former"),
        (
            {"SECRET_KEY": KEY, "ALLOWED_HOSTS": "a", "SECRET_KEY_FALLBACKS": f"{KEY},hunter2"},
            "SECRET_KEY_FALLBACKS must be former",
        ),
        ({"METRICS_TOKEN": "hunter2"}, "METRICS_TOKEN must be at least 20"),
        ({"METRICS_TOKEN": "m" * 24}, "METRICS_TOKEN must be at least 20"),
        ({"METRICS_TOKEN": "password" * 3}, "METRICS_TOKEN must be at least 20"),
        ({"KAVALAI_DB_URI": "mysql://u:hunter2@h/db"}, "KAVALAI_DB_URI is not a PostgreSQL URI"),
        (
            {"DATABASE_URL": "postgresql://u:hunter2@h:port/db?nonsense=1"},
            "DATABASE_URL is not a PostgreSQL URI",
        ),
    ],
)
def test_a_bad_value_stops_the_start_with_one_line(environment, words):
    code, out, error = start(**environment)
    assert code == 1
    assert out == ""
    assert error.startswith(f"Settings: {words}")
    assert "\n" not in error
    assert "hunter2" not in error


def test_without_a_key_the_site_is_only_for_this_computer():
    code, out, _ = start("s.ALLOWED_HOSTS, s.SESSION_COOKIE_SECURE, len(s.SECRET_KEY) >= 50")
    assert (code, out) == (0, "['127.0.0.1', 'localhost', '[::1]'] False True")


def test_a_deployment_starts_without_an_audit_key_and_check_warns(settings):
    assert start("repr(s.AUDIT_KEY)", SECRET_KEY=KEY, ALLOWED_HOSTS="a")[:2] == (0, "''")
    assert audit_key(None) == []
    settings.AUDIT_KEY = ""
    [warning] = audit_key(None)
    assert warning.msg.startswith("AUDIT_KEY is not set")


@pytest.mark.slow
def test_the_local_audit_key_is_kept_and_differs_from_the_secret_key():
    assert start("s.AUDIT_KEY") == start("s.AUDIT_KEY")
    assert start("len(s.AUDIT_KEY) >= 50, s.AUDIT_KEY != s.SECRET_KEY")[1] == "True True"


def test_the_local_secret_key_is_kept_and_private():
    assert start("s.SECRET_KEY") == start("s.SECRET_KEY")
    mode = (settings.LOCAL_DATA_DIR / "secret_key").stat().st_mode
    assert mode & 0o077 == 0


def test_only_we_may_write_to_the_keys_folder_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        assert start(DESK_DATA_DIR=str(tmp_path / "data"))[0] == 0
        server = LocalPostgres(tmp_path / "server")
        server._create_place()
    finally:
        os.umask(before)
    for path in (tmp_path / "data", server.place):
        assert path.stat().st_mode & 0o022 == 0


def test_with_a_key_it_is_a_deployment():
    shown = "s.ALLOWED_HOSTS, s.SESSION_COOKIE_SECURE, s.SECURE_SSL_REDIRECT, s.SESSION_COOKIE_NAME"
    _, out, _ = start(shown, SECRET_KEY=KEY, ALLOWED_HOSTS="a.example, b.example")
    assert out == "['a.example', 'b.example'] True True __Host-desk_session"


@pytest.mark.parametrize("hosts", ["desk", "desk.example.com", "10.0.0.1,[::1]", "Desk-1.example"])
def test_hosts_and_origins_must_be_named_in_full(hosts):
    origins = "https://desk.example.com:8443,https://[::1]"
    assert start(SECRET_KEY=KEY, ALLOWED_HOSTS=hosts, CSRF_TRUSTED_ORIGINS=origins)[0] == 0


@pytest.mark.parametrize(
    "key", [secrets.token_urlsafe(40), secrets.token_hex(25)], ids=["base64", "hex"]
)
def test_a_random_key_is_accepted(key):
    assert start(SECRET_KEY=key, ALLOWED_HOSTS="a")[0] == 0


@pytest.mark.parametrize(
    "token",
    [
        "m" * 24,
        "ab" * 12,
        "0123456789" * 2 + "0123",
        "password" * 2 + "passw",
        "a" * 20 + "bcdefg",
        "bcdefg" + "a" * 20,
    ],
)
def test_guessable_tokens_are_refused(token):
    assert not env.is_secret(token, 20, different=6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: secrets.token_hex(10),
        lambda: secrets.token_urlsafe(15),
        lambda: str(10**19 + secrets.randbelow(9 * 10**19)),
        lambda: secrets.token_hex(100),
    ],
    ids=["hex", "base64", "digits", "long"],
)
def test_random_tokens_are_accepted(make):
    taken = [env.is_secret(make(), 20, different=6) for _ in range(2_000)]
    # One in a thousand texts of 20 random digits has fewer than six different digits.
    assert taken.count(False) <= 20


@pytest.mark.slow
def test_databases_that_are_not_set_are_local():
    uri = "postgresql:///real"
    assert start("s.LOCAL_DATABASES")[1] == "{'default': 'demo', 'agents': 'agents'}"
    # With a real agent database, our own database is a separate one without demo users.
    assert start("s.LOCAL_DATABASES", KAVALAI_DB_URI=uri)[1] == "{'default': 'desk'}"
    assert start("s.LOCAL_DATABASES", DATABASE_URL=uri)[1] == "{'agents': 'agents'}"


ELSEWHERE = {
    "PGHOSTADDR": "192.0.2.1",
    "PGOPTIONS": "-c search_path=nowhere",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGSERVICE": "elsewhere",
    "PGTARGETSESSIONATTRS": "read-only",
    "PGUSER": "somebody",
}


def test_libpq_variables_do_not_affect_the_local_server():
    show = "__import__('psycopg').connect({}, connect_timeout=3).execute('SELECT 1').fetchone()"
    local = show.format("s.LOCAL_POSTGRES.uri('postgres')")
    assert start(local, **ELSEWHERE)[1:] == ("(1,)", "")
    # If an operator names a server, libpq's variables complete the URI.
    _, _, error = start(show.format("''"), DATABASE_URL="postgresql:///", **ELSEWHERE)
    assert 'service "elsewhere" not found' in error


@pytest.mark.slow
def test_reading_goes_to_the_replica_and_writing_to_the_primary():
    names = "[(a, d['NAME']) for a, d in s.DATABASES.items() if a != 'default']"
    uris = {"KAVALAI_DB_URI": "postgresql:///primary"}
    assert start(names, **uris)[1] == "[('agents', 'primary'), ('agents_write', 'primary')]"
    uris["KAVALAI_DB_REPLICA_URI"] = "postgresql:///replica"
    # While the replica is down, the primary takes its place.
    both = "('agents', 'replica'), ('agents_primary', 'primary')"
    assert start(names, **uris)[1] == f"[{both}, ('agents_write', 'primary')]"
    uris["KAVALAI_DB_WRITE_URI"] = "postgresql:///writer"
    assert start(names, **uris)[1] == f"[{both}, ('agents_write', 'writer')]"
    uris["KAVALAI_DB_READ_ONLY"] = "1"
    assert start(names, **uris)[1] == f"[{both}]"


def test_without_a_replica_no_lag_is_measured():
    shown = "[p for t in s.TEMPLATES for p in t['OPTIONS']['context_processors'] if 'replica' in p]"
    uri = "postgresql:///primary"
    assert start(shown, KAVALAI_DB_URI=uri)[1] == "[]"
    found = start(shown, KAVALAI_DB_URI=uri, KAVALAI_DB_REPLICA_URI=uri)[1]
    assert found == "['backoffice.databases.replica.lag.context']"


def test_a_uri_may_name_a_socket_and_libpq_parameters():
    entry = uris.from_uri(
        "X", "postgresql://u:p%40ss@/db?host=/run/pg&port=5433&sslmode=require&application_name=a"
    )
    assert (entry["HOST"], entry["PORT"], entry["NAME"]) == ("/run/pg", "5433", "db")
    assert (entry["USER"], entry["PASSWORD"]) == ("u", "p@ss")
    assert entry["OPTIONS"]["sslmode"] == "require"
    assert entry["OPTIONS"]["application_name"] == "a"


@pytest.mark.parametrize("scheme", ["postgresql+asyncpg", "postgres", "postgresql+psycopg"])
def test_sqlalchemys_uris_are_accepted(scheme):
    entry = uris.from_uri("X", f"{scheme}://u@h:1/db?ssl=require")
    assert (entry["HOST"], entry["OPTIONS"]["sslmode"]) == ("h", "require")


def test_session_options_are_added_to_those_of_the_uri():
    entry = uris.from_uri(
        "X",
        "postgresql://h/db?options=-c%20work_mem%3D8MB",
        schema='odd "name"',
        read_only=True,
        timeout_seconds=5,
    )
    assert entry["OPTIONS"]["options"] == (
        r'-c work_mem=8MB -c search_path="odd\ ""name""" '
        "-c default_transaction_read_only=on -c jit=off -c max_parallel_workers_per_gather=0 "
        "-c statement_timeout=5000"
    )


def test_a_connection_pool_is_optional():
    assert "pool" not in uris.from_uri("X", "postgresql:///db")["OPTIONS"]
    entry = uris.from_uri("X", "postgresql:///db", pool_size=4)
    assert entry["OPTIONS"]["pool"]["max_size"] == 4


def test_every_setting_is_described():
    source = "".join(
        (settings.BASE_DIR / path).read_text()
        for path in ("backoffice/settings.py", "backoffice/databases/uris.py", "gunicorn.conf.py")
    )
    names = set(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', source))
    example = (settings.BASE_DIR / ".env.example").read_text()
    page = (settings.BASE_DIR / "docs/operating.md").read_text()
    assert len(names) > 12
    for name in names:
        assert f"#{name}=" in example, name
        assert f"`{name}`" in page, name


def test_gunicorn_reads_everything_from_its_file():
    env = {**os.environ, **BLANK, "WEB_CONCURRENCY": "3", "PORT": "8123"}
    command = [sys.executable, "-m", "gunicorn", "--print-config"]
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=settings.BASE_DIR, env=env, check=True
    )
    shown = dict(re.findall(r"^(\w+) += (.*)$", result.stdout, re.MULTILINE))
    assert shown["wsgi_app"] == "backoffice.wsgi"
    assert shown["bind"] == "['127.0.0.1:8123']"
    assert (shown["workers"], shown["threads"]) == ("3", "8")
    assert shown["control_socket_disable"] == "True"
    assert shown["accesslog"] == "None"


@pytest.mark.django_db
@pytest.mark.parametrize(("kept", "status"), [(["former" * 10], 302), ([], 200)])
def test_a_fallback_key_keeps_people_signed_in(client, django_user_model, settings, kept, status):
    settings.SECRET_KEY = "former" * 10
    let_in(client, django_user_model.objects.create_user("somebody"))
    settings.SECRET_KEY = "new" * 20
    settings.SECRET_KEY_FALLBACKS = kept
    # A signed-in user is redirected.
    assert client.get("/accounts/login/").status_code == status
