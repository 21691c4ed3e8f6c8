"""Turns libpq URIs into entries of Django's DATABASES."""

import re
from typing import Any

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from .. import env
from .postgresql.connection import Connection

# For reading the agent database. JIT spent 2 s compiling a query of many subqueries that ran for
# 0.2 s. Without parallel workers, one user's search cannot take every processor.
READING = {
    "default_transaction_read_only": "on",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}


def quote_option(value: str) -> str:
    """Quote a value for libpq's `options`, where spaces separate and backslashes escape."""
    return re.sub(r"([\\\s])", r"\\\1", value)


def from_uri(
    variable: str,
    uri: str,
    *,
    schema: str = "",
    read_only: bool = False,
    timeout_seconds: int = 0,
    pool_size: int = 0,
    test: dict | None = None,
) -> dict:
    """
    The DATABASES entry for a libpq URI, which may be written as in kavalai's environment.

    SQLAlchemy's driver suffix (`postgresql+asyncpg://`) and asyncpg's `ssl` parameter are
    accepted. If the URI is bad, the error message names the setting `variable`; libpq's own message
    is left out because it may quote part of the password.
    """
    libpq_uri = re.sub(r"^postgres(ql)?\+\w+://", "postgresql://", uri)
    libpq_uri = re.sub(r"([?&])ssl=", r"\1sslmode=", libpq_uri)
    libpq_uri = re.sub(r"([?&]sslmode=)true\b", r"\1require", libpq_uri, flags=re.IGNORECASE)
    libpq_uri = re.sub(r"([?&]sslmode=)false\b", r"\1disable", libpq_uri, flags=re.IGNORECASE)
    try:
        params = conninfo_to_dict(libpq_uri)
    except (ProgrammingError, ValueError):
        raise env.stop(
            f"{variable} is not a PostgreSQL URI (postgresql://user:password@host/database): "
            "parameters must be libpq's, special characters percent-encoded."
        ) from None
    options = [str(params.pop("options", "") or "")]
    if schema:
        quoted = '"' + schema.replace('"', '""') + '"'
        options.append(f"-c search_path={quote_option(quoted)}")
    if read_only:
        options += [f"-c {name}={value}" for name, value in READING.items()]
    if timeout_seconds:
        options.append(f"-c statement_timeout={timeout_seconds * 1000}")
    user = params.pop("user", "")
    entry: dict[str, Any] = {
        "ENGINE": "backoffice.databases.postgresql",
        "NAME": params.pop("dbname", "") or user or "postgres",
        "USER": user,
        "PASSWORD": params.pop("password", ""),
        "HOST": params.pop("host", ""),
        "PORT": str(params.pop("port", "")),
        "CONN_HEALTH_CHECKS": True,
        # A cursor outside a transaction does not survive PgBouncer's transaction mode.
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "OPTIONS": {"connect_timeout": 2, "query_seconds": timeout_seconds, **params},
        "TEST": test or {},
    }
    joined = " ".join(option for option in options if option)
    if joined:
        entry["OPTIONS"]["options"] = joined
    if pool_size:
        entry["OPTIONS"]["pool"] = {
            "connection_class": Connection,
            "min_size": 0,
            "max_size": pool_size,
            "timeout": 3,
            # Otherwise the pool waits longer after each attempt, and pages wait with it even when
            # the server is back.
            "reconnect_timeout": 0,
        }
    else:
        # Connecting anew doubles a page's time: the server process must first read the catalogs.
        entry["CONN_MAX_AGE"] = 3600
    return entry
