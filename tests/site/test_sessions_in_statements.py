"""
A sharded PostgreSQL (Citus) would accept every statement on the agent database: a statement that
joins two tables of conversations, or checks one in a subquery on the other, equates their sessions.
"""

import re
from contextlib import suppress
from itertools import product
from types import SimpleNamespace

import pytest
from django.core.management import call_command
from django.db import connections
from django.utils import timezone
from psycopg.sql import Composable

from conversations import sessions
from conversations.access import agent_limits
from conversations.agentdb import revision
from conversations.exports.files import FILES
from conversations.selection import words
from overview.models import Progress

from ..support.addresses import make_examples
from ..support.histories import build_indexes
from ..support.limited import WORD, let_in_limited
from ..support.listing import be_patient
from ..support.signing_in import let_in, make_user
from ..support.statements import flaws
from ..support.walks import (
    ADDRESSES,
    CLOSED,
    FOR_ADMINS,
    MODELS,
    changes,
    look_back_in_every_way,
    make_side,
    requests,
    searches,
)

# The analysis itself


GOOD = {
    "JOIN ON": "SELECT * FROM tasks t JOIN runs r ON r.session_id = t.session_id AND r.id = run_id",
    "comma": "SELECT * FROM tasks t, runs r WHERE r.id = run_id AND t.session_id = r.session_id",
    "row": "SELECT * FROM tasks t, runs r WHERE (t.session_id, run_id) = (r.session_id, r.id)",
    "by a third": """SELECT * FROM sessions s JOIN runs r ON r.session_id = s.id
        JOIN tasks ON tasks.session_id = s.id""",
    "USING": "SELECT * FROM tasks JOIN runs USING (session_id)",
    "same parameter": """SELECT * FROM tasks t, runs r
        WHERE t.session_id = %(id)s::uuid AND r.session_id = %(id)s""",
    "same constant": """SELECT * FROM tasks t, runs r
        WHERE t.session_id = 'a' AND r.session_id = 'a'""",
    "agents": """SELECT * FROM sessions JOIN agents ON agents.id = agent_id
        WHERE EXISTS (SELECT 1 FROM agents a WHERE a.id = sessions.agent_id)""",
    "FROM": "SELECT * FROM (SELECT session_id AS of FROM runs) r JOIN tasks ON session_id = r.of",
    "star": "SELECT * FROM (SELECT r.* FROM runs r) q, tasks t WHERE t.session_id = q.session_id",
    "names": """SELECT * FROM (SELECT id, session_id FROM runs) AS r (a, b)
        JOIN tasks ON session_id = b""",
    "UNION": """SELECT * FROM sessions JOIN (
            SELECT session_id, id FROM runs UNION ALL SELECT session_id, id FROM tasks
        ) AS part ON part.session_id = sessions.id""",
    "parts": "SELECT id FROM runs WHERE id = %s UNION ALL SELECT id FROM tasks WHERE run_id = %s",
    "WITH": """WITH r AS (SELECT session_id, count(*) FROM runs GROUP BY session_id)
        SELECT * FROM r JOIN sessions ON r.session_id = sessions.id""",
    "WITH twice": "WITH r AS (SELECT * FROM runs) SELECT * FROM r UNION ALL SELECT * FROM r",
    "IN": "SELECT * FROM sessions WHERE id IN (SELECT session_id FROM runs WHERE id = %s)",
    "row IN": """SELECT * FROM tasks WHERE (session_id, run_id) IN
        (SELECT session_id, id FROM runs WHERE runs.created_at > tasks.created_at)""",
    "ANY ARRAY": "DELETE FROM tasks WHERE run_id = ANY(ARRAY(SELECT id FROM runs LIMIT %s))",
    "EXISTS": """SELECT * FROM "runs" WHERE EXISTS(SELECT %s AS "a" FROM "tasks" U0
        WHERE (U0."run_id" = ("runs"."id") AND U0."session_id" = ("runs"."session_id")) LIMIT 1)""",
    "EXISTS in EXISTS": """SELECT * FROM sessions V0 WHERE NOT EXISTS(SELECT 1 FROM runs U0
        WHERE U0.session_id = V0.id AND EXISTS(SELECT 1 FROM tasks U1
            WHERE U1.run_id = U0.id AND U1.session_id = U0.session_id))""",
    "COALESCE": """SELECT COUNT(*) FROM "sessions" WHERE COALESCE((SELECT true AS "found"
        FROM "runs" U0 WHERE U0."session_id" = ("sessions"."id") LIMIT 1), false)""",
    "in FROM": """SELECT * FROM runs r, LATERAL (SELECT id, session_id FROM tasks) t
        WHERE r.session_id = t.session_id
        AND EXISTS (SELECT FROM chat_messages m WHERE m.session_id = t.session_id)""",
    "LATERAL": """SELECT * FROM sessions AS session, LATERAL (
            SELECT * FROM runs WHERE session_id = session.id ORDER BY id LIMIT 1
        ) AS run""",
    "unnest": """SELECT session.id, run.id = (SELECT id FROM runs WHERE session_id = session.id),
            run.* FROM unnest(%(ids)s::uuid[]) AS session (id), LATERAL (
            SELECT runs.* FROM runs JOIN tasks ON tasks.session_id = session.id
            WHERE runs.session_id = session.id AND name LIKE '%%s' LIMIT %(limit)s
        ) AS run""",
    "limited": """WITH sessions AS NOT MATERIALIZED (SELECT * FROM sessions WHERE agent_id = 'a'),
        runs AS NOT MATERIALIZED (SELECT * FROM runs WHERE
            (SELECT true FROM sessions WHERE sessions.id = runs.session_id))
        SELECT (SELECT count(*) FROM runs WHERE runs.session_id = sessions.id) FROM sessions""",
    "recursive": """WITH RECURSIVE steps AS (
            SELECT * FROM tasks WHERE session_id = %(id)s AND parent_task_name IS NULL UNION ALL
            SELECT tasks.* FROM tasks JOIN steps ON tasks.session_id = steps.session_id
            WHERE tasks.parent_task_name = steps.name
        ) SELECT * FROM steps""",
    "recursive numbers": """WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n)
        SELECT * FROM n, runs LIMIT 1000 + floor(random())::bigint OFFSET %s""",
    "not recursive": "WITH RECURSIVE r AS (TABLE runs UNION ALL TABLE runs) SELECT * FROM r",
    "COPY": "COPY (SELECT r.id FROM runs r, tasks t WHERE r.session_id = t.session_id) TO STDOUT",
    "UPDATE": "UPDATE tasks SET name = '' FROM runs WHERE runs.session_id = tasks.session_id",
    "no query": "CREATE INDEX a ON runs (session_id); SET LOCAL statement_timeout = 10",
}
JOIN = "A join without tasks (t.session_id) = runs (r.session_id)"
SUBQUERY = "A subquery without tasks (t.session_id) = runs (r.session_id)"
RECURSIVE = "A recursive query without tasks (t.session_id) = …"
LIMIT = "LIMIT or OFFSET is a subquery"
BAD = {
    "JOIN ON": ("SELECT * FROM tasks t JOIN runs r ON r.id = t.run_id", JOIN),
    "comma": ("SELECT * FROM tasks t, runs r WHERE r.id = t.run_id", JOIN),
    "LEFT JOIN": ("SELECT * FROM tasks t LEFT JOIN runs r ON r.id = t.run_id", JOIN),
    "OR": (
        "SELECT * FROM tasks t, runs r WHERE t.session_id = r.session_id OR r.id = run_id",
        JOIN,
    ),
    "NOT": ("SELECT * FROM tasks t, runs r WHERE NOT t.session_id = r.session_id", JOIN),
    "<": ("SELECT * FROM tasks t, runs r WHERE t.session_id < r.session_id", JOIN),
    "function": (
        "SELECT * FROM tasks t, runs r WHERE md5(t.session_id::text) = md5(r.session_id::text)",
        JOIN,
    ),
    "another column": ("SELECT * FROM tasks t, runs r WHERE t.session_id = r.id", JOIN),
    "one alone": (
        "SELECT * FROM sessions s, tasks t, runs r WHERE t.session_id = s.id AND t.run_id = r.id",
        "A join without sessions (s.id) = runs (r.session_id)",
    ),
    "parameters": (
        "SELECT * FROM tasks t, runs r WHERE t.session_id = %s AND r.session_id = %s",
        JOIN,
    ),
    "by EXISTS": (
        """SELECT * FROM tasks t, runs r WHERE EXISTS (SELECT FROM sessions s
        WHERE t.session_id = s.id AND r.session_id = s.id)""",
        JOIN,
    ),
    "FROM": ("SELECT * FROM (SELECT * FROM tasks t) a, (SELECT * FROM runs r) b", JOIN),
    "lost": (
        "SELECT * FROM (SELECT t.id AS session_id FROM tasks t) a JOIN runs r "
        "ON r.session_id = a.session_id",
        JOIN,
    ),
    "UNION": (
        """SELECT * FROM sessions s JOIN (
            SELECT session_id AS it FROM runs UNION ALL SELECT id FROM tasks t
        ) AS part ON part.it = s.id""",
        "A join without sessions (s.id) = tasks (t.session_id)",
    ),
    "a part": ("SELECT 1 UNION ALL SELECT 1 FROM tasks t, runs r WHERE r.id = t.run_id", JOIN),
    "WITH": (
        "WITH a AS (SELECT run_id FROM tasks t) SELECT * FROM a JOIN runs r ON r.id = a.run_id",
        JOIN,
    ),
    "EXISTS": (
        """SELECT * FROM "runs" r WHERE EXISTS(SELECT %s AS "a" FROM "tasks" t
        WHERE t."run_id" = (r."id") LIMIT 1)""",
        SUBQUERY,
    ),
    "COALESCE": (
        """SELECT COUNT(*) FROM runs r WHERE COALESCE((SELECT true AS "found"
        FROM "tasks" t WHERE t."run_id" = (r."id") LIMIT 1), false)""",
        SUBQUERY,
    ),
    "in SELECT": (
        "SELECT (SELECT max(name) FROM tasks t WHERE run_id = r.id) FROM runs r",
        SUBQUERY,
    ),
    "in ORDER BY": (
        "SELECT id FROM runs r ORDER BY (SELECT id FROM tasks t WHERE run_id = r.id)",
        SUBQUERY,
    ),
    "whole row": ("SELECT (SELECT to_json(r) FROM tasks t LIMIT 1) FROM runs r", SUBQUERY),
    "deep": (
        """SELECT * FROM runs r WHERE EXISTS (SELECT FROM agents WHERE EXISTS (
        SELECT FROM tasks t WHERE t.run_id = r.id AND t.agent_id = agents.id))""",
        SUBQUERY,
    ),
    "row IN": (
        """SELECT * FROM runs r WHERE (r.id, 1) IN
        (SELECT run_id, seq FROM tasks t WHERE t.created_at > r.created_at)""",
        SUBQUERY,
    ),
    "in DELETE": (
        "DELETE FROM runs r WHERE NOT EXISTS (SELECT FROM tasks t WHERE run_id = r.id)",
        SUBQUERY,
    ),
    "LATERAL": (
        "SELECT * FROM tasks t, LATERAL (SELECT * FROM runs r WHERE r.id = t.run_id LIMIT 1) AS q",
        JOIN,
    ),
    "within unnest": (
        """SELECT * FROM unnest(%s::uuid[]) AS session (id), LATERAL (SELECT t.* FROM tasks t
        JOIN runs r ON r.id = t.run_id WHERE t.session_id = session.id) AS task""",
        JOIN,
    ),
    "limited": (
        """WITH tasks AS NOT MATERIALIZED (SELECT * FROM tasks t),
        runs AS NOT MATERIALIZED (SELECT * FROM runs r WHERE agent_id = %s)
        SELECT * FROM tasks JOIN runs ON runs.id = tasks.run_id""",
        JOIN,
    ),
    "LIMIT": ("SELECT * FROM runs LIMIT (SELECT %s::bigint)", LIMIT),
    "OFFSET": ("SELECT * FROM runs WHERE id IN (SELECT id FROM runs OFFSET 1 + (SELECT 1))", LIMIT),
    "LIMIT of UNION": ("SELECT 1 UNION ALL (SELECT 1) LIMIT (SELECT 1)", LIMIT),
    "COPY": ("COPY (SELECT * FROM tasks t, runs r WHERE t.run_id = r.id) TO STDOUT", JOIN),
    "COPY LIMIT": ("COPY (SELECT * FROM runs LIMIT (SELECT 1)) TO STDOUT (FORMAT csv)", LIMIT),
    "recursive": (
        """WITH RECURSIVE steps AS (
            SELECT * FROM tasks WHERE parent_task_name IS NULL UNION ALL
            SELECT t.* FROM tasks t JOIN steps ON t.session_id = steps.session_id
        ) SELECT * FROM steps WHERE session_id = %s""",
        RECURSIVE,
    ),
    "recursive subquery": (
        """WITH RECURSIVE tools AS (SELECT '' AS name UNION ALL
            SELECT (SELECT min(tool_uri) FROM tasks t WHERE tool_uri > tools.name) FROM tools
        ) SELECT name FROM tools""",
        RECURSIVE,
    ),
    "UPDATE": ("UPDATE tasks t SET name = r.id::text FROM runs r WHERE r.id = t.run_id", JOIN),
}


@pytest.mark.parametrize("statement", GOOD.values(), ids=GOOD)
def test_statements_that_a_sharded_database_accepts_have_no_flaw(statement):
    assert flaws(statement) == []


@pytest.mark.parametrize(("statement", "flaw"), BAD.values(), ids=BAD)
def test_a_flaw_names_its_tables(statement, flaw):
    assert flaw in flaws(statement)


# The statements that the site sends


class Collected(dict):
    """{statement that names a table of the runtime: what was being done when it was first sent}"""

    doing = ""

    def add(self, query, cursor):
        if isinstance(query, Composable):
            query = query.as_string(cursor)
        text = query.decode() if isinstance(query, bytes) else query
        if agent_limits.NAMES_TABLE.search(text):
            # Count statements with lists of different lengths as one.
            self.setdefault(re.sub(r"\(%s(, %s)+\)", "(%s, %s)", text), self.doing)


@pytest.fixture
def side(monkeypatch, settings):
    """Conversations of every kind, such that searches that look back do so in every way."""
    be_patient(monkeypatch)
    settings.STATEMENT_TIMEOUT_SECONDS = 60
    settings.MASK_PERSONAL_DATA = True
    look_back_in_every_way(monkeypatch)
    side = make_side()
    # Pages ask for figures, though there are none: the rollup will make all of them.
    Progress.objects.create(form="", as_of=timezone.now())
    return side


@pytest.fixture
def collected(monkeypatch, side):
    """Collects each statement as it is, and as rewritten for a user limited to one agent."""
    found, confined = Collected(), agent_limits.confined
    user = SimpleNamespace(is_authenticated=True, agent_limit=frozenset([side.agent]))
    limited = SimpleNamespace(user=user)

    def recorded(query, cursor):
        found.add(query, cursor)
        with suppress(agent_limits.NotLimited), agent_limits.reading_for(limited):
            found.add(confined(query, cursor), cursor)
        given = confined(query, cursor)
        found.add(given, cursor)
        return given

    monkeypatch.setattr(agent_limits, "confined", recorded)
    return found


def walk(client, collected, side, examples, names, asked):
    """Request each address with all its parameters, and once as a fragment."""
    for name, url, headers in requests(side, examples, names, asked):
        collected.doing = f"GET {url}"
        response = client.get(url, headers=headers)
        b"".join(response)
        assert response.status_code in (200, 302) or name in CLOSED, (
            f"{url} answered {response.status_code}: what it sends was not collected"
        )


def change(client, collected, side):
    for doing, do in changes(client, side):
        collected.doing = doing
        do()


def call(collected, *arguments):
    collected.doing = f"manage.py {' '.join(map(str, arguments))}"
    call_command(*arguments)


def run_commands(collected, side, asked, folder, monkeypatch):
    for query, name in product(asked[1::9], FILES):
        options = (f"--{key.replace('_', '-')}={value}" for key, value in query.items())
        call(collected, "export_conversations", f"--file={name}", f"--output={folder}/a", *options)
    call(collected, "export_conversations", "--file=tasks", "--payloads", f"--output={folder}/a")
    for options in (), (f"--agent={side.agent}",), ("--external-id=user-1",):
        call(collected, "purge", "--before=2026-06-05", "--dry-run", *options)
        call(collected, "purge", "--before=2026-06-05", *options)
    for options in (), ("--from=2026-06-05", "--until=2026-06-07"):
        call(collected, "rollup", *options)
    call(collected, "check", "--database=agents")
    # The command closes its connection, which would end the test's transaction.
    monkeypatch.setattr(connections["agents_write"], "close", lambda: None)
    call(collected, "agent_indexes")


def call_contract(collected, side):
    collected.doing = "conversations.sessions"
    day = timezone.localdate()
    for arguments in (
        {},
        {"agent_id": side.agent, "search": WORD, "start_date": day, "end_date": day, "offset": 1},
        {"search": "it"},
    ):
        sessions.get_sessions_summary(**arguments)
    assert sessions.get_session_details(side.session.id).tasks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "is_distributed"), [("0006", False), ("0006", True), ("0002", False)]
)
@pytest.mark.django_db
def test_every_statement_equates_the_sessions_of_the_tables_it_joins(
    collected, side, client, at_revision, monkeypatch, tmp_path, number, is_distributed
):
    at_revision(number)
    monkeypatch.setattr(revision, "is_distributed", lambda: is_distributed)
    examples = make_examples(**{name: side.named(model) for name, model in MODELS.items()})
    of_staff = [name for name in ADDRESSES if not name.startswith(FOR_ADMINS)]
    asked = searches(side)
    collected.clear()
    admin = make_user("boss", "Admin")
    let_in(client, admin)
    with monkeypatch.context() as patch:
        patch.setattr(words, "MOST_TOOLS", 0)
        walk(client, collected, side, examples, ADDRESSES, asked)
    build_indexes()
    walk(client, collected, side, examples, of_staff, asked)
    # A limited user, who sees masked data.
    let_in_limited(client, "Support", [side.agent])
    walk(client, collected, side, examples, of_staff, asked[::4])
    call_contract(collected, side)
    run_commands(collected, side, asked, tmp_path, monkeypatch)
    let_in(client, admin)
    change(client, collected, side)
    found = [
        f"{'; '.join(why)}\nin the statement of {doing}:\n{statement}"
        for statement, doing in collected.items()
        if (why := flaws(statement))
    ]
    assert not found, f"{len(found)} of {len(collected)} statements:\n\n" + "\n\n".join(found)
    # Make sure that statements were collected at all.
    assert len(collected) > 500
