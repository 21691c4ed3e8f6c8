"""
Home, of the databases that the real runtime wrote, against SQL.

They were written within a minute. Here, that minute is stretched to seven weeks in which clocks
change and a month ends: conversations go on for hours, and some runs take days.
"""

from datetime import datetime, timedelta

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from conversations.changes import erasure
from conversations.models import Session
from overview import quarters

from ..conversations.test_recorded import RECORDED, recorded, recorded_database  # noqa: F401
from ..support.expected_home import assert_home_is_right

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.slow,
    pytest.mark.skipif(not RECORDED.exists(), reason="The recorded databases are not here."),
]
# The days on which clocks change on Lord Howe Island, by half an hour, and in New York; the ends of
# a month in UTC and in India.
MOMENTS = [
    datetime.fromisoformat(f"2025-{moment}Z")
    for moment in ("10-05T09:45", "11-02T20:15", "11-01T00:00", "10-31T18:30")
]
ZONES = ["UTC", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe"]
TABLES = ("sessions", "runs", "tasks", "chat_messages", "model_call_stats")
BEGINNING = "timestamptz '2025-09-22T00:00Z'"
STRETCHED = """
    UPDATE {table} SET
        created_at = {beginning} + {factor} * (created_at - timestamptz '{first}'),
        updated_at = {beginning} + {factor} * (updated_at - timestamptz '{first}')
"""
# The same rows each time.
EVERY = "get_byte(uuid_send(id), 0) % {} = {}"
UNANSWERED = EVERY.format(5, 2)
# The column that it needs, and what is changed.
CHANGES = [
    # Runs without an answer, some of them interrupted, and others that end late.
    (
        "runs.id",
        "DELETE FROM chat_messages WHERE role = 'assistant'"
        f" AND run_id IN (SELECT id FROM runs WHERE {UNANSWERED})",
    ),
    ("runs.id", f"UPDATE runs SET output_data = NULL WHERE {UNANSWERED}"),
    (
        "runs.duration_seconds",
        f"UPDATE runs SET duration_seconds = NULL WHERE {UNANSWERED} AND {EVERY.format(2, 0)}",
    ),
    (
        "runs.duration_seconds",
        "UPDATE runs SET duration_seconds = duration_seconds * {factor}"
        f" WHERE {EVERY.format(3, 0)}",
    ),
    # A person and an evaluation with several conversations.
    ("sessions.id", f"UPDATE sessions SET external_id = 'ben' WHERE {EVERY.format(5, 3)}"),
    ("sessions.id", f"UPDATE sessions SET external_id = 'eval:a:b' WHERE {EVERY.format(3, 1)}"),
    # Several models: before there are cached tokens, nothing is known of Anthropic's calls.
    (
        "model_call_stats.cached_prompt_tokens",
        "UPDATE model_call_stats SET cached_prompt_tokens = prompt_tokens / 3"
        f" WHERE {EVERY.format(4, 2)}",
    ),
    (
        "model_call_stats.cached_prompt_tokens",
        "UPDATE model_call_stats SET model = 'anthropic/claude-sonnet-4-5'"
        f" WHERE {EVERY.format(12, 2)}",
    ),
    (
        "model_call_stats.id",
        f"UPDATE model_call_stats SET model = 'nobody/knows' WHERE {EVERY.format(12, 1)}",
    ),
    (
        "model_call_stats.id",
        "UPDATE model_call_stats SET model = 'openai/text-embedding-3-small',"
        " call_type = 'embedding', prompt_tokens = NULL, completion_tokens = NULL,"
        f" total_tokens = get_byte(uuid_send(id), 1) % 3 * 70 WHERE {EVERY.format(12, 3)}",
    ),
]
COLUMNS = """
    SELECT table_name || '.' || column_name FROM information_schema.columns
    WHERE table_schema = 'agents'
"""


@pytest.fixture(scope="module")
def stretched(recorded_database):  # noqa: F811
    uri = settings.LOCAL_POSTGRES.uri(recorded_database)
    with psycopg.connect(uri, options="-c search_path=agents") as connection:
        ends = connection.execute("SELECT min(created_at), max(updated_at) FROM sessions")
        first, last = ends.fetchone()
        factor = timedelta(weeks=7) / (last - first)
        for table in TABLES:
            values = {"table": table, "beginning": BEGINNING, "factor": factor, "first": first}
            connection.execute(STRETCHED.format(**values))
        columns = {column for (column,) in connection.execute(COLUMNS)}
        for column, statement in CHANGES:
            if column in columns:
                connection.execute(statement.format(factor=factor))


@pytest.fixture
def compared(stretched, recorded, monkeypatch):  # noqa: F811
    """Rolls up, and compares Home to SQL."""
    monkeypatch.setattr(quarters, "KEPT", timedelta(days=36_500))

    def compare(zones, moments):
        call_command("rollup", verbosity=0)
        for zone in zones:
            with timezone.override(zone):
                for until in moments:
                    assert_home_is_right(zone, until)

    return compare


@pytest.fixture
def recorded_for_writing(recorded_database):  # noqa: F811
    """What we erase is erased there, too."""
    writer = connections.create_connection("agents_write")
    writer.settings_dict = {
        **writer.settings_dict,
        "NAME": recorded_database,
        "OPTIONS": {"options": "-c search_path=agents"},
    }
    usual = connections["agents_write"]
    connections["agents_write"] = writer
    yield
    connections["agents_write"] = usual
    writer.close()


def test_home_agrees_with_sql_when_clocks_have_changed(compared):
    compared(["America/New_York"], MOMENTS[1:2])


def test_it_does_so_in_every_zone_and_at_ends_of_months(compared):
    compared(ZONES, MOMENTS)


def test_it_does_so_after_deletions(compared, recorded, recorded_for_writing):  # noqa: F811
    zones, moments = ["America/New_York"], MOMENTS[1:2]
    compared(zones, moments)
    purged, emptied, *_ = recorded.execute(
        "SELECT array_agg(id) AS ids FROM sessions GROUP BY get_byte(uuid_send(id), 1) % 8"
    ).fetchall()
    # As the runtime's purge_sessions and delete_history_for_session do.
    recorded.execute("DELETE FROM sessions WHERE id = ANY(%(ids)s)", purged)
    for table in ("chat_messages", "tasks"):
        recorded.execute(f"DELETE FROM {table} WHERE session_id = ANY(%(ids)s)", emptied)
    recorded.commit()
    compared(zones, moments)
    erased = list(Session.objects.values_list("pk", flat=True)[:9])
    erasure.erase(erased)
    assert not Session.objects.filter(pk__in=erased).exists()
    compared(zones, moments)
