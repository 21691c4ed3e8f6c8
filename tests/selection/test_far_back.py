"""Filters by when something happened, compared with plain SQL, where it was over long ago."""

import random
import re
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError, connections
from django.http import QueryDict
from psycopg.errors import QueryCanceled

from conversations.models import Session
from conversations.selection import conditions, find
from conversations.selection.filters import ConversationFilter
from conversations.selection.pagination import Cursor

from ..support.factories import (
    NULL,
    Json,
    make_agent,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..support.histories import build_indexes
from ..support.listing import be_patient
from ..support.tables import sql

pytestmark = pytest.mark.django_db
FIRST = datetime(2026, 6, 1, tzinfo=UTC)
DAYS = 40
PAGE = 8
# {kind of problem: SQL for when it happened, in the session s}
HAPPENED = {
    "failed": """
        SELECT created_at FROM runs r WHERE session_id = s.id
        AND coalesce(output_data, 'null') = 'null' AND duration_seconds IS NOT NULL
        AND NOT EXISTS (SELECT FROM chat_messages m WHERE m.run_id = r.id AND role = 'assistant')
    """,
    "model_error": "SELECT created_at FROM model_call_stats WHERE session_id = s.id"
    " AND coalesce(response_code, 999) >= 400",
}
ACTIVE = """
    SELECT created_at FROM chat_messages WHERE session_id = s.id UNION ALL
    SELECT created_at FROM runs WHERE session_id = s.id
"""
NO_REASON = """
    SELECT created_at FROM runs r WHERE session_id = s.id
    AND coalesce(output_data, 'null') = 'null'
    AND NOT EXISTS (SELECT FROM chat_messages m WHERE m.run_id = r.id AND role = 'assistant')
    AND NOT EXISTS (SELECT FROM model_call_stats c WHERE c.run_id = r.id
                    AND coalesce(response_code, 999) >= 400)
"""
STEP = "SELECT created_at FROM tasks WHERE session_id = s.id AND name = 'rare'"
TOLD = "some-model: 500: gone"
# (filters without dates, the names of their dates, SQL for when it happened, more SQL)
CASES = [
    ({}, "active", ACTIVE, ""),
    ({"evals": "hidden"}, "active", ACTIVE, "AND coalesce(external_id, '') NOT LIKE 'eval:%'"),
    ({"problem": "failed"}, "problem", HAPPENED["failed"], ""),
    ({"problem": "model_error"}, "problem", HAPPENED["model_error"], ""),
    ({}, "problem", " UNION ALL ".join(HAPPENED.values()), ""),
    ({"error": "no reason was recorded"}, "problem", NO_REASON, ""),
    ({"error": TOLD}, "problem", HAPPENED["model_error"], ""),
    ({"node": "rare"}, "step", STEP, ""),
    ({"problem": "failed"}, "active", ACTIVE, f"AND EXISTS ({HAPPENED['failed']})"),
    (
        {"outcome": "none"},
        "active",
        ACTIVE,
        """AND (SELECT (array_agg(
            coalesce(output_data, 'null') = 'null' AND NOT EXISTS (
                SELECT FROM chat_messages m WHERE m.run_id = r.id AND role = 'assistant')
            ORDER BY created_at DESC, id DESC))[1] FROM runs r WHERE session_id = s.id)""",
    ),
]


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch):
    be_patient(monkeypatch)
    monkeypatch.setattr(find, "FIRST_LOOK", 7)
    monkeypatch.setattr(find, "WORTH_WALKING", 0)
    monkeypatch.setattr(find, "WORTH_COLLECTING", 0)
    monkeypatch.setattr(conditions, "QUICK_PROBES", 7)
    monkeypatch.setattr(conditions.Condition.__init__, "__defaults__", (7, (), (), None, None))


@pytest.fixture(autouse=True)
def _history():
    """Some last long, some are imported: all of it happened before they began."""
    chance = random.Random(5)
    agent = make_agent()
    for number in range(150):
        ended = FIRST + timedelta(hours=chance.randrange(DAYS * 8) * 3)
        lasted = timedelta(hours=chance.choice([0, 1, 1, 2, 20 * 24]))
        imported = timedelta(days=chance.randrange(1, 30)) if number % 5 == 0 else timedelta()
        session = make_session(
            agent,
            external_id=chance.choice([None, "eval:a", "user-1"]),
            created_at=ended - lasted,
            updated_at=ended,
        )
        for _ in range(chance.randrange(4)):
            add_run(chance, session, ended - chance.random() * lasted - imported)


def add_run(chance, session, at):
    failed = chance.random() < 0.3
    run = make_run(session, created_at=at, output_data=NULL if failed else Json("Hi"))
    late = at + timedelta(minutes=chance.randrange(300))
    role = "assistant" if chance.random() < 0.2 else "user"
    make_message(session, role, run_id=run.id, created_at=late)
    if chance.random() < 0.4:
        make_model_call(session, run, response_code=500, response_data=Json("gone"), created_at=at)
    if chance.random() < 0.3:
        make_task(run, session, "rare", created_at=at)


def between(at: str, since: datetime | None, until: datetime) -> str:
    more = f"AND {at} >= '{since}'" if since else ""
    return f"{at} < '{until}' {more}"


def expected(happened: str, more: str, since, until) -> list[Cursor]:
    found = sql(
        f"SELECT updated_at, id FROM sessions s WHERE EXISTS (SELECT FROM ({happened}) AS h"
        f" WHERE {between('created_at', since, until)}) {more} ORDER BY 1 DESC, 2 DESC"
    )
    return [Cursor(*row) for row in found]


def matching(filters: dict, names: str, since, until):
    data = QueryDict(mutable=True)
    data.update({**filters, "tz": "UTC", f"{names}_until": until.isoformat()})
    if since:
        data[f"{names}_from"] = since.isoformat()
    found = ConversationFilter(data, queryset=Session.objects.all())
    assert found.is_valid(), found.errors
    return found.matching


def pages(filters, names, since, until) -> list[Cursor]:
    """All rows, page after page."""
    cursor, seen = None, []
    while True:
        more, reached = find.find(matching(filters, names, since, until), cursor, PAGE, 60)
        assert reached is None
        seen += more
        if len(more) < PAGE:
            return seen
        cursor = more[-1]


@contextmanager
def looked_around(monkeypatch):
    """Yields what look_around() found each time."""
    given, look_around = [], find.look_around

    def spied(*args):
        given.append(look_around(*args))
        return given[-1]

    with monkeypatch.context() as patch:
        patch.setattr(find, "look_around", spied)
        yield given


@pytest.mark.parametrize(("filters", "names", "happened", "more"), CASES, ids=range(len(CASES)))
@pytest.mark.parametrize("long", [None, timedelta(days=5)])
def test_pages_are_those_of_plain_sql(monkeypatch, filters, names, happened, more, long):
    build_indexes()
    found = 0
    with looked_around(monkeypatch) as given:
        for day in range(-20, DAYS + 5, 9):
            until = FIRST + timedelta(days=day)
            since = long and until - long
            wanted = expected(happened, more, since, until)
            assert pages(filters, names, since, until) == wanted, until
            found += len(wanted)
    assert found
    # Problems within a period are collected, and so are runs without a reason.
    is_collected = happened == NO_REASON or (names == "problem" and long is not None)
    assert bool(given) != is_collected
    assert None not in given


IMPORTED = "AND created_at > '{}' AND updated_at > '{}'"


def test_imported_conversations_are_among_the_others(monkeypatch):
    build_indexes()
    until = FIRST + timedelta(days=15)
    late = expected(ACTIVE, IMPORTED.format(until, until), None, until)
    with looked_around(monkeypatch) as given:
        found = pages({}, "active", None, until)
    assert given
    assert len(late) > 3
    places = [found.index(place) for place in late]
    assert places != list(range(len(late)))


def test_without_the_index_on_lifetimes_everything_is_collected(monkeypatch):
    build_indexes(lambda index: "lifetime" not in index.name)
    until = FIRST + timedelta(days=15)
    with looked_around(monkeypatch) as given:
        assert pages({}, "active", None, until) == expected(ACTIVE, "", None, until)
    assert given == []


def test_what_began_later_is_collected(monkeypatch):
    build_indexes()
    until = FIRST + timedelta(days=15)
    later = {"start_date": (until + timedelta(days=1)).isoformat()}
    wanted = expected(ACTIVE, f"AND created_at >= '{later['start_date']}'", None, until)
    assert wanted
    with looked_around(monkeypatch) as given:
        assert pages(later, "active", None, until) == wanted
    assert given == []


# What the statements on each of the three parts contain: those that were going on, those that had
# ended, those that were imported.
PARTS = {
    "going on": r"@>",
    "ended": r'"sessions"."updated_at" < %s(?! OR)(?! ORDER)',
    "imported": r'"sessions"."created_at" > ',
}


@pytest.mark.parametrize("part", PARTS)
def test_if_a_part_takes_too_long_the_search_goes_on_from_the_newest(monkeypatch, part):
    build_indexes()
    until = FIRST + timedelta(days=15)
    stopped = []

    def wrapper(execute, sql, params, many, context):
        if re.search(PARTS[part], sql) and "EXPLAIN" not in sql:
            stopped.append(sql)
            raise OperationalError from QueryCanceled()
        return execute(sql, params, many, context)

    with (
        looked_around(monkeypatch) as given,
        connections["agents"].execute_wrapper(wrapper),
    ):
        assert pages({}, "active", None, until) == expected(ACTIVE, "", None, until)
    assert stopped
    assert set(map(str, given)) == {"None"}
