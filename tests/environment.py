"""
Loaded before the settings: tests run on the local PostgreSQL, whatever .env or the shell say.

A name that is set, though empty, is not taken from .env.
"""

import os

for name in (
    "ALLOWED_HOSTS",
    "DATABASE_POOL_SIZE",
    "DATABASE_URL",
    "DEBUG",
    "KAVALAI_DB_READ_ONLY",
    "KAVALAI_DB_REPLICA_URI",
    "KAVALAI_DB_SCHEMA",
    "KAVALAI_DB_URI",
    "KAVALAI_DB_WRITE_URI",
    "SECRET_KEY",
    "STATEMENT_TIMEOUT_SECONDS",
    "TIME_ZONE",
):
    os.environ[name] = ""
