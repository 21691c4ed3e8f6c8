"""
What figures over time should be, by SQL on the agent database that shares nothing with the rollup,
and what the tables of the overview have.
"""

from collections import defaultdict

import pytest
from django.db import connections

from conversations import prices
from conversations.agentdb import revision
from overview.models import Activity, Cell, Changed, Fact, Stale
from overview.percentiles import percentile
from overview.quarters import kept_since
from overview.rollup.passes import Pass
from overview.usage import money

BINS = {
    "quarter": "date_bin('15 minutes', {}, timestamptz '2000-01-01T00:00Z')",
    "day": "date_trunc('day', {}, 'UTC')",
}
COUNTED = "{} >= timestamptz '2000-01-01Z' AND {} < timestamptz '2100-01-01Z'"
HAS_OUTPUT = "coalesce(jsonb_typeof(output_data), 'null') <> 'null'"
SAID = """EXISTS (
    SELECT FROM chat_messages m
    WHERE m.session_id = runs.session_id AND m.run_id = runs.id AND m.role = 'assistant'
)"""
ALIVE = """(
    greatest(
        updated_at,
        (SELECT max(t.updated_at) FROM tasks t WHERE t.run_id = runs.id),
        (SELECT max(c.updated_at) FROM model_call_stats c WHERE c.run_id = runs.id)
    ) > now() - interval '15 minutes'
)"""
IS_TASK_ERROR = """(
    CASE jsonb_typeof(errors)
        WHEN 'array' THEN jsonb_array_length(errors) > 0
        WHEN 'null' THEN false
        ELSE errors IS NOT NULL
    END
)"""
IS_TOOL_ERROR = """(
    coalesce(node_type = 'tool_call' AND substr(output ->> 'result', 1, 6) = 'Error:', false)
)"""
UNANSWERED = "status IN ('failed', 'interrupted', 'incomplete')"
IS_MODEL_ERROR = "coalesce(response_code, 500) >= 400"
LIKELY = "duration_seconds >= 0 AND duration_seconds <= 1e9"


def run_sql(query: str) -> list[tuple]:
    with connections["agents"].cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def runs_sql() -> str:
    """Runs with their agent, status and end."""
    status = f"CASE WHEN {HAS_OUTPUT} THEN 'completed' ELSE 'incomplete' END"
    ended = "NULL::timestamptz"
    if revision.has_run_durations():
        status = f"""CASE WHEN {HAS_OUTPUT} OR {SAID} THEN 'completed'
            WHEN duration_seconds IS NOT NULL THEN 'failed'
            WHEN {ALIVE} THEN 'running' ELSE 'interrupted' END"""
        ended = f"""CASE WHEN {LIKELY} THEN created_at
            + round(duration_seconds * 1000000)::bigint * interval '1 microsecond' END"""
    return f"""(
        SELECT runs.*, {status} AS status, {ended} AS ended,
            (SELECT agent_id FROM sessions WHERE sessions.id = runs.session_id) AS agent_id
        FROM runs
    ) AS run"""


def of_session(table: str) -> str:
    return (
        f"(SELECT x.*, s.agent_id AS agent FROM {table} x JOIN sessions s ON s.id = x.session_id)"
    )


def expected_cells(grain: str) -> dict[tuple, dict]:
    """{(agent or None, start): figures}; durations as (how many, microseconds, [p50, p95])."""
    cells = defaultdict(lambda: defaultdict(dict))

    def fill(name, source, where="true", at="created_at", agent="agent", value="count(*)", by=""):
        columns = f"{agent}, {BINS[grain].format(at)}, {by or 'max(NULL::text)'}"
        sets = "((1, 2, 3), (2, 3))" if by else "((1, 2), (2))"
        rows = run_sql(
            f"SELECT {columns}, grouping({agent}), {value} FROM {source}"
            f" WHERE {where} AND {COUNTED.format(at, at)} GROUP BY GROUPING SETS {sets}"
        )
        for owner, start, key, all_agents, *found in rows:
            if owner is None and not all_agents:
                # Calls of no agent are in the cell of all of them.
                continue
            figure = found[0] if len(found) == 1 else tuple(found)
            cell = cells[owner, start]
            if by:
                cell[name][key] = figure
            else:
                cell[name] = figure

    micro = "round(duration_seconds * 1000000)::bigint"
    likely = f"FILTER (WHERE {LIKELY})"
    durations = (
        f"count(*) {likely}, coalesce(sum({micro}) {likely}, 0)::bigint,"
        f" percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY {micro}) {likely}"
    )
    messages, tasks = (f"{of_session(table)} AS x" for table in ("chat_messages", "tasks"))
    runs = {"source": runs_sql(), "agent": "agent_id"}
    calls = {"source": "model_call_stats", "agent": "agent_id"}
    fill("messages", messages)
    fill("runs", **runs)
    fill("problems", **runs, where=UNANSWERED, by="status")
    if revision.has_run_durations():
        answered = "status = 'completed' AND ended IS NOT NULL"
        fill("ended", **runs, at="ended")
        fill("answers", **runs, where=answered, at="ended", value=durations)
    fill("tasks", tasks)
    for kind, condition in (("task_error", IS_TASK_ERROR), ("tool_error", IS_TOOL_ERROR)):
        fill("problems", tasks, where=condition, by=f"'{kind}'::text")
    errors = f"count(*) FILTER (WHERE {IS_TASK_ERROR} OR {IS_TOOL_ERROR})"
    of_names = {"by": "coalesce(name, '')", "value": f"count(*), {errors}, {durations}"}
    fill("tools", tasks, where="node_type = 'tool_call'", **of_names)
    fill("nodes", tasks, where="node_type IS DISTINCT FROM 'tool_call'", **of_names)
    fill("calls", **calls)
    fill("problems", **calls, where=IS_MODEL_ERROR, by="'model_error'::text")
    errors = f"count(*) FILTER (WHERE {IS_MODEL_ERROR})"
    fill("model_calls", **calls, by="model", value=f"count(*), {errors}, {durations}")
    return {place: plain(cell) for place, cell in cells.items()}


def plain(cell: dict) -> dict:
    return {name: dict(value) if isinstance(value, dict) else value
            for name, value in cell.items() if value}  # fmt: skip


def durations_of(found: dict) -> tuple:
    if "timed" not in found:
        return 0, 0, None
    percentiles = [percentile(found["bins"], percent) * 1_000_000 for percent in (50, 95)]
    return found["timed"], found.get("microseconds", 0), percentiles


def kept_cells(grain: str) -> dict[tuple, dict]:
    found = {}
    for cell in Cell.unlimited.filter(grain=grain):
        names = ("messages", "runs", "ended", "tasks", "calls", "problems")
        values = {name: getattr(cell, name) for name in names}
        if cell.answers:
            values["answers"] = durations_of(cell.answers)
        for name in ("nodes", "tools", "model_calls"):
            values[name] = {
                key: (rows["count"], rows.get("errors", 0), *durations_of(rows))
                for key, rows in getattr(cell, name).items()
            }
        assert (cell.agent_id, cell.starts) not in found
        found[cell.agent_id, cell.starts] = plain(values)
    return found


def nearly(value):
    """Equal, but for percentiles, which are lists and may be 0.5% off."""
    if isinstance(value, dict):
        return {key: nearly(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(map(nearly, value))
    if isinstance(value, list):
        return pytest.approx([float(each) for each in value], rel=0.005 + 1e-9, abs=1)
    return value


def assert_cells_are_right():
    for grain in BINS:
        expected, kept = expected_cells(grain), kept_cells(grain)
        if grain == "quarter":
            since = kept_since()
            expected = {place: cell for place, cell in expected.items() if place[1] >= since}
        assert kept.keys() ^ expected.keys() == set(), grain
        for place, cell in kept.items():
            assert cell == nearly(expected[place]), (grain, place)


# Conversations


def expected_conversations() -> dict:
    """{session: (agent, kinds of problem, outcome, seconds to an answer)}"""
    found = {
        pk: [agent, set(), "", None] for pk, agent in run_sql("SELECT id, agent_id FROM sessions")
    }
    letters = defaultdict(str)
    query = f"""
        SELECT session_id, status, {HAS_OUTPUT} OR {SAID.replace("runs.", "run.")},
            ended - created_at
        FROM {runs_sql()} ORDER BY created_at, id
    """
    for pk, status, answered, took in run_sql(query):
        letters[pk] += "a" if answered else "r" if status == "running" else "u"
        if status not in ("completed", "running"):
            found[pk][1].add(status)
        if status == "completed" and "first" not in found[pk][2]:
            found[pk][2:] = ["first", took and took.total_seconds()]
    spoken = {pk for (pk,) in run_sql("""
        SELECT session_id FROM chat_messages m WHERE role = 'assistant' AND run_id IS NULL
        AND NOT EXISTS (
            SELECT FROM runs r WHERE r.session_id = m.session_id AND r.created_at >= m.created_at
        )
    """)}  # fmt: skip
    for pk, row in found.items():
        row[2] = outcome_of(letters[pk], pk in spoken)
    failing = {"task_error": ("tasks", IS_TASK_ERROR), "tool_error": ("tasks", IS_TOOL_ERROR)}
    if revision.has_model_call_links():
        failing["model_error"] = ("model_call_stats", IS_MODEL_ERROR)
    for kind, (table, condition) in failing.items():
        for (pk,) in run_sql(f"SELECT DISTINCT session_id FROM {table} WHERE {condition}"):
            if pk in found:
                found[pk][1].add(kind)
    return {pk: tuple(row) for pk, row in found.items()}


def outcome_of(letters: str, spoken: bool) -> str:
    if not letters:
        return ""
    if "r" in letters:
        return "waiting"
    if "u" not in letters:
        return "answered"
    return "later" if spoken or letters[-1] == "a" else "none"


def assert_facts_are_right():
    kept = {
        fact.pk: (fact.agent_id, set(fact.problems), fact.outcome, fact.answer_seconds)
        for fact in Fact.unlimited.all()
    }
    assert kept == expected_conversations()
    people = "SELECT count(DISTINCT external_id) FROM sessions WHERE external_id NOT LIKE 'eval:%'"
    [[expected]] = run_sql(people)
    assert Fact.unlimited.exclude(person=None).values("person").distinct().count() == expected
    if revision.has_model_call_links():
        assert_tokens_are_right()


def assert_tokens_are_right():
    calls_of = prices.calls_of_session("sessions.id")
    for pk, calls in run_sql(f"SELECT id, {calls_of} FROM sessions"):
        used = prices.used(prices.by_model(calls or []))
        tokens = Fact.unlimited.get(pk=pk).tokens
        assert sum(each.get("tokens", 0) for each in tokens.values()) == used.tokens
        paid = money(tokens)
        if used.cost:
            assert (paid.amount, paid.at_least) == (used.cost.amount, used.cost.at_least)
        else:
            assert paid.unpriced


def problems_sql() -> str:
    """Everything that failed: (session_id, created_at, kind)."""
    found = [f"SELECT session_id, created_at, status FROM {runs_sql()} WHERE {UNANSWERED}"]
    for kind, condition in (("task_error", IS_TASK_ERROR), ("tool_error", IS_TOOL_ERROR)):
        found.append(f"SELECT session_id, created_at, '{kind}' FROM tasks WHERE {condition}")
    if revision.has_model_call_links():
        found.append(
            "SELECT session_id, created_at, 'model_error' FROM model_call_stats c"
            f" WHERE {IS_MODEL_ERROR}"
            " AND EXISTS (SELECT FROM sessions s WHERE s.id = c.session_id)"
        )
    return f"({' UNION '.join(found)}) AS problem (session_id, created_at, kind)"


def assert_activity_is_right():
    """Which conversations were active in each quarter, and in which something failed there."""
    at = BINS["quarter"].format("created_at")
    counted = COUNTED.format("created_at", "created_at")
    active = set(run_sql(f"""
        SELECT session_id, {at} FROM chat_messages WHERE {counted}
        UNION SELECT session_id, {at} FROM runs WHERE {counted}
    """))  # fmt: skip
    rows = Activity.unlimited.all()
    kept = {(row.session_id, row.starts) for row in rows if row.messages or row.runs}
    assert kept == active
    expected = set(run_sql(f"SELECT session_id, {at}, kind FROM {problems_sql()} WHERE {counted}"))
    assert {(row.session_id, row.starts, kind) for row in rows for kind in row.problems} == expected


def assert_figures_are_right():
    assert_facts_are_right()
    assert_activity_is_right()
    assert_cells_are_right()


def everything_kept() -> dict:
    """All that the overview's tables hold, but for ids of rows."""
    return {
        "facts": sorted(Fact.unlimited.values_list(), key=str),
        "activities": sorted(Activity.unlimited.values_list(), key=str),
        "cells": sorted((row[1:] for row in Cell.unlimited.values_list()), key=str),
    }


def roll_up():
    Pass(wait=True).run()
    assert not Stale.objects.exists()
    assert not Changed.objects.exists()
    assert_figures_are_right()
