"""`manage.py check`: whether the agent database is as the models expect."""

import re

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import DatabaseError, connections

from backoffice.databases.uris import READING

from . import revision

OPTION = re.compile(r"-c (\w+)=(\S+)")
IN_EFFECT = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"

FOUND = "SELECT count(to_regclass(quote_ident(name))) FROM unnest(%s::text[]) name"


def where() -> str:
    schema = settings.AGENT_SCHEMA
    return f"schema {schema!r}" if schema else "the search_path of its role"


@checks.register(checks.Tags.database)
def agent_database(app_configs, databases=None, **kwargs):
    if not databases or "agents" not in databases:
        return []
    models = list(apps.get_app_config("conversations").get_models())
    tables = [model._meta.db_table for model in models]
    try:
        found = revision.read_columns([*tables, "alembic_version"])
        readable = readable_tables(list(found))
        version = read_version() if "alembic_version" in readable else None
    except DatabaseError as error:
        reason = str(error).strip().splitlines()[0]
        if "startup parameter" in str(error):
            reason = "PgBouncer needs ignore_startup_parameters = options, see docs/operating.md"
        return [
            checks.Error(f"The agent database does not answer: {reason}", id="conversations.E001")
        ]
    if not found:
        message = f"The agent database has none of kavalai's tables in {where()}."
        others = schemas_with_sessions()
        if settings.AGENT_SCHEMA in others:
            message += f" Behind PgBouncer, {alter_role('search_path', settings.AGENT_SCHEMA)}"
        elif others:
            message += f" Set KAVALAI_DB_SCHEMA={others[0]} to find them."
        return [checks.Error(message, id="conversations.E002")]
    problems = settings_not_taken() + not_found_by_edits(list(found))
    for model in models:
        table = model._meta.db_table
        if table not in found:
            message = f"The agent database has no table {table} in {where()}."
            problems.append(checks.Error(message, id="conversations.E003"))
            continue
        if table not in readable:
            message = f"The agent database's role may not read the table {table}."
            problems.append(checks.Error(message, id="conversations.E005"))
        expected = {field.column for field in model._meta.fields}
        lacking = expected - found[table] - revision.ADDED_LATER.get(table, set())
        for column in sorted(lacking):
            message = f"The agent database's table {table} has no column {column}."
            problems.append(checks.Error(message, id="conversations.E004"))
    if version not in revision.KNOWN_REVISIONS:
        problems.append(
            checks.Warning(
                f"The agent database is at revision {version or 'unknown'}; "
                f"this site knows {revision.KNOWN_REVISIONS[0]} to {revision.KNOWN_REVISIONS[-1]}.",
                id="conversations.W001",
            )
        )
    return problems


def settings_not_taken() -> list[checks.Warning]:
    """Settings that the connection asked for but PgBouncer did not pass on."""
    connection = connections["agents"]
    asked = dict(OPTION.findall(connection.settings_dict["OPTIONS"].get("options", "")))
    wanted = {name: asked[name] for name in (*READING, "statement_timeout") if name in asked}
    with connection.cursor() as cursor:
        cursor.execute(IN_EFFECT, [list(wanted)])
        missing = [name for name, value in cursor.fetchall() if value != wanted[name]]
    if not missing:
        return []
    statements = " ".join(alter_role(name, wanted[name]) for name in missing)
    message = f"The agent database ignores settings that this site asks for. {statements}"
    return [checks.Warning(message, id="conversations.W002")]


def not_found_by_edits(tables: list[str]) -> list[checks.Warning]:
    """Edits have their own URI and role, and perhaps a PgBouncer that drops the schema."""
    if "agents_write" not in settings.DATABASES:
        return []
    try:
        with connections["agents_write"].cursor() as cursor:
            cursor.execute(FOUND, [tables])
            if cursor.fetchone()[0] == len(tables):
                return []
        message = f"Edits cannot find the agent database's tables in {where()}."
        if schema := settings.AGENT_SCHEMA:
            statement = alter_role("search_path", schema, "agents_write")
            message += f" Behind PgBouncer, {statement}"
    except DatabaseError as error:
        reason = str(error).strip().splitlines()[0]
        message = f"The agent database does not answer edits: {reason}"
    return [checks.Warning(message, id="conversations.W003")]


def alter_role(name: str, value: str, alias: str = "agents") -> str:
    with connections[alias].cursor() as cursor:
        query = "SELECT format('ALTER ROLE %%I SET %%I = %%L;', current_user, %s, %s)"
        cursor.execute(query, [name, value])
        return cursor.fetchone()[0]


def read_version() -> str | None:
    with connections["agents"].cursor() as cursor:
        cursor.execute("SELECT version_num FROM alembic_version")
        row = cursor.fetchone()
    return row[0] if row else None


def readable_tables(tables: list[str]) -> set[str]:
    with connections["agents"].cursor() as cursor:
        cursor.execute(
            "SELECT name FROM unnest(%s::text[]) name "
            "WHERE has_table_privilege(quote_ident(name), 'SELECT')",
            [tables],
        )
        return {name for (name,) in cursor}


def schemas_with_sessions() -> list[str]:
    """Schemas that hold a table of the runtime, as a hint for KAVALAI_DB_SCHEMA."""
    with connections["agents"].cursor() as cursor:
        cursor.execute(
            "SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE relname = 'chat_messages' AND relkind IN ('r', 'p') ORDER BY nspname"
        )
        return [name for (name,) in cursor]
