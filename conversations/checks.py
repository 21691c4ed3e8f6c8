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
        version = read_version() if "alembic_version" in found else None
    except DatabaseError as error:
        reason = str(error).strip().splitlines()[0]
        return [
            checks.Error(f"The agent database does not answer: {reason}", id="conversations.E001")
        ]
    problems = []
    for model in models:
        table = model._meta.db_table
        if table not in found:
            problems.append(
                checks.Error(
                    f"The agent database has no table {table} in {where()}.",
                    hint="KAVALAI_DB_SCHEMA names the schema; kavalai's own is often 'agents'.",
                    id="conversations.E002",
                )
            )
            continue
        expected = {field.column for field in model._meta.fields}
        lacking = expected - found[table] - revision.ADDED_LATER.get(table, set())
        problems += [
            checks.Error(
                f"The agent database's table {table} has no column {column}.",
                id="conversations.E003",
            )
            for column in sorted(lacking)
        ]
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
