"""
Each way in which the rollup finds what has changed, alone; what follows our own changes; servers
for messages.
"""

import pytest

from overview.rollup import changes

from ..support.notifying import Notifying
from ..support.receivers import mail_server, web_server


@pytest.fixture
def by_times_alone(monkeypatch):
    """Nothing is compared to its fact, once everything is known."""

    def begin():
        monkeypatch.setattr(changes, "different", lambda after: (set(), None))

    return begin


@pytest.fixture
def by_comparing_alone(monkeypatch):
    monkeypatch.setattr(changes, "recent", lambda since, until: set())
    monkeypatch.setattr(changes, "unfinished", lambda: [])


@pytest.fixture
def committed(django_capture_on_commit_callbacks):
    """Runs what is to be done after a change in the agent database."""
    return lambda: django_capture_on_commit_callbacks(using="agents_write", execute=True)


@pytest.fixture
def notifying(monkeypatch, settings, db):
    with mail_server() as mail, web_server() as web:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", mail.port
        settings.DEFAULT_FROM_EMAIL = "desk@example.com"
        settings.NOTIFY_EMAILS = ["ann@example.com", "ben@example.com"]
        settings.NOTIFY_WEBHOOK_SECRET = f"http://127.0.0.1:{web.port}/kingfisher"
        settings.NOTIFY_WEBHOOK_PRIVATE = True
        settings.NOTIFY_PER_HOUR = 100
        settings.SITE_URL = "https://desk.example.com"
        yield Notifying(monkeypatch, settings, mail, web)
