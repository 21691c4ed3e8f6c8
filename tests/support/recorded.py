"""Databases that the real runtime wrote, if they are next to the project."""

import gzip
import io
from pathlib import Path

import psycopg
from django.conf import settings

RECORDED = settings.BASE_DIR.parent / "shared" / "recorded"


def load(dump: Path, connection: psycopg.Connection):
    """Run a plain pg_dump, whose data are COPY blocks, without psql."""
    statement: list[str] = []
    lines = io.StringIO(gzip.decompress(dump.read_bytes()).decode(), newline="\n")
    for line in lines:
        if line.startswith(("--", "\\")) or not (statement or line.strip()):
            continue
        statement.append(line)
        if not line.rstrip().endswith(";"):
            continue
        sql, statement = "".join(statement), []
        if not sql.startswith("COPY "):
            connection.execute(sql)
            continue
        with connection.cursor().copy(sql) as copy:
            for row in lines:
                if row == "\\.\n":
                    break
                copy.write(row)
