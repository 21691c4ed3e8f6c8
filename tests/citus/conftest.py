"""Tests of a distributed agent database; they run only where there is a Citus cluster."""

import os
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from django.conf import settings
from django.utils import timezone

from overview.rollup import changes, workflows

from ..support import citus
from ..support.deployment import create_anew, drop_database
from ..support.listing import be_patient


@pytest.fixture(autouse=True, scope="session")
def _cluster():
    if not citus.URI:
        pytest.skip(citus.NOT_RUN)


@contextmanager
def plain_database(name: str):
    create_anew(settings.LOCAL_POSTGRES, name)
    try:
        yield settings.LOCAL_POSTGRES.uri(name)
    finally:
        drop_database(name, settings.LOCAL_POSTGRES)


@pytest.fixture(scope="module")
def histories(_cluster, django_db_setup, django_db_blocker):
    """A history in a plain database and a distributed one. Tests may change both."""
    name = f"desk_citus_{os.getpid()}"
    with (
        django_db_blocker.unblock(),
        plain_database(name) as plain,
        citus.cluster(name) as connection,
    ):
        side = citus.write_history(plain)
        citus.copy_history(plain, connection)
        yield citus.Histories(plain, citus.coordinator(name), side)


@pytest.fixture
def patient(monkeypatch, settings):
    """No time limit is reached, and the clock stands still, so that both databases answer alike."""
    be_patient(monkeypatch)
    settings.STATEMENT_TIMEOUT_SECONDS = 60
    now = datetime.now(UTC)
    monkeypatch.setattr(timezone, "now", lambda: now)
    for module in (changes, workflows):
        monkeypatch.setattr(module, "now", lambda: now)
