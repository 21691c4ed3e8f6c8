"""
Loaded before the settings: tests run on the local PostgreSQL, whatever .env or the shell say.

A name that is set, though empty, is not taken from .env. WEB_CONCURRENCY is left out: gunicorn
reads it too and cannot take it empty; whoever starts gunicorn here says how many processes.
"""

import os

BLANK = dict.fromkeys(
    (
        "ALLOWED_HOSTS",
        "BEHIND_PROXY",
        "CSRF_TRUSTED_ORIGINS",
        "DATABASE_POOL_SIZE",
        "DATABASE_URL",
        "DEBUG",
        "DEMO_PASSWORD",
        "EXPORTS_AT_ONCE",
        "EXPORT_TIMEOUT_SECONDS",
        "KAVALAI_DB_READ_ONLY",
        "KAVALAI_DB_REPLICA_URI",
        "KAVALAI_DB_SCHEMA",
        "KAVALAI_DB_URI",
        "KAVALAI_DB_WRITE_URI",
        "MASK_PERSONAL_DATA",
        "OIDC_CLIENT_ID",
        "OIDC_CLIENT_SECRET",
        "OIDC_DOMAINS",
        "OIDC_ISSUER",
        "OIDC_NAME",
        "METRICS_TOKEN",
        "PORT",
        "REQUIRE_MFA",
        "SECRET_KEY",
        "SESSION_HOURS",
        "SESSION_IDLE_MINUTES",
        "SECRET_KEY_FALLBACKS",
        "STATEMENT_TIMEOUT_SECONDS",
        "STATIC_ROOT",
        "TIME_ZONE",
    ),
    "",
)
os.environ.update(BLANK)
