"""
Builds one of our indexes on a partitioned table without blocking anyone. CONCURRENTLY works only on
partitions, so each partition gets its own index, which is then attached to the table's index.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from .catalogue import Index

# The partitions one level down, and whether each has its part of the index, whatever its name.
PARTITIONS = """
    SELECT quote_ident(n.nspname), quote_ident(t.relname), t.relkind = 'r', EXISTS (
        SELECT FROM pg_inherits part JOIN pg_index x ON x.indexrelid = part.inhrelid
        WHERE part.inhparent = to_regclass(quote_ident(%(index)s)) AND x.indrelid = t.oid
    )
    FROM pg_inherits h JOIN pg_class t ON t.oid = h.inhrelid JOIN pg_namespace n
        ON n.oid = t.relnamespace
    WHERE h.inhparent = to_regclass(quote_ident(%(table)s)) ORDER BY 1, 2
"""
# What an interrupted build left unattached: {name: whether it is valid}.
LEFT = """
    SELECT format('%%I.%%I', n.nspname, i.relname), x.indisvalid
    FROM pg_inherits h JOIN pg_index x ON x.indrelid = h.inhrelid
    JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace
    WHERE h.inhparent = to_regclass(quote_ident(%(table)s)) AND NOT i.relispartition
      AND i.relname ~ ('^' || %(index)s || '_[0-9a-f]{8}$')
"""


@dataclass(frozen=True)
class Partition:
    schema: str
    table: str
    # An ordinary table: neither partitioned itself nor foreign.
    plain: bool
    has_part: bool


@dataclass(frozen=True)
class Step:
    statement: str
    # It blocks others, so it must not take more than a moment.
    brief: bool


def partitions(cursor, index: Index) -> list[Partition]:
    cursor.execute(PARTITIONS, {"index": index.name, "table": index.table})
    return [Partition(*row) for row in cursor.fetchall()]


def left(cursor, table: str, name: str) -> dict[str, bool]:
    cursor.execute(LEFT, {"index": name, "table": table})
    return dict(cursor.fetchall())


def part_name(index: Index, partition: Partition) -> str:
    # The digest keeps us from attaching parts that an older version left behind.
    named = f"{partition.schema}.{partition.table} {index.digest}"
    return f"{index.name}_{hashlib.sha256(named.encode()).hexdigest()[:8]}"


def steps(cursor, index: Index, *, exists: bool) -> Iterator[Step]:
    """The remaining steps; `exists`: whether the table's index exists already."""
    found = partitions(cursor, index)
    made = left(cursor, index.table, index.name)
    if not exists:
        yield Step(f"CREATE INDEX {index.name} ON ONLY {index.table} {index.definition}", True)
    yield Step(index.describe(), True)
    for partition in found:
        if exists and partition.has_part:
            continue
        name = part_name(index, partition)
        whole = made.get(f"{partition.schema}.{name}")
        if whole is False:
            yield Step(f"DROP INDEX CONCURRENTLY {partition.schema}.{name}", False)
        if not whole:
            table = f"{partition.schema}.{partition.table}"
            create = f"CREATE INDEX CONCURRENTLY {name} ON {table} {index.definition}"
            yield Step(create, False)
        yield Step(f"ALTER INDEX {index.name} ATTACH PARTITION {partition.schema}.{name}", True)
