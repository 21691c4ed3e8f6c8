"""How long a session lasts, whatever the browser does, and how its cookie is protected."""

import time

import pytest
from django.contrib.auth import SESSION_KEY
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts import middleware, signals
from audit.models import Act, Entry

from ..support.environment import KEY, start
from ..support.factories import make_session
from ..support.signing_in import is_in, make_user, sign_in

pytestmark = pytest.mark.django_db

HOUR = 3600


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves, used for signing in and afterwards."""

    class Clock:
        now = time.time()

        def time(self):
            return self.now

    clock = Clock()
    for module in (signals, middleware):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def alice(client, settings, clock):
    settings.SESSION_IDLE_MINUTES = 60
    settings.SESSION_HOURS = 10
    make_user()
    sign_in(client)
    return client


def test_an_idle_session_ends(alice, clock):
    clock.now += HOUR - 10
    assert is_in(alice)
    clock.now += HOUR + 10
    assert not is_in(alice)


def test_a_session_in_use_ends_after_its_maximum_age(alice, clock):
    for _ in range(19):
        clock.now += HOUR / 2
        assert is_in(alice)
    clock.now += HOUR / 2
    assert not is_in(alice)


def test_an_ended_session_is_deleted_from_the_database(alice, clock):
    clock.now += 2 * HOUR
    key = alice.session.session_key
    alice.get("/conversations/")
    assert not alice.session.exists(key)


def test_htmx_is_sent_to_the_sign_in_page(alice, clock):
    clock.now += 2 * HOUR
    response = alice.get("/conversations/", headers={"HX-Request": "true"})
    assert response["HX-Redirect"].startswith("/accounts/login/")


@pytest.mark.parametrize("page", ["new", "conversation"])
def test_automatic_refreshes_do_not_keep_a_session_alive(alice, clock, page):
    path = f"/conversations/{'new' if page == 'new' else make_session().id}/"
    for _ in range(6):
        assert SESSION_KEY in alice.session
        clock.now += 11 * 60
        alice.get(path, headers={"HX-Request": "true", "X-Refresh": "1"})
    assert not is_in(alice)


def test_opening_a_fragment_keeps_a_session_alive(alice, clock):
    path = f"/conversations/{make_session().id}/"
    for _ in range(8):
        clock.now += 10 * 60
        alice.get(path, headers={"HX-Request": "true"})
    assert is_in(alice)


def test_forging_the_refresh_header_only_shortens_the_session(alice, clock):
    session = make_session()
    for _ in range(6):
        clock.now += 11 * 60
        alice.get(f"/conversations/{session.id}/", headers={"X-Refresh": "1"})
    assert not is_in(alice)
    assert Entry.objects.filter(act=Act.VIEWED, session_id=session.id).count() == 5


def test_a_session_without_a_start_time_ends(alice):
    session = alice.session
    del session[middleware.STARTED]
    session.save()
    assert not is_in(alice)


def test_session_limits_cost_no_query(alice, clock):
    alice.get("/conversations/")

    def asked():
        with CaptureQueriesContext(connection) as queries:
            alice.get("/conversations/")
        # Leave out the SET of the time limit in front of each statement.
        asked = [each["sql"].partition("; ")[2] for each in queries if "audit" not in each["sql"]]
        return [sql.split()[0] for sql in asked]

    # One each for the session and for the user with all permissions.
    assert asked() == ["SELECT"] * 2
    clock.now += 61
    assert "UPDATE" in asked()
    assert asked() == ["SELECT"] * 2


def test_cookies_of_a_deployment_are_protected():
    shown = (
        "s.SESSION_COOKIE_NAME, s.SESSION_COOKIE_SECURE, s.SESSION_COOKIE_HTTPONLY, "
        "s.SESSION_COOKIE_SAMESITE, s.SESSION_COOKIE_PATH, s.SESSION_COOKIE_DOMAIN, "
        "s.CSRF_COOKIE_NAME, s.CSRF_COOKIE_SECURE, s.SESSION_COOKIE_AGE"
    )
    _, out, _ = start(
        f"({shown})",
        SECRET_KEY=KEY,
        ALLOWED_HOSTS="a.example",
        SESSION_HOURS="3",
    )
    assert out == (
        "('__Host-desk_session', True, True, 'Lax', '/', None, '__Host-csrftoken', True, 10800)"
    )
