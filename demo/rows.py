"""Rows for the runtime's tables, kept in memory and then written with COPY."""

import json
import uuid
from datetime import timedelta

from psycopg import sql

COLUMNS = {
    "agents": "id name description input_schema output_schema workflow",
    "sessions": "id agent_id external_id",
    "runs": "id session_id input_data output_data context duration_seconds",
    "tasks": "id agent_id session_id run_id inputs output name node_type prompt errors"
    " duration_seconds seq parent_task_name tool_uri",
    "chat_messages": "id agent_id session_id run_id role content",
    "model_call_stats": "id call_type model agent_id session_id run_id request_data"
    " response_data response_code prompt_tokens completion_tokens total_tokens"
    " cached_prompt_tokens reasoning_tokens duration_seconds",
}


def as_json(value):
    """The value as JSON text. None becomes JSON null; for SQL NULL, use None without this."""
    return json.dumps(value, ensure_ascii=False)


class Rows:
    def __init__(self, rng):
        self.rng = rng
        self.tables = {table: [] for table in COLUMNS}

    def new_id(self):
        return uuid.UUID(int=self.rng.getrandbits(128), version=4)

    def add(self, table, created_at, updated_at=None, **values):
        """Keep a row; `updated_at` defaults to some microseconds later, like the ORM's default."""
        values.setdefault("id", self.new_id())
        updated_at = updated_at or created_at + timedelta(microseconds=self.rng.randint(2, 12))
        row = [values.pop(column, None) for column in COLUMNS[table].split()]
        if values:
            raise TypeError(f"{table} has no column {', '.join(values)}")
        self.tables[table].append([*row, created_at, updated_at])

    def copy(self, connection):
        """Write everything in one transaction, parents before children."""
        if not connection.autocommit:
            # Make sure that a transaction is open. Otherwise transaction() would be the outermost
            # block and would commit, which is up to the caller.
            connection.execute("SELECT 1")
        with connection.transaction(), connection.cursor() as cursor:
            for table, rows in self.tables.items():
                names = [*COLUMNS[table].split(), "created_at", "updated_at"]
                statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
                    sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, names))
                )
                with cursor.copy(statement) as copy:
                    for row in rows:
                        copy.write_row(row)
