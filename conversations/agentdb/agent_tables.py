"""Creates the agent runtime's tables where there is no runtime: locally and in tests."""

from pathlib import Path

import psycopg
from psycopg import sql

DDL = Path(__file__).with_suffix(".sql")


def create_agent_tables(connection: psycopg.Connection, schema: str = "") -> bool:
    """Create them at revision 0006 if `agents` is missing; True if this call created them."""
    if schema:
        name = sql.Identifier(schema)
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
        connection.execute(sql.SQL("SET search_path TO {}").format(name))
    if connection.execute("SELECT to_regclass('agents')").fetchone()[0]:
        return False
    connection.execute(DDL.read_text())
    return True
