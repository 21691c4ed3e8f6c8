"""The SQL that distributes the agent runtime's tables over the workers of a Citus cluster."""

from pathlib import Path

from psycopg import sql

DDL = Path(__file__).with_suffix(".sql")


def distribution_sql(schema: str, shards: int) -> str:
    """For psql, on the coordinator; the tables are in `schema`."""
    return (
        sql.SQL(DDL.read_text())
        .format(schema=sql.Identifier(schema), shards=sql.Literal(shards))
        .as_string()
    )
