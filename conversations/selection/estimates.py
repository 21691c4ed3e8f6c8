"""What PostgreSQL's planner expects, which takes it a millisecond and reads no rows."""

import json

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import QuerySet

from ..access import agent_limits
from ..agentdb import compiled
from ..models import Session

# An index that somebody has just dropped is no error.
ENTRIES = """
    SELECT sum(reltuples) FROM pg_class
    WHERE oid IN (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)
"""


def expected_rows(rows: QuerySet) -> float:
    """How many rows there probably are, for choosing a plan. It may be far off."""
    try:
        statement, params = compiled.compiler(rows).as_sql()
    except EmptyResultSet:
        return 0
    # No user sees these numbers. A statement with EXPLAIN in front cannot be limited to agents.
    with agent_limits.lifted(), connections[rows.db].cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", params)
        [plan] = cursor.fetchone()
    [found] = json.loads(plan) if isinstance(plan, str) else plan
    return found["Plan"]["Plan Rows"]


def entries(indexes: tuple[str, ...]) -> float | None:
    """How many rows these indexes have together; None if PostgreSQL has not counted them."""
    with connections[Session.objects.db].cursor() as cursor:
        cursor.execute(ENTRIES, [list(indexes)])
        [found] = cursor.fetchone()
    return found if found and found > 0 else None
