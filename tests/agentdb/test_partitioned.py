"""Tables that the operator has partitioned give exactly the same pages."""

import re
from datetime import UTC, datetime

import pytest
from django.core import checks
from django.db import connections
from django.utils import timezone

from conversations.agentdb.agent_tables import DDL
from conversations.indexes import catalogue, state
from conversations.models import ChatMessage, Run, Session, Task
from demo import write_demo

from ..support.exports import URL
from ..support.histories import build_indexes
from ..support.pages import VARIES
from ..support.tables import sql

pytestmark = pytest.mark.django_db
LIST = "/conversations/"
BY_HASH = [f"FOR VALUES WITH (MODULUS 3, REMAINDER {number})" for number in range(3)]
BY_TIME = ["FOR VALUES FROM (MINVALUE) TO (now() - interval '9 days')", "DEFAULT"]
# {name: (how to partition, what the primary key needs besides the id, the partitions)}
LAYOUTS = {
    "by session": ("HASH (session_id)", "session_id", BY_HASH),
    "by time": ("RANGE (created_at)", "created_at", BY_TIME),
}


def partition(table, layout):
    """Move the rows to a partitioned table of the same name, where their physical order differs."""
    how, key, parts = LAYOUTS[layout]
    sql(f"ALTER TABLE {table} RENAME TO {table}_before")
    sql(f"CREATE TABLE {table} (LIKE {table}_before) PARTITION BY {how}")
    for number, values in enumerate(parts):
        sql(f"CREATE TABLE {table}_{number} PARTITION OF {table} {values}")
    sql(f"INSERT INTO {table} SELECT * FROM {table}_before ORDER BY random()")
    sql(f"DROP TABLE {table}_before")
    sql(f"ALTER TABLE {table} ADD PRIMARY KEY (id, {key})")
    for column, others in (("session_id", "sessions"), ("agent_id", "agents")):
        foreign = f"FOREIGN KEY ({column}) REFERENCES {others} (id)"
        sql(f"ALTER TABLE {table} ADD {foreign} ON DELETE CASCADE")
    for statement in re.findall(rf"CREATE INDEX \w+ ON {table} .*?;", DDL.read_text()):
        sql(statement)
    sql(f"ANALYZE {table}")


def pages() -> list[str]:
    agent = Session.objects.newest_first().first().agent_id
    queries = [
        "",
        f"agent={agent}",
        "search=the",
        "search=refund&scope=all",
        "search=error&scope=all",
        "search=zz",
        "start_date=2026-10-01&end_date=2026-11-10",
        "external_id=a",
        *(f"problem={kind}" for kind in ("any", "failed", "tool_error", "model_error")),
        *(f"problem={kind}" for kind in ("task_error", "running", "interrupted")),
    ]
    found = [f"{LIST}?{query}" for query in queries]
    found += [f"{LIST}counts/?{query}" for query in queries[:3]]
    found += [f"{LIST}errors/", f"{LIST}errors/?days=30"]
    found += [f"{URL}{name}.{form}" for name in ("messages", "tasks") for form in ("csv", "jsonl")]
    found += [f"{URL}conversations.csv", f"{URL}tasks.jsonl?payloads=1"]
    for session in Session.objects.newest_first()[:10]:
        place = f"{LIST}{session.pk}/"
        found += [place, f"{place}transcript.txt"]
        runs = Run.objects.filter(session_id=session.pk).order_by("created_at", "id")
        found += [f"{place}runs/{run.pk}/" for run in runs[:2]]
        tasks = Task.objects.filter(session_id=session.pk).order_by("id").only("id")
        found += [f"{place}tasks/{task.pk}/" for task in tasks[:1]]
        messages = ChatMessage.objects.filter(session_id=session.pk).order_by("id")
        found += [f"{place}messages/{message.pk}/" for message in messages[:1]]
    return found


def answers(client, paths) -> dict[str, str]:
    found = {}
    for path in paths:
        response = client.get(path)
        assert response.status_code == 200, path
        found[path] = VARIES.sub("", b"".join(response).decode())
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "indexed"), [("by session", True), ("by time", True), ("by time", False)]
)
def test_partitioned_tables_give_the_same_pages(admin_client, monkeypatch, layout, indexed):
    now = datetime.now(UTC)
    monkeypatch.setattr(timezone, "now", lambda: now)
    writer = connections["agents_write"]
    writer.ensure_connection()
    write_demo(writer.connection, count=80, now=now)
    if indexed:
        build_indexes()
    paths = pages()
    before = answers(admin_client, paths)
    for table in ("tasks", "chat_messages"):
        partition(table, layout)
    if indexed:
        for index in catalogue.indexes():
            if index.table in ("tasks", "chat_messages"):
                sql(index.create(concurrently=False))
                sql(index.describe())
        state.forget()
        assert state.ready() == {index.name for index in catalogue.indexes()}
    after = answers(admin_client, paths)
    assert [path for path in paths if before[path] != after[path]] == []
    # Guards against comparing nothing.
    assert len(paths) > 80
    assert max(map(len, before.values())) > 100_000


def test_check_accepts_partitioned_tables():
    for table in ("tasks", "chat_messages"):
        partition(table, "by session")
    assert checks.run_checks(databases=["agents"]) == []
