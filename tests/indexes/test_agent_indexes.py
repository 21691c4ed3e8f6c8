"""`manage.py agent_indexes`, in a separate database: CONCURRENTLY cannot run in a transaction."""

import io
import os
import re
import signal
import threading
import time
from contextlib import contextmanager
from itertools import pairwise

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connections

from backoffice.management.commands import serve
from conversations.agentdb import revision
from conversations.agentdb.agent_tables import create_agent_tables
from conversations.agentdb.search_terms import terms
from conversations.indexes import catalogue as indexes
from conversations.indexes import state
from conversations.listing.snippets import snippets
from conversations.management.commands import agent_indexes
from conversations.models import ChatMessage, Session
from demo import write_demo

from ..support.deployment import wait_until

pytestmark = pytest.mark.slow

NAME = f"indexes_{os.getpid()}"
ROLE = f"indexes_role_{os.getpid()}"
SCHEMA = "agents"


@pytest.fixture
def server():
    with psycopg.connect(settings.LOCAL_POSTGRES.uri("postgres"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def empty_database(server, monkeypatch, django_db_blocker):
    """A superuser's connection to an empty database, which both aliases use."""
    server.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
    server.execute(f"DROP ROLE IF EXISTS {ROLE}")
    server.execute(f"CREATE DATABASE {NAME}")
    before = {alias: connections[alias] for alias in ("agents", "agents_write")}
    state.forget()
    with psycopg.connect(settings.LOCAL_POSTGRES.uri(NAME), autocommit=True) as owner:
        for alias in before:
            monkeypatch.setitem(connections.settings[alias], "NAME", NAME)
            connections[alias] = connections.create_connection(alias)
        with django_db_blocker.unblock():
            yield owner
        for alias in before:
            connections[alias].close()
            connections[alias] = before[alias]
    state.forget()
    server.execute(f"DROP DATABASE {NAME} WITH (FORCE)")
    server.execute(f"DROP ROLE IF EXISTS {ROLE}")


@pytest.fixture
def database(empty_database):
    """A database with the agent runtime's tables and some conversations."""
    create_agent_tables(empty_database)
    write_demo(empty_database, count=30)
    return empty_database


def options(monkeypatch, alias, added):
    """Adds these libpq options to those of the alias."""
    settings_dict = connections.settings[alias]
    given = settings_dict["OPTIONS"]
    changed = {**given, "options": f"{given.get('options', '')} {added}"}
    monkeypatch.setitem(settings_dict, "OPTIONS", changed)
    connections[alias].close()


def run(**arguments) -> str:
    out = io.StringIO()
    call_command("agent_indexes", stdout=out, **arguments)
    return out.getvalue()


def fail(**arguments) -> tuple[str, CommandError]:
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("agent_indexes", stdout=out, **arguments)
    assert "\n" not in str(caught.value)
    return out.getvalue(), caught.value


def catalogue(connection) -> list:
    """Every index, with values that change when it is rebuilt."""
    return connection.execute(
        "SELECT relname, c.oid, indisvalid, obj_description(c.oid, 'pg_class')"
        " FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relname LIKE 'desk\\_%'"
        " ORDER BY relname"
    ).fetchall()


def oid(connection, name: str) -> int | None:
    return {row[0]: row[1] for row in catalogue(connection)}.get(name)


def invalidate(connection, name: str):
    """As an interrupted build leaves it."""
    connection.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)", [name]
    )


def names() -> set[str]:
    return {index.name for index in indexes.indexes()}


@contextmanager
def writer_of(table):
    """An open transaction that writes to the table: builds there wait for its end."""
    # If a test fails to, the server ends the transaction.
    limit = "-c idle_in_transaction_session_timeout=60s"
    with psycopg.connect(settings.LOCAL_POSTGRES.uri(NAME), options=limit) as connection:
        connection.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
        yield connection


# Showing


def test_without_options_it_explains_and_changes_nothing(database):
    said = run()
    assert catalogue(database) == []
    for index in indexes.indexes():
        assert f"{index.name}: missing\n    {index.purpose}\n" in said
        assert f"    CREATE INDEX CONCURRENTLY {index.name} ON {index.table} " in said
    assert "CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public;" in said
    assert not database.execute("SELECT FROM pg_extension WHERE extname = 'pg_trgm'").fetchall()


def test_the_sql_it_shows_builds_indexes_that_the_site_uses(database):
    said = run()
    for statement in re.findall(r"^ {4}((?:CREATE|SET|COMMENT) .*);$", said, re.MULTILINE):
        database.execute(statement)
    assert state.ready() == names()


def test_it_shows_the_state_of_each_index(database):
    run(apply=True)
    database.execute("COMMENT ON INDEX desk_runs_failed IS 'Conversation Desk: [0123456789ab]'")
    invalidate(database, "desk_tasks_tool_error")
    said = run()
    assert "desk_runs_unfinished: present, 16.0 KB" in said
    assert "desk_runs_failed: outdated: built by another version" in said
    assert "desk_tasks_tool_error: invalid: a build was interrupted" in said
    for action in ("DROP", "CREATE"):
        assert re.findall(f"{action} INDEX CONCURRENTLY (\\w+)", said) == [
            "desk_runs_failed",
            "desk_tasks_tool_error",
        ]


def test_read_only_it_shows_but_does_not_change(database, monkeypatch):
    run(apply=True)
    before = catalogue(database)
    monkeypatch.delitem(connections.settings, "agents_write")
    assert "desk_runs_failed: present" in run()
    for action in ("apply", "drop"):
        said, error = fail(**{action: True})
        assert said == ""
        assert str(error).startswith("KAVALAI_DB_READ_ONLY=1")
    assert catalogue(database) == before


# Building


def test_apply_builds_all_indexes_once(database):
    said = run(apply=True)
    assert [name for name, _, valid, _ in catalogue(database) if valid] == sorted(names())
    assert state.ready() == names()
    for name in names():
        assert re.search(rf"^{name}: [\d.]+ KB, built in [\d.]+ s$", said, re.MULTILINE)
    before = catalogue(database)
    said = run(apply=True)
    assert "built" not in said
    assert said.count(": present, ") == len(names())
    assert catalogue(database) == before


def test_the_names_of_all_revisions_are_known(database):
    run(apply=True)
    found = names()
    database.execute("ALTER TABLE runs DROP COLUMN duration_seconds")
    revision.forget()
    assert found | names() == indexes.known_names()


def test_expressions_have_statistics(database):
    run(apply=True)
    rows = database.execute("SELECT DISTINCT tablename FROM pg_stats WHERE tablename LIKE 'desk_%'")
    found = {name for (name,) in rows}
    assert {"desk_sessions_lifetime", "desk_tasks_tool_error_message"} <= found


def test_an_index_left_by_an_interrupted_build_is_rebuilt(database):
    run(apply=True)
    before = oid(database, "desk_sessions_created_at")
    kept = oid(database, "desk_sessions_external_id")
    invalidate(database, "desk_sessions_created_at")
    assert "desk_sessions_created_at" not in state.ready()
    said = run(apply=True)
    assert said.count("built in") == 1
    assert oid(database, "desk_sessions_created_at") != before
    assert oid(database, "desk_sessions_external_id") == kept
    assert state.ready() == names()


@pytest.mark.parametrize("comment", ["'Conversation Desk: another [0123456789ab]'", "NULL"])
def test_an_index_of_another_version_is_rebuilt(database, comment):
    run(apply=True)
    before = oid(database, "desk_sessions_created_at")
    database.execute(f"COMMENT ON INDEX desk_sessions_created_at IS {comment}")
    run(apply=True)
    assert oid(database, "desk_sessions_created_at") != before
    assert state.ready() == names()


def test_an_old_revision_gets_the_indexes_for_its_columns(database):
    database.execute("ALTER TABLE runs DROP COLUMN duration_seconds")
    database.execute("ALTER TABLE model_call_stats DROP COLUMN session_id, DROP COLUMN run_id")
    run(apply=True)
    built = {row[0] for row in catalogue(database)}
    assert built == names() == state.ready()
    assert "desk_runs_incomplete" in built
    assert not {name for name in built if "model_call" in name or name == "desk_runs_failed"}


def test_indexes_of_an_older_revision_are_mentioned_and_dropped(database):
    database.execute("ALTER TABLE runs RENAME COLUMN duration_seconds TO later")
    run(apply=True)
    database.execute("ALTER TABLE runs RENAME COLUMN later TO duration_seconds")
    revision.forget()
    mentioned = "No longer used; --drop removes them: desk_runs_incomplete\n"
    assert mentioned in run()
    assert mentioned in run(apply=True)
    run(drop=True)
    assert catalogue(database) == []


def test_limits_of_the_role_do_not_end_a_build(database, monkeypatch):
    options(monkeypatch, "agents_write", "-c statement_timeout=300 -c lock_timeout=300")
    with writer_of("sessions") as other:
        timer = threading.Timer(0.8, other.rollback)
        timer.start()
        run(apply=True)
        timer.join()
    assert state.ready() == names()


PARTITIONED = """
    ALTER TABLE tasks RENAME TO old;
    CREATE TABLE tasks (LIKE old) PARTITION BY HASH (session_id);
    CREATE TABLE tasks_0 PARTITION OF tasks FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE "tasks of Ann's" PARTITION OF tasks FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO tasks SELECT * FROM old; DROP TABLE old;
"""
PARTS = """
    SELECT count(*) FROM pg_inherits JOIN pg_index ON indexrelid = inhrelid
    WHERE inhparent = 'desk_tasks_tool_error'::regclass AND indisvalid
"""


def test_a_partitioned_tables_indexes_are_built_part_by_part(database):
    database.execute(PARTITIONED)
    ran = []
    run_statement = agent_indexes.Command.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            agent_indexes.Command,
            "run",
            lambda self, statement: (ran.append(statement), run_statement(self, statement)),
        )
        run(apply=True)
    assert state.ready() == names()
    assert database.execute(PARTS).fetchone() == (2,)
    # Nothing blocks the runtime for more than a moment.
    on_parts = [statement for statement in ran if re.search(r" desk_tasks_tool_error\b", statement)]
    assert [re.match("[A-Z ]+(?= desk)", statement)[0] for statement in on_parts[:2]] == [
        "CREATE INDEX",
        "COMMENT ON INDEX",
    ]
    assert " ON ONLY tasks " in on_parts[0]
    assert all(" ATTACH PARTITION " in statement for statement in on_parts[2:])
    built = [
        statement for statement in ran if re.search(r" desk_tasks_tool_error_\w{8} ON", statement)
    ]
    assert len(built) == 2
    assert all(statement.startswith("CREATE INDEX CONCURRENTLY") for statement in built)
    assert state.states("agents_write")["desk_tasks_tool_error"].size > 0
    # A partition that is added later has its part from the start.
    before = catalogue(database)
    assert run(apply=True).count("present") == len(names())
    assert catalogue(database) == before
    run(drop=True)
    assert catalogue(database) == []


def test_the_sql_shown_for_a_partitioned_table_builds_a_usable_index(database):
    database.execute(PARTITIONED)
    database.execute("CREATE EXTENSION pg_trgm")
    said = run()
    for line in said.splitlines():
        if re.match(r"    [A-Z]+ .*;$", line):
            database.execute(line)
    state.forget()
    assert state.ready() == names()


def test_an_interrupted_build_on_a_partitioned_table_continues(database):
    database.execute(PARTITIONED)
    run(apply=True)
    [(part, invalid)] = database.execute(
        "SELECT min(inhrelid::regclass::text), max(inhrelid::regclass::text) FROM pg_inherits"
        " WHERE inhparent = 'desk_tasks_tool_error'::regclass"
    ).fetchall()
    [definition] = database.execute("SELECT pg_get_indexdef(%s::regclass)", [part]).fetchone()
    [other] = database.execute("SELECT pg_get_indexdef(%s::regclass)", [invalid]).fetchone()
    [index] = [each for each in indexes.indexes() if each.name == "desk_tasks_tool_error"]
    # One part was built but not attached, another one was interrupted.
    database.execute("DROP INDEX desk_tasks_tool_error")
    database.execute(f"CREATE INDEX {index.name} ON ONLY {index.table} {index.definition}")
    database.execute(index.describe())
    database.execute(definition)
    database.execute(other)
    kept = oid(database, part)
    invalidate(database, invalid)
    state.forget()
    assert index.name not in state.ready()
    run(apply=True)
    assert state.ready() == names()
    assert oid(database, part) == kept
    # The part that was never attached is removed too.
    database.execute("DROP INDEX desk_tasks_tool_error")
    database.execute(definition)
    run(drop=True)
    assert catalogue(database) == []


def test_nested_partitions_are_left_to_the_operator(database):
    database.execute(
        "ALTER TABLE chat_messages RENAME TO old; CREATE TABLE chat_messages (LIKE old)"
        " PARTITION BY RANGE (created_at);"
        " CREATE TABLE inner_one PARTITION OF chat_messages DEFAULT PARTITION BY HASH (id)"
    )
    said, error = fail(apply=True)
    assert f"2 of {len(names())} indexes were not built: the table chat_messages has" in str(error)
    assert "    CREATE INDEX desk_chat_messages_content ON chat_messages USING gin" in said
    assert {row[0] for row in catalogue(database)} == names() - {
        "desk_chat_messages_content",
        "desk_chat_messages_created_at",
    }


def test_a_table_that_another_process_builds_on_is_left_alone(database):
    def build():
        with psycopg.connect(settings.LOCAL_POSTGRES.uri(NAME), autocommit=True) as connection:
            connection.execute("CREATE INDEX CONCURRENTLY desk_runs_failed ON runs (created_at)")

    with writer_of("runs") as other:
        builder = threading.Thread(target=build)
        builder.start()
        wait_until(lambda: catalogue(database))
        before = catalogue(database)
        assert "desk_runs_failed: being built now, by process " in run()
        said, error = fail(apply=True)
        assert "desk_runs_unfinished: left out, process " in said
        assert re.match(
            r"3 of \d+ .*: process \d+ is already building an index on runs", str(error)
        )
        assert oid(database, "desk_runs_failed") == before[0][1]
        _, error = fail(drop=True)
        assert re.match(r"1 of \d+ .*: process \d+ is building it", str(error))
        other.rollback()
        builder.join()
    assert [row[0] for row in catalogue(database)] == ["desk_runs_failed"]


def test_a_second_command_at_the_same_time_is_refused(database):
    database.execute(agent_indexes.ALONE)
    for action in ("apply", "drop"):
        _, error = fail(**{action: True})
        assert str(error) == "Another agent_indexes is already running in this database."
    assert catalogue(database) == []


def test_verbosity_0_prints_nothing(database):
    assert run(apply=True, verbosity=0) == ""
    assert state.ready() == names()


# While it builds


def apply_while_waiting(monkeypatch, out) -> None:
    """Builds while somebody writes to `sessions`, until the command has reported that it waits."""
    monkeypatch.setattr(agent_indexes, "LOOK", 0.05)
    monkeypatch.setattr(agent_indexes, "LOOK_ELSEWHERE", 0.05)

    def end():
        wait_until(lambda: "desk_sessions_external_id: waiting for" in out.getvalue())
        time.sleep(0.3)
        other.rollback()

    with writer_of("sessions") as other:
        ender = threading.Thread(target=end)
        ender.start()
        call_command("agent_indexes", apply=True, stdout=out)
        ender.join()


@pytest.fixture
def latin1_database(empty_database, server):
    """A database with the encoding LATIN1, in which PostgreSQL cannot normalise."""
    empty_database.close()
    server.execute(f"DROP DATABASE {NAME} WITH (FORCE)")
    server.execute(
        f"CREATE DATABASE {NAME} TEMPLATE template0 ENCODING LATIN1 LOCALE_PROVIDER libc LOCALE 'C'"
    )
    with psycopg.connect(settings.LOCAL_POSTGRES.uri(NAME), autocommit=True) as owner:
        create_agent_tables(owner)
        yield owner


def test_without_utf8_no_index_is_built_that_would_break_inserts(latin1_database):
    said, error = fail(apply=True)
    reason = "the database's encoding is LATIN1, but PostgreSQL normalises texts only in UTF8"
    assert reason in str(error)
    needing = {index.name for index in indexes.indexes() if index.needs_utf8}
    assert {"desk_chat_messages_content", "desk_sessions_external_id"} <= needing
    for name in needing:
        assert f"{name}: left out, {reason}" in said
    built = {row[0] for row in catalogue(latin1_database)}
    assert {"desk_runs_failed", "desk_sessions_created_at"} <= built
    assert not built & needing
    assert "CREATE INDEX CONCURRENTLY desk_chat_messages_content" not in run()


def test_without_utf8_searches_find_the_letters_that_exist(latin1_database):
    latin1_database.execute(
        "INSERT INTO agents (id, name, created_at, updated_at)"
        " VALUES (gen_random_uuid(), 'Shop', now(), now());"
        "INSERT INTO sessions (id, agent_id, external_id, created_at, updated_at)"
        " SELECT gen_random_uuid(), id, 'Ticket-7', now(), now() FROM agents;"
        "INSERT INTO chat_messages"
        " (id, agent_id, session_id, role, content, created_at, updated_at)"
        " SELECT gen_random_uuid(), agent_id, id, 'user', 'A Refund, bitte: für Öl', now(), now()"
        " FROM sessions"
    )
    for search, number in {"REFUND": 1, "für REF": 1, "Öl": 1, "refunds": 0, "ж": 0}.items():
        assert len(ChatMessage.objects.filter(content__holds=terms(search))) == number, search
    for name, number in {"ticket-7": 1, "TICKET": 0, "ж": 0}.items():
        assert len(Session.objects.named(name)) == number
    assert len(Session.objects.named_from("TICK")) == 1
    assert len(snippets([session.id for session in Session.objects.all()], "refund", True, "")) == 1


def test_it_says_which_process_it_waits_for(database, monkeypatch):
    out = io.StringIO()
    apply_while_waiting(monkeypatch, out)
    lines = out.getvalue().splitlines()
    pattern = r"desk_sessions_external_id: waiting for older transactions to end \(process \d+\)"
    assert any(re.fullmatch(pattern, line) for line in lines)
    assert all(line != after for line, after in pairwise(lines))
    assert "\r" not in out.getvalue()


def test_on_a_terminal_it_rewrites_one_line(database, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    apply_while_waiting(monkeypatch, out)
    (line,) = [each for each in out.getvalue().split("\n") if "external_id: waiting" in each]
    *seen, last = line.split("\r")
    assert len([each for each in seen if "waiting for older transactions" in each]) > 2
    assert last.startswith("desk_sessions_external_id: ")
    assert "built in" in last


def test_a_build_has_its_comment_before_it_ends(database, monkeypatch):
    """Otherwise it would look outdated if its client is lost and the build finishes alone."""
    seen = []

    def end():
        wait_until(lambda: [row for row in catalogue(database) if row[0].endswith("id") and row[3]])
        seen.extend(catalogue(database))
        other.rollback()

    monkeypatch.setattr(agent_indexes, "LOOK_ELSEWHERE", 0.05)
    with writer_of("sessions") as other:
        ender = threading.Thread(target=end)
        ender.start()
        run(apply=True)
        ender.join()
    assert [row[2] for row in seen if row[0] == "desk_sessions_external_id"] == [False]


def test_percentages_are_those_of_the_phase():
    progress = agent_indexes.progress
    assert progress([], None, None, None, None, None) == "in progress"
    assert progress([], "building index: scanning table", 1, 4, 0, 0).endswith("table, 25%")
    assert progress([], "building index: loading tuples in tree", 9, 9, 1, 2).endswith("tree, 50%")
    # Its numbers mean something else: we have seen 665%.
    phase = "building index: merging tuples"
    assert progress([], phase, 20, 3, 20, 3) == phase


@contextmanager
def signals(**handlers):
    """Sets our signal handlers, whatever the parent process ignores."""
    numbers = {getattr(signal, name): handler for name, handler in handlers.items()}
    before = {number: signal.signal(number, new) for number, new in numbers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_with(database, *numbers: int) -> tuple[str, CommandError]:
    """Sends these signals, one after another, while a build waits for a writer."""

    def interrupt():
        wait_until(lambda: oid(database, "desk_sessions_external_id"))
        for number in numbers:
            time.sleep(0.2)
            os.kill(os.getpid(), number)

    with writer_of("sessions"):
        thread = threading.Thread(target=interrupt)
        thread.start()
        said, error = fail(apply=True)
        thread.join()
    assert str(error).startswith("Stopped.")
    return said, error


def test_ctrl_c_stops_it_and_another_run_continues(database):
    with signals(SIGINT=signal.default_int_handler):
        said, error = stop_with(database, signal.SIGINT)
    assert error.returncode == 130
    kept = oid(database, "desk_runs_failed")
    assert "desk_sessions_external_id" not in state.ready()
    assert "built in" in said
    run(apply=True)
    assert state.ready() == names()
    assert oid(database, "desk_runs_failed") == kept


def test_sigterm_stops_it_if_ctrl_c_is_ignored(database):
    """As when a script runs it in the background."""
    with signals(SIGINT=signal.SIG_IGN, SIGTERM=signal.SIG_IGN):
        _, error = stop_with(database, signal.SIGINT, signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    assert error.returncode == 143
    # The server does not continue on its own.
    assert "desk_sessions_external_id" not in state.ready()
    run(apply=True)
    assert state.ready() == names()


# Rights and failures


def test_a_role_without_the_permission_is_shown_sql_for_someone_who_has_it(database, monkeypatch):
    database.execute(f"CREATE ROLE {ROLE}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {ROLE}")
    options(monkeypatch, "agents_write", f"-c role={ROLE}")
    said, error = fail(apply=True)
    count = len(names())
    assert catalogue(database) == []
    assert str(error).startswith(f"{count} of {count} indexes were not built: ")
    assert "must be owner of table tasks" in str(error)
    assert said.count("    CREATE INDEX CONCURRENTLY ") == count
    connections["agents_write"].close()
    run_by_hand(database, said)
    assert state.ready() == names()
    said, error = fail(drop=True)
    assert f"{count} of {count} indexes were not removed: must be owner of index" in str(error)
    assert said.count("    DROP INDEX CONCURRENTLY ") == count
    run_by_hand(database, said)
    assert catalogue(database) == []


def run_by_hand(connection, said: str):
    for line in said.partition("can run this in psql:\n")[2].splitlines():
        connection.execute(line)


def test_without_pg_trgm_all_other_indexes_are_built(database, monkeypatch):
    database.execute(f"CREATE ROLE {ROLE}")
    for table in {index.table for index in indexes.indexes()}:
        database.execute(f"ALTER TABLE {table} OWNER TO {ROLE}")
    database.execute(f"GRANT CREATE ON SCHEMA public TO {ROLE}")
    options(monkeypatch, "agents_write", f"-c role={ROLE}")
    said, error = fail(apply=True)
    searches = {index.name for index in indexes.indexes() if index.needs_pg_trgm}
    assert {row[0] for row in catalogue(database)} == names() - searches
    assert ": permission denied to create ext" in str(error)
    assert str(error).endswith("must run CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public;")
    run_by_hand(database, said)
    assert state.ready() == names()


def test_a_database_that_cannot_be_written_to_is_one_line(database, monkeypatch):
    """A replica refuses in the same way."""
    options(monkeypatch, "agents_write", "-c default_transaction_read_only=on")
    _, error = fail(apply=True)
    assert "read-only transaction" in str(error)
    assert catalogue(database) == []


def test_a_database_that_is_gone_is_one_line(empty_database, monkeypatch):
    for alias in ("agents", "agents_write"):
        monkeypatch.setitem(connections.settings[alias], "NAME", "nowhere")
    for arguments in ({}, {"apply": True}, {"drop": True}):
        _, error = fail(**arguments)
        assert str(error).startswith("The agent database failed: ")
        assert 'database "nowhere" does not exist' in str(error)


def test_a_database_that_goes_away_is_one_line(database, server):
    def end():
        wait_until(lambda: oid(database, "desk_sessions_external_id"))
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_progress_create_index"
            " WHERE datname = %s",
            [NAME],
        )

    with writer_of("sessions"):
        ender = threading.Thread(target=end)
        ender.start()
        _, error = fail(apply=True)
        ender.join()
    assert str(error).startswith("The agent database failed: ")
    assert "terminat" in str(error)


def test_an_empty_database_has_nothing_to_build_on(empty_database):
    _, error = fail(apply=True)
    assert "there is no table tasks" in str(error)


def test_remains_of_a_failed_build_are_removed(database, server):
    def end():
        wait_until(lambda: oid(database, "desk_sessions_external_id"))
        server.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index WHERE datname = %s",
            [NAME],
        )
        wait_until(lambda: not oid(database, "desk_sessions_external_id") or "DROP" in doing())
        other.rollback()

    def doing():
        query = "SELECT string_agg(query, ' ') FROM pg_stat_activity WHERE datname = %s"
        return server.execute(query, [NAME]).fetchone()[0]

    with writer_of("sessions") as other:
        ender = threading.Thread(target=end)
        ender.start()
        _, error = fail(apply=True)
        ender.join()
    assert "canceling statement due to user request" in str(error)
    assert {row[0] for row in catalogue(database)} == names() - {"desk_sessions_external_id"}


# The schema of pg_trgm


def test_the_search_uses_an_index_whose_operators_live_elsewhere(empty_database, monkeypatch):
    create_agent_tables(empty_database, SCHEMA)
    write_demo(empty_database, count=30)
    empty_database.execute("CREATE SCHEMA extensions; CREATE EXTENSION pg_trgm SCHEMA extensions")
    for alias in ("agents", "agents_write"):
        options(monkeypatch, alias, f"-c search_path={SCHEMA}")
    assert f"SET search_path TO {SCHEMA}, extensions;" in run()
    run(apply=True)
    assert state.ready() == names()
    with connections["agents"].cursor() as cursor:
        cursor.execute("SHOW search_path")
        assert cursor.fetchone() == (SCHEMA,)
        cursor.execute("SET enable_seqscan = off")
    plan = ChatMessage.objects.filter(content__holds=terms("refund")).explain()
    assert "Bitmap Index Scan on desk_chat_messages_content" in plan


def test_pg_trgm_goes_to_public_rather_than_beside_the_tables(empty_database, monkeypatch):
    create_agent_tables(empty_database, SCHEMA)
    for alias in ("agents", "agents_write"):
        options(monkeypatch, alias, f"-c search_path={SCHEMA}")
    assert "The extension pg_trgm was created." in run(apply=True)
    query = "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pg_trgm'"
    assert empty_database.execute(query).fetchone() == ("public",)
    assert state.ready() == names()


def test_without_public_pg_trgm_goes_beside_the_tables(empty_database, monkeypatch):
    create_agent_tables(empty_database, SCHEMA)
    empty_database.execute("DROP SCHEMA public")
    for alias in ("agents", "agents_write"):
        options(monkeypatch, alias, f"-c search_path={SCHEMA}")
    assert "    CREATE EXTENSION IF NOT EXISTS pg_trgm;\n" in run()
    run(apply=True)
    assert state.ready() == names()


# Removing


def test_drop_removes_only_our_indexes(database):
    run(apply=True)
    database.execute("CREATE INDEX desk_other ON tasks (name)")
    said = run(drop=True)
    assert said.count(": removed\n") == len(names())
    assert [row[0] for row in catalogue(database)] == ["desk_other"]
    assert database.execute("SELECT FROM pg_extension WHERE extname = 'pg_trgm'").fetchall()
    assert state.ready() == frozenset()
    assert run(drop=True) == "None of our indexes exist.\n"


# The local database


def test_the_local_database_has_the_indexes_from_the_start(database):
    out = io.StringIO()
    serve.Command(stdout=out).build_indexes()
    assert out.getvalue() == ""
    assert state.ready() == names()


def test_the_site_starts_without_the_indexes_too(database):
    database.execute(agent_indexes.ALONE)
    out = io.StringIO()
    serve.Command(stdout=out).build_indexes()
    assert out.getvalue() == (
        "Searches cover less of the past: "
        "Another agent_indexes is already running in this database.\n"
    )


@pytest.mark.parametrize("returncode", [130, 143])
def test_ctrl_c_during_the_build_stops_the_start(monkeypatch, returncode):
    def stopped(*arguments, **options):
        raise CommandError("Stopped.", returncode=returncode)

    monkeypatch.setattr(serve, "call_command", stopped)
    with pytest.raises(CommandError, match="Stopped"):
        serve.Command().build_indexes()
