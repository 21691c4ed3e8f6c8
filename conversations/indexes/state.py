"""Which of our indexes this database has, and whether they are usable."""

from dataclasses import dataclass

from django.db import connections

from privacy import masking

from ..agentdb import revision
from ..agentdb.process_cache import CachedForAMinute
from ..problems import kinds
from .catalogue import Index, indexes

STATES = """
    SELECT i.relname, x.indisvalid,
           coalesce((SELECT sum(pg_relation_size(relid))::bigint FROM pg_partition_tree(i.oid)),
                    pg_relation_size(i.oid)),
           coalesce(obj_description(i.oid, 'pg_class'), '')
    FROM pg_class t JOIN pg_index x ON x.indrelid = t.oid JOIN pg_class i ON i.oid = x.indexrelid
    WHERE t.relname = ANY(%s) AND t.oid = to_regclass(quote_ident(t.relname))
      AND i.relname LIKE 'desk\\_%%'
"""


@dataclass(frozen=True)
class State:
    """One of our indexes as it is in the database; `size` in bytes, None if workers have it."""

    valid: bool
    size: int | None
    comment: str

    def serves(self, index: Index) -> bool:
        return self.valid and index.digest in self.comment


def states(alias: str = "agents") -> dict[str, State]:
    """{name: state} of every index whose name begins with desk_; runs a query each time."""
    tables = sorted({kind.table for kind in kinds.KINDS} | {"sessions", "chat_messages"})
    with connections[alias].cursor() as cursor:
        cursor.execute(STATES, [tables])
        return {
            name: State(valid, None if revision.is_distributed() else size, masking.raw(comment))
            for name, valid, size, comment in cursor.fetchall()
        }


@CachedForAMinute
def ready() -> frozenset[str]:
    """Names of our usable indexes; a running site notices new ones."""
    there = states()
    wanted = ((index, there.get(index.name)) for index in indexes())
    return frozenset(index.name for index, state in wanted if state and state.serves(index))


# For tests, and for the command that builds and drops indexes.
forget = ready.forget


def is_ready(name: str) -> bool:
    return name in ready()
