"""Five wrong guesses in 15 minutes, per account and per address, over all processes together."""

import http.client
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.conf import settings as django_settings
from django.utils import timezone

from accounts import lockout
from audit.models import Act, Entry

from ..support.deployment import HOST, deployment
from ..support.signing_in import (
    CODE,
    LOGIN,
    SECRET,
    WRONG,
    code,
    is_in,
    let_in,
    make_user,
    recovery_codes,
    sign_in,
    with_app,
)

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("lockout")]

HERE, THERE = {"REMOTE_ADDR": "192.0.2.1"}, {"REMOTE_ADDR": "192.0.2.2"}


def guess_wrong(client, times=5, name="alice", **extra):
    return [sign_in(client, name, "wrong", **extra).status_code for _ in range(times)]


def test_the_sixth_guess_is_not_checked(client):
    make_user()
    assert guess_wrong(client, **HERE) == [200] * 5
    response = sign_in(client, **HERE)
    assert response.status_code == 429
    assert not is_in(client)
    page = response.content.decode()
    assert "Too many attempts" in page
    assert re.search(r"Try again at \d\d:\d\d", page)
    assert 0 < int(response["Retry-After"]) <= 15 * 60


def test_an_account_is_locked_for_every_address(client):
    make_user()
    for number in range(5):
        guess_wrong(client, 1, REMOTE_ADDR=f"192.0.2.{number}")
    assert sign_in(client, **THERE).status_code == 429


@pytest.mark.parametrize("name", ["alice", "nobody"])
def test_a_lockout_does_not_reveal_whether_the_account_exists(client, name, settings):
    settings.MASK_PERSONAL_DATA = True
    make_user()
    for number in range(5):
        guess_wrong(client, 1, name, REMOTE_ADDR=f"192.0.2.{number}")
    assert sign_in(client, name, REMOTE_ADDR="192.0.2.9").status_code == 429
    entries = Entry.objects.values_list("details", flat=True)
    assert len(entries) == 6
    # A name without an account may be a password, so it must not be stored.
    assert name == "alice" or not any(name in str(details) for details in entries)


def test_an_address_is_locked_for_every_account(client):
    make_user()
    for number in range(5):
        guess_wrong(client, 1, f"somebody-{number}", **HERE)
    assert sign_in(client, **HERE).status_code == 429
    assert sign_in(client, **THERE).status_code == 302


def test_all_addresses_of_an_ipv6_network_count_as_one(client):
    make_user()
    for number in range(5):
        guess_wrong(client, 1, f"somebody-{number}", REMOTE_ADDR=f"2001:db8:0:1:{number}::{number}")
    assert sign_in(client, REMOTE_ADDR="2001:db8:0:1:ffff:ffff:ffff:ffff").status_code == 429
    assert sign_in(client, REMOTE_ADDR="2001:db8::2:0:0:0:1").status_code == 302


def test_refusals_of_an_ipv6_network_are_recorded_a_few_times(client):
    for number in range(9):
        client.post(
            "/accounts/login/passkey/", {"credential": "{}"}, REMOTE_ADDR=f"2001:db8::{number}"
        )
    assert Entry.objects.filter(act=Act.SIGN_IN_REFUSED).count() == lockout.GUESSES


def test_others_are_not_locked_out(client):
    make_user()
    make_user("bob")
    guess_wrong(client, **HERE)
    assert sign_in(client, "bob", **THERE).status_code == 302


def test_a_successful_sign_in_does_not_reset_the_count(client):
    make_user()
    make_user("mallory")
    guess_wrong(client, 4, **HERE)
    sign_in(client, "mallory", **HERE)
    client.logout()
    guess_wrong(client, 1, **HERE)
    assert sign_in(client, **HERE).status_code == 429


def test_unchecked_guesses_do_not_extend_the_lockout(client, monkeypatch):
    make_user()
    guess_wrong(client, 8, **HERE)
    assert Entry.objects.filter(act=Act.SIGN_IN_FAILED).count() == 5
    monkeypatch.setattr(lockout, "PERIOD", timedelta(0))
    assert sign_in(client, **HERE).status_code == 302


def test_a_lockout_is_recorded_once(client):
    make_user()
    guess_wrong(client, 8, **HERE)
    entry = Entry.objects.get(act=Act.LOCKED_OUT)
    assert (entry.username, entry.address) == ("", "192.0.2.1")
    assert entry.details == {"account": "alice"}


def test_the_lockout_ends_when_the_fifth_last_failure_is_old_enough(client, rf):
    make_user()
    guess_wrong(client, **HERE)
    until = lockout.locked_until(rf.get("/", **HERE), "alice")
    first = Entry.objects.filter(act=Act.SIGN_IN_FAILED).earliest("at")
    assert until == first.at + lockout.PERIOD
    assert until > timezone.now()


def test_a_client_cannot_forge_its_address(client, settings):
    settings.BEHIND_PROXY = True
    make_user()
    for number in range(5):
        forged = {"X-Forwarded-For": f"203.0.113.{number}, 192.0.2.1"}
        sign_in(client, f"somebody-{number}", "wrong", headers=forged)
    forged = {"X-Forwarded-For": "203.0.113.77, 192.0.2.1"}
    assert sign_in(client, headers=forged).status_code == 429
    assert sign_in(client, headers={"X-Forwarded-For": "192.0.2.1, 192.0.2.2"}).status_code == 302


# Codes, and passwords for reauthentication


def test_codes_and_passwords_are_counted_together(client):
    user = with_app(make_user())
    guess_wrong(client, 2)
    sign_in(client)
    for _ in range(3):
        assert client.post(CODE, {"code": WRONG}).status_code == 200
    assert client.post(CODE, {"code": code()}).status_code == 429
    assert client.post(CODE, {"code": recovery_codes(user)[0]}).status_code == 429
    hows = Entry.objects.filter(act=Act.SIGN_IN_FAILED).values_list("details__how", flat=True)
    assert sorted(hows) == ["code"] * 3 + ["password"] * 2


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/accounts/password/", "old_password"),
        ("/accounts/again/", "password"),
        ("/accounts/again/code/", "code"),
    ],
)
def test_an_open_session_allows_no_more_guesses(client, path, field):
    user = with_app(make_user())
    let_in(client, user)
    right = {"old_password": "correct horse battery", "password": "correct horse battery"}
    new = {"new_password1": "a whole new one 7", "new_password2": "a whole new one 7"}
    for _ in range(5):
        assert client.post(path, {field: WRONG, **new}).status_code == 200
    assert client.post(path, {field: right.get(field) or code(), **new}).status_code == 429


@pytest.mark.parametrize("method", ["get", "post"])
def test_the_panels_password_page_leads_to_ours(client, method):
    user = make_user(group="Admin")
    let_in(client, user)
    new = {"new_password1": "a whole new one 7", "new_password2": "a whole new one 7"}
    form = {"old_password": "correct horse battery", **new}
    response = getattr(client, method)("/admin/password_change/", form)
    assert response["Location"] == "/accounts/password/"
    hashed = user.password
    user.refresh_from_db()
    assert user.password == hashed


# Several processes


@pytest.fixture(scope="module")
def site(django_db_setup, tmp_path_factory):
    counted = tmp_path_factory.mktemp("counted") / "evaluations"
    with deployment("signin_lockout", django_settings.LOCAL_POSTGRES) as site:
        site.settings["DJANGO_SETTINGS_MODULE"] = "tests.support.counted"
        site.prepare()
        make = "from tests.support.signing_in import *; [make_user(n) for n in ('one', 'two')];"
        make += "with_app(make_user('app')); with_app(make_user('again'))"
        site.run("shell", "--verbosity=0", "-c", make, check=True)
        site.settings["COUNTED"] = str(counted)
        site.counted = counted
        with site.serving(workers=4) as server:
            yield site, server


class Browser:
    """A client with cookies."""

    def __init__(self, server):
        self.server = server
        self.cookies = {}

    def ask(self, method, path, address, **form):
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"X-Forwarded-For": address, "Cookie": cookies}
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        if form:
            form["csrfmiddlewaretoken"] = self.cookies["csrftoken"]
        connection = http.client.HTTPConnection(HOST, self.server.port, timeout=60)
        connection.request(method, path, urlencode(form), headers)
        response = connection.getresponse()
        response.read()
        for name, value in response.getheaders():
            if name == "Set-Cookie":
                key, _, rest = value.partition("=")
                self.cookies[key] = rest.partition(";")[0]
        connection.close()
        return response.status

    def sign_in(self, name, password, address):
        if not self.cookies:
            self.ask("GET", LOGIN, address)
        return self.ask("POST", LOGIN, address, username=name, password=password)


def at_once(ask, each) -> list[int]:
    with ThreadPoolExecutor(24) as pool:
        return list(pool.map(ask, each))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("one", "203.0.113.{0}, 198.51.100.1"),
        ("two", "198.51.100.1, 203.0.113.{0}"),
        ("somebody-{0}", "203.0.113.{0}, 198.51.100.3"),
    ],
    ids=["forged addresses", "many addresses", "many names"],
)
def test_of_a_hundred_simultaneous_guesses_five_are_checked(site, name, address):
    site, server = site
    browser = Browser(server)
    browser.ask("GET", LOGIN, "198.51.100.200")
    site.counted.write_text("")

    def ask(number):
        return browser.sign_in(name.format(number), "wrong", address.format(number))

    statuses = at_once(ask, range(100))
    assert len(site.counted.read_text().splitlines()) == 5
    assert sorted(statuses) == [200] * 5 + [429] * 95


def code_stage(server, name, number):
    browser = Browser(server)
    assert browser.sign_in(name, "correct horse battery", f"198.51.100.{number}") == 302
    return browser


@pytest.mark.slow
def test_of_a_hundred_simultaneous_codes_five_are_checked(site):
    site, server = site
    browsers = [code_stage(server, "app", number) for number in range(20, 25)]

    def ask(number):
        address = f"203.0.113.{number}"
        return browsers[number % 5].ask("POST", CODE, address, code=WRONG)

    statuses = at_once(ask, range(100))
    assert sorted(statuses) == [200] * 5 + [429] * 95
    failed = "SELECT count(*) FROM audit_entry WHERE details->>'how' = 'code'"
    assert site.database.execute(failed).fetchone() == (5,)


@pytest.mark.slow
def test_a_code_works_once_in_all_processes_together(site):
    site, server = site
    with site.serving(workers=1) as other:
        servers = (server, other, server)
        browsers = [code_stage(each, "again", at) for at, each in enumerate(servers, start=30)]
        shown = code(SECRET)
        statuses = [each.ask("POST", CODE, "203.0.113.30", code=shown) for each in browsers]
    assert statuses == [302, 200, 200]
