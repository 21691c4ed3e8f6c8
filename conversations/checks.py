"""`manage.py check`: does the agent database look as the models expect?"""

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import DatabaseError, connections

from . import revision


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
        return [
            checks.Error(f"The agent database does not answer: {reason}", id="conversations.E001")
        ]
    if not found:
        message = f"The agent database has none of kavalai's tables in {where()}."
        if others := schemas_with_sessions():
            message += f" KAVALAI_DB_SCHEMA={others[0]} would find them."
        return [checks.Error(message, id="conversations.E002")]
    problems = []
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
                f"known are {revision.KNOWN_REVISIONS[0]} to {revision.KNOWN_REVISIONS[-1]}.",
                id="conversations.W001",
            )
        )
    return problems


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
    """Schemas that hold a table of the runtime's, for the hint that one was not named."""
    with connections["agents"].cursor() as cursor:
        cursor.execute(
            "SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE relname = 'chat_messages' AND relkind IN ('r', 'p') ORDER BY nspname"
        )
        return [name for (name,) in cursor]
