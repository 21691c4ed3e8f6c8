"""On a history of a realistic size, each filter and search uses the index that is meant for it."""

import json
import os
import uuid
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from django.conf import settings
from django.db import connections
from django.http import QueryDict

from bench import history
from conversations.agentdb.agent_tables import create_agent_tables
from conversations.indexes import catalogue, state
from conversations.models import Session
from conversations.selection import conditions, find
from conversations.selection.filters import ConversationFilter
from conversations.selection.pagination import Cursor

from ..support.admin_panel import list_url
from ..support.deployment import create_anew
from ..support.listing import COUNTS, NEW, be_patient
from ..support.pages import LIST
from ..support.tables import TABLES

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.xdist_group("query_plans")]
NEWEST_FIRST = 'ORDER BY 1 DESC, "sessions"."id" DESC'
# All statements that look for conversations.
PAGE = 'SELECT "sessions"."updated_at" AS "updated_at", "sessions"."id" AS "pk"'
NAME = f"plans_{os.getpid()}"
SCHEMA = "agents"
SIZE = 20_000
BIG = {"sessions", "runs", "tasks", "chat_messages", "model_call_stats"}
# How many rows of a big table one query may read without an index.
FEW = 3_000


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    be_patient(monkeypatch)
    monkeypatch.setattr(settings, "STATEMENT_TIMEOUT_SECONDS", 600)


@pytest.fixture(scope="module")
def owner(django_db_setup, django_db_blocker):
    """A connection to a database of 20,000 conversations, which the site reads during the tests."""
    postgres = settings.LOCAL_POSTGRES
    create_anew(postgres, NAME)
    try:
        with psycopg.connect(postgres.uri(NAME)) as connection:
            create_agent_tables(connection, SCHEMA)
        history.write_history(postgres.uri(NAME), SCHEMA, SIZE)
        options = f"-c search_path={SCHEMA},public -c maintenance_work_mem=512MB"
        with (
            psycopg.connect(postgres.uri(NAME), autocommit=True, options=options) as connection,
            reading(NAME, django_db_blocker),
        ):
            for index in catalogue.indexes():
                connection.execute(index.create(concurrently=False))
                connection.execute(index.describe())
            # Plans must not depend on which rows a sample has, nor on whether autovacuum was there.
            connection.execute("SET default_statistics_target = 1000")
            connection.execute("VACUUM (ANALYZE)")
            assert len(state.ready()) == len(catalogue.indexes())
            connections["agents"].close()
            yield connection
    finally:
        with psycopg.connect(postgres.uri("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {NAME} WITH (FORCE)")


@contextmanager
def reading(name, blocker):
    """In the block, both aliases of the agent database connect to this database."""
    before = {alias: connections[alias] for alias in ("agents", "agents_write")}
    settled = {alias: dict(connections.settings[alias]) for alias in before}
    options = "-c search_path=agents -c jit=off -c max_parallel_workers_per_gather=0"
    for alias in before:
        connections.settings[alias]["NAME"] = name
        given = connections.settings[alias]["OPTIONS"]
        connections.settings[alias]["OPTIONS"] = {**given, "options": options}
        connections[alias] = connections.create_connection(alias)
    state.forget()
    try:
        with blocker.unblock():
            yield
    finally:
        for alias, connection in before.items():
            with blocker.unblock():
                connections[alias].close()
            connections[alias] = connection
            connections.settings[alias].update(settled[alias])
        state.forget()


@pytest.fixture
def without_indexes(owner):
    """In the block, our own indexes do not exist."""
    change = "UPDATE pg_index SET indisvalid = %s WHERE indexrelid::regclass::text LIKE 'desk\\_%%'"
    owner.execute(change, [False])
    state.forget()
    yield
    owner.execute(change, [True])
    state.forget()


class Plans:
    """The plans of some queries, which are run again with EXPLAIN."""

    def __init__(self, statements):
        self.nodes = []
        for sql, params in statements:
            with connections["agents"].cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
                [[plan]] = cursor.fetchall()
            found = json.loads(plan) if isinstance(plan, str) else plan
            self.nodes += self.walk(found[0]["Plan"])

    def walk(self, node):
        yield node
        for child in node.get("Plans", []):
            yield from self.walk(child)

    @property
    def indexes(self) -> set[str]:
        """The indexes that were used."""
        return {n["Index Name"] for n in self.nodes if "Index Name" in n and n["Actual Loops"]}

    @property
    def scanned(self) -> set[str]:
        """The big tables from which a query read more than a few rows without an index."""
        scans = [node for node in self.nodes if node["Node Type"] == "Seq Scan"]
        return {n["Relation Name"] for n in scans if self.rows(n) > FEW} & BIG

    @property
    def read(self) -> int:
        """The most rows of a big table read by one node of a plan, with or without an index."""
        return max(self.rows(node) for node in self.nodes if node.get("Relation Name") in BIG)

    @staticmethod
    def rows(node) -> float:
        removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
        each = node["Actual Rows"] + sum(node.get(name, 0) for name in removed)
        return each * node["Actual Loops"]


def ask(client, words, url=LIST, status=200, **filters) -> Plans:
    """The plans of a request's queries that contain these words."""
    statements = []

    def capture(execute, sql, params, many, context):
        if words in sql:
            statements.append((sql, params))
        return execute(sql, params, many, context)

    with connections["agents"].execute_wrapper(capture):
        response = client.get(url, filters)
    assert response.status_code == status
    assert statements, filters
    assert not (response.context or {}).get("reached")
    return Plans(statements)


@pytest.fixture
def collecting(monkeypatch):
    """After checking the newest ten, collect the conversations that meet a condition."""
    monkeypatch.setattr(find, "FIRST_LOOK", 10)
    monkeypatch.setattr(find, "WORTH_WALKING", 0)
    monkeypatch.setattr(find, "WORTH_COLLECTING", 0)
    monkeypatch.setattr(conditions, "QUICK_PROBES", 10)
    # The default for `probes`.
    monkeypatch.setattr(conditions.Condition.__init__, "__defaults__", (10, (), (), None, None))


@pytest.fixture
def known(owner):
    """A cursor and a day in the middle of the history, and the small agent."""
    place = owner.execute("SELECT updated_at, id FROM sessions ORDER BY 1 OFFSET 9000 LIMIT 1")
    cursor = Cursor(*place.fetchone())
    agent = owner.execute("SELECT id FROM agents WHERE name = %s", [history.SMALL_AGENT])
    return {"after": str(cursor), "day": cursor.updated_at.date(), "agent": agent.fetchone()[0]}


def index_on_sessions(known, mode):
    """(filters, index that finds the page) for the filters that need no other table."""
    day = known["day"]
    yield {}, "ix_sessions_updated_at"
    yield {"after": known["after"]}, "ix_sessions_updated_at"
    yield {"agent": known["agent"]}, "ix_sessions_agent_id_updated_at"
    yield {"evals": "hidden"}, "ix_sessions_updated_at"
    yield {"start_date": day}, "ix_sessions_updated_at"
    if mode == "ours":
        week = {"start_date": day, "end_date": day + timedelta(days=6)}
        yield week, "desk_sessions_created_at"
        yield {"end_date": day}, "desk_sessions_lifetime"
        yield {"end_date": day, "after": known["after"]}, "ix_sessions_updated_at"
        yield {"external_id": history.PREFIX}, "desk_sessions_external_id"
        yield {"external_id": "ticket-705"}, "desk_sessions_external_id"


PROBLEMS = {
    "failed": "desk_runs_failed",
    "running": "desk_runs_unfinished",
    "interrupted": "desk_runs_unfinished",
    "model_error": "desk_model_call_stats_model_error",
    "tool_error": "desk_tasks_tool_error",
    "task_error": "desk_tasks_task_error",
}
MESSAGES = "desk_chat_messages_content"
WORDS = {
    MESSAGES,
    "desk_model_call_stats_model_error_words",
    "desk_tasks_tool_error_words",
    "desk_tasks_task_error_words",
}
OFFLINE = "restart_device: device SN-… is offline"


# With our indexes


def test_a_page_is_found_with_an_index_that_reads_little_else(owner, known, support_client):
    for filters, index in index_on_sessions(known, "ours"):
        plans = ask(support_client, PAGE, **filters)
        assert index in plans.indexes, filters
        assert plans.read < FEW, filters


def test_a_range_of_dates_far_back_never_walks_through_what_came_after_it(owner, known):
    day = f"{known['day'] - timedelta(days=200)}"
    data = QueryDict(f"end_date={day}&evals=hidden")
    matching = ConversationFilter(data, queryset=Session.objects.all()).matching
    late = next(matching.parts(None))
    with connections["agents"].cursor() as cursor:
        # As if the planner expected so many matches that following the list's order pays.
        cursor.execute("SET enable_sort = off")
        plans = [rows[:51].explain() for rows in (late.newest_first(), late.oldest_first())]
        cursor.execute("RESET enable_sort")
    for plan in plans:
        assert "desk_sessions_lifetime" in plan
        assert "Incremental Sort" not in plan


def test_the_newer_page_is_found_by_the_same_indexes(owner, known, support_client):
    upwards = 'ORDER BY 1 ASC, "sessions"."id" ASC LIMIT 51'
    before = {"before": known["after"]}
    week = {"end_date": known["day"] + timedelta(days=6)}
    for filters, index in (
        ({}, "ix_sessions_updated_at"),
        ({"agent": known["agent"]}, "ix_sessions_agent_id_updated_at"),
        ({"evals": "hidden"}, "ix_sessions_updated_at"),
        (week, "ix_sessions_updated_at"),
        ({"problem": "failed"}, "ix_sessions_updated_at"),
        ({"search": history.COMMON}, "ix_sessions_updated_at"),
    ):
        plans = ask(support_client, upwards, status=302, **before, **filters)
        assert index in plans.indexes, filters
        assert plans.read < FEW, filters
        assert plans.scanned == set(), filters
        # The few rows of a small agent are soon sorted.
        sorts = "Sort" in {node["Node Type"] for node in plans.nodes}
        assert not sorts or "agent" in filters, filters


def test_one_conversations_problems_are_found_with_their_index(owner, support_client):
    # There are so few task errors that statistics may miss them. Any index will do for those.
    for kind in PROBLEMS.keys() - {"task_error"}:
        plans = ask(support_client, NEWEST_FIRST, problem=kind)
        assert {PROBLEMS[kind], "ix_sessions_updated_at"} <= plans.indexes, kind
        assert plans.scanned == set(), kind


def test_problems_are_collected_with_their_index(owner, support_client, collecting):
    for kind, index in PROBLEMS.items():
        plans = ask(support_client, NEWEST_FIRST, problem=kind)
        assert {index, f"{index}_message"} & plans.indexes, kind
        # Hashing the sessions' keys is cheap, and the answers of failed runs are chat messages.
        assert plans.scanned <= {"sessions", "chat_messages"}, kind
    plans = ask(support_client, NEWEST_FIRST, problem="any")
    assert {PROBLEMS["failed"], PROBLEMS["tool_error"]} <= plans.indexes


def test_activity_is_collected_with_the_indexes_on_times(owner, known, support_client, collecting):
    for days in (0, 20):
        until = known["day"] + timedelta(days=days)
        dates = {"active_from": known["day"], "active_until": until}
        plans = ask(support_client, NEWEST_FIRST, **dates)
        assert {"desk_chat_messages_created_at", "desk_runs_created_at"} <= plans.indexes
        assert plans.scanned <= {"sessions"}


def test_what_several_filters_collect_is_read_once(owner):
    data = QueryDict(f"problem=failed&error={OFFLINE}")
    matching = ConversationFilter(data, queryset=Session.objects.all()).matching
    rows = Session.objects.filter(conditions.are_candidates_of(list(matching.conditions)))
    ways = ("hashjoin", "mergejoin", "material")
    with connections["agents"].cursor() as cursor:
        # As if the planner expected so few rows of one that looking again for each costs nothing.
        for way in ways:
            cursor.execute(f"SET enable_{way} = off")
        plans = Plans([rows.query.sql_with_params()])
        for way in ways:
            cursor.execute(f"RESET enable_{way}")
    loops = {
        node["Index Name"]: node["Actual Loops"] for node in plans.nodes if "Index Name" in node
    }
    assert loops.pop("sessions_pkey")
    assert set(loops) >= {"desk_runs_failed", "desk_tasks_tool_error_message"}
    assert set(loops.values()) == {1}


@pytest.mark.parametrize("word", [history.RARE, history.MISSING, history.ANCIENT])
def test_rare_words_are_collected_with_the_index_on_messages(owner, support_client, word):
    plans = ask(support_client, NEWEST_FIRST, search=word)
    assert MESSAGES in plans.indexes
    assert plans.scanned <= {"sessions"}
    assert "chat_messages" not in plans.scanned


@pytest.mark.parametrize("word", [history.COMMON, history.EVERYWHERE])
def test_common_words_are_found_among_the_newest(owner, support_client, word):
    plans = ask(support_client, NEWEST_FIRST, search=word)
    assert plans.indexes == {"ix_sessions_updated_at", "ix_chat_messages_session_id_created_at"}
    assert plans.read < FEW


def test_a_search_everywhere_uses_the_indexes_on_words(owner, support_client):
    for word in (history.RARE, history.MISSING):
        plans = ask(support_client, NEWEST_FIRST, search=word, scope="all")
        # The six task errors are read just as fast with another index on them.
        assert WORDS - {"desk_tasks_task_error_words"} <= plans.indexes
        assert plans.scanned <= {"sessions"}


def test_tool_names_are_found_in_a_few_steps_with_the_runtimes_index(owner, support_client):
    plans = ask(support_client, "min(tool_uri)", search=history.RARE, scope="all")
    assert plans.indexes == {"ix_tasks_tool_uri"}
    assert plans.read < 100


def test_one_error_is_collected_with_the_index_on_problem_messages(
    owner, support_client, collecting
):
    for filters in ({"error": OFFLINE}, {"error": OFFLINE, "problem": "tool_error"}):
        plans = ask(support_client, NEWEST_FIRST, **filters)
        assert "desk_tasks_tool_error_message" in plans.indexes
        assert plans.scanned <= {"sessions", "runs"}


def test_an_external_id_in_the_search_is_looked_up_with_an_index(owner, support_client):
    plans = ask(support_client, "left(btrim(", search=history.RARE)
    assert plans.indexes & {"desk_sessions_external_id", "ix_sessions_agent_id_external_id"}
    assert plans.scanned == set()


def test_problems_are_counted_with_their_indexes(owner, known, support_client):
    for filters in ({}, {"agent": known["agent"]}):
        plans = ask(support_client, "SELECT COUNT(*)", COUNTS, **filters)
        assert {index for kind, index in PROBLEMS.items() if kind != "task_error"} <= plans.indexes
        assert not plans.scanned & (BIG - {"sessions"})


def test_new_arrivals_read_only_what_is_new(owner, known, support_client):
    plans = ask(support_client, '"sessions"', NEW, since=known["after"])
    assert plans.indexes == {"ix_sessions_updated_at"}
    assert plans.read <= 101


def test_rows_only_read_their_own_data(owner, support_client):
    for words in ("first_message", "LATERAL", "strpos"):
        plans = ask(support_client, words, search=history.COMMON)
        assert plans.scanned == set()
        assert plans.read < FEW


def assert_panel_reads_little(owner, known, client, model, *, ours=True):
    session, external_id, agent = owner.execute(
        "SELECT id, external_id, agent_id FROM sessions WHERE external_id IS NOT NULL"
        " ORDER BY updated_at DESC OFFSET 5000 LIMIT 1"
    ).fetchone()
    run = owner.execute("SELECT id FROM runs WHERE session_id = %s", [session]).fetchone()[0]
    terms = ["", session, agent, known["agent"]]
    if ours or model != "session":
        # Other terms are searched for among the external ids: with the runtime's index for every
        # agent, or by reading the table.
        terms += [run, uuid.uuid4(), external_id]
    for term in terms:
        plans = ask(client, f'FROM "{TABLES[model]}"', list_url(model), q=term)
        assert plans.scanned == set(), term
        # No index orders an agent's tasks. Along the primary key, one in 200 is the agent's, and 50
        # are needed.
        bound = 5 * FEW if model == "task" and term in (agent, known["agent"]) else FEW
        assert plans.read <= bound, term


@pytest.mark.parametrize("model", ["session", "run", "task", "chatmessage", "modelcall"])
def test_the_admin_panel_reads_little_more_than_it_shows(owner, known, admin_client, model):
    assert_panel_reads_little(owner, known, admin_client, model)


# Without our indexes


@pytest.mark.parametrize("model", ["session", "run", "task", "chatmessage", "modelcall"])
def test_without_our_indexes_the_admin_panel_reads_little_more_than_it_shows(
    owner, known, without_indexes, admin_client, model
):
    assert_panel_reads_little(owner, known, admin_client, model, ours=False)


def test_without_our_indexes_a_page_is_found_with_the_runtimes(
    known, without_indexes, support_client
):
    for filters, index in index_on_sessions(known, "theirs"):
        plans = ask(support_client, NEWEST_FIRST, **filters)
        assert index in plans.indexes, filters
        assert not any(name.startswith("desk_") for name in plans.indexes)
        assert plans.read < FEW, filters


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({"problem": "failed"}, "ix_runs_session_id"),
        ({"problem": "model_error"}, "ix_model_call_stats_session_id"),
        ({"problem": "tool_error"}, "ix_tasks_session_id"),
        ({"search": history.EVERYWHERE}, "ix_chat_messages_session_id_created_at"),
        ({"search": history.MISSING}, "ix_chat_messages_session_id_created_at"),
        ({"error": OFFLINE}, "ix_tasks_session_id"),
    ],
)
def test_without_our_indexes_conversations_are_checked_one_by_one(
    without_indexes, support_client, filters, index
):
    plans = ask(support_client, NEWEST_FIRST, **filters)
    assert {index, "ix_sessions_updated_at"} <= plans.indexes
    assert plans.scanned == set()
    assert not any(name.startswith("desk_") for name in plans.indexes)
