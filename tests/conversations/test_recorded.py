"""
Databases that the real runtime wrote, if they are next to the project: our numbers are compared to
those of hand-written SQL.
"""

import psycopg
import pytest
from django.conf import settings
from django.db import connections
from django.urls import reverse
from psycopg.rows import dict_row

from conversations.agentdb import revision
from conversations.models import Session
from conversations.sessions import get_session_details, get_sessions_summary

from ..support.recorded import RECORDED, load

DUMPS = ["kavalai-1.0.7.sql.gz", "kavalai-seed-era-0002.sql.gz"]

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.thorough,
    pytest.mark.skipif(not RECORDED.exists(), reason="The recorded databases are not here."),
]

SUMMARIES = """
    SELECT s.id AS session_id, s.agent_id, a.name AS agent_name, s.external_id,
           count(DISTINCT r.id) AS runs_count, count(DISTINCT t.id) AS tasks_count,
           count(DISTINCT m.id) AS messages_count,
           (array_agg(m.content ORDER BY m.created_at, m.id))[1] AS first_message,
           (array_agg(m.content ORDER BY m.created_at DESC, m.id DESC))[1] AS last_message,
           count(DISTINCT t.id) FILTER (
               WHERE CASE jsonb_typeof(t.errors)
                   WHEN 'array' THEN jsonb_array_length(t.errors) > 0
                   WHEN 'null' THEN false
                   ELSE t.errors IS NOT NULL END
           ) AS errors_count,
           s.created_at, s.updated_at
    FROM sessions s
    JOIN agents a ON a.id = s.agent_id
    LEFT JOIN runs r ON r.session_id = s.id
    LEFT JOIN tasks t ON t.session_id = s.id
    LEFT JOIN chat_messages m ON m.session_id = s.id
    GROUP BY s.id, a.id
    ORDER BY s.updated_at DESC, s.id DESC
"""


@pytest.fixture(scope="module", params=DUMPS)
def recorded_database(request, django_db_setup):
    """The name of a database loaded from one of the dumps."""
    name = f"{connections['agents_write'].settings_dict['NAME']}_recorded"
    uri = settings.LOCAL_POSTGRES.uri
    with psycopg.connect(uri("postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}"')
        connection.execute(f'CREATE DATABASE "{name}"')
    with psycopg.connect(uri(name)) as connection:
        load(RECORDED / request.param, connection)
    yield name
    with psycopg.connect(uri("postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def recorded(recorded_database, monkeypatch):
    """Makes the site use the recorded database; gives a plain connection to it."""
    reader = connections.create_connection("agents")
    reader.settings_dict = {
        **reader.settings_dict,
        "NAME": recorded_database,
        "OPTIONS": {"options": "-c search_path=agents -c default_transaction_read_only=on"},
    }
    usual = connections["agents"]
    connections["agents"] = reader
    revision.forget()
    uri = settings.LOCAL_POSTGRES.uri(recorded_database)
    with psycopg.connect(uri, options="-c search_path=agents", row_factory=dict_row) as plain:
        yield plain
    connections["agents"] = usual
    reader.close()


def one(plain, sql):
    return next(iter(plain.execute(sql).fetchone().values()))


def test_every_summary_agrees_with_sql(recorded):
    response = get_sessions_summary(limit=1000)
    expected = recorded.execute(SUMMARIES).fetchall()
    assert response["total_count"] == len(expected) == 82
    assert [vars(summary) for summary in response["sessions"]] == expected


def test_details_hold_every_row(recorded):
    counts = [0, 0, 0]
    for summary in get_sessions_summary(limit=1000)["sessions"]:
        details = get_session_details(summary.session_id)
        for place, rows in enumerate((details.messages, details.runs, details.tasks)):
            counts[place] += len(rows)
    tables = ("chat_messages", "runs", "tasks")
    assert counts == [one(recorded, f"SELECT count(*) FROM {table}") for table in tables]


def test_problems_agree_with_sql(recorded):
    found: dict[str, int] = {}
    for session in Session.objects.with_summary():
        for kind, count in session.problems:
            found[kind] = found.get(kind, 0) + count
    tools = one(
        recorded,
        "SELECT count(*) FROM tasks WHERE node_type = 'tool_call' "
        "AND substr(output->>'result', 1, 6) = 'Error:'",
    )
    unanswered = one(
        recorded,
        "SELECT count(*) FROM runs WHERE coalesce(jsonb_typeof(output_data), 'null') = 'null'",
    )
    if revision.has_run_durations():
        failed_calls = one(
            recorded,
            "SELECT count(*) FROM model_call_stats WHERE coalesce(response_code, 500) >= 400",
        )
        expected = {"failed": 34, "interrupted": 1, "model_error": failed_calls}
    else:
        expected = {"incomplete": unanswered}
    assert found == {**expected, "tool_error": tools}
    assert tools == 56


@pytest.mark.slow
def test_every_page_of_every_conversation_opens(recorded, support_client):
    pages = ["/conversations/", *newer_pages(support_client)]
    for session in Session.objects.all():
        path = reverse("conversations:detail", args=[session.pk])
        response = support_client.get(path)
        assert response.status_code == 200
        runs = [entry.run.pk for entry in response.context["transcript"].entries if entry.run]
        ends = {*runs[:1], *runs[-1:]}
        pages += [reverse("conversations:run", args=[session.pk, run]) for run in ends]
    task = recorded.execute("SELECT session_id, id FROM tasks").fetchall()[::40]
    pages += [reverse("conversations:task", args=[row["session_id"], row["id"]]) for row in task]
    assert len(pages) > 100
    for path in pages:
        assert support_client.get(path).status_code == 200, path


def newer_pages(client):
    cursor = client.get("/conversations/").context["next_cursor"]
    return [f"/conversations/?after={cursor}"]


@pytest.mark.parametrize("search", ["needle-", "100%", "_literal_", "wildcards \\", "<SCRIPT>"])
def test_search_agrees_with_sql(recorded, search):
    expected = recorded.execute(
        "SELECT count(DISTINCT session_id) FROM chat_messages "
        "WHERE position(lower(%s) in lower(content)) > 0",
        [search],
    ).fetchone()["count"]
    assert expected > 0
    assert get_sessions_summary(search=search)["total_count"] == expected
