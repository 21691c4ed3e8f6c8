"""Prints SQL for PostgreSQL roles that may do what this site does, and nothing else."""

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from psycopg import sql

from conversations.agentdb.revision import ADDED_LATER
from conversations.changes.edits import EDITABLE
from conversations.changes.redaction import PLACES

READER = """
-- In the agent database, as the owner of its tables. For KAVALAI_DB_URI:
CREATE ROLE {reader} LOGIN;
ALTER ROLE {reader} SET default_transaction_read_only = on;
GRANT USAGE ON SCHEMA {schema} TO {reader};
GRANT SELECT ON {tables} TO {reader};

-- For KAVALAI_DB_WRITE_URI, where admins edit:
CREATE ROLE {editor} LOGIN;
GRANT USAGE ON SCHEMA {schema} TO {editor};
GRANT SELECT ON {tables} TO {editor};
"""
OURS = """
-- For our own database, as a role that may create databases. For DATABASE_URL when running migrate,
-- audit_prune, backup and restore:
CREATE ROLE {owner} LOGIN;
CREATE DATABASE {owner} OWNER {owner};
REVOKE CONNECT ON DATABASE {owner} FROM PUBLIC;

-- For DATABASE_URL of the site, which cannot alter the audit trail:
CREATE ROLE {site} LOGIN;
GRANT CONNECT ON DATABASE {owner} TO {site};
"""
# Default privileges cover tables that a later release adds.
SITE = """
-- In our own database, as its owner, after each manage.py migrate:
ALTER DEFAULT PRIVILEGES FOR ROLE {owner}
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {site};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT USAGE ON SEQUENCES TO {site};
GRANT SELECT, INSERT, UPDATE, DELETE ON {ours} TO {site};
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {site};
REVOKE INSERT, UPDATE, DELETE ON django_migrations FROM {site};
REVOKE UPDATE, DELETE ON audit_entry, audit_seal FROM {site};
-- Needed to update the entry of a search while it is being typed:
GRANT UPDATE (details) ON audit_entry TO {site};
"""
PASSWORDS = "\n-- Set passwords in psql, which neither shows nor logs them: \\password NAME\n"


class Command(BaseCommand):
    help = "Prints the SQL that creates least-privilege roles. Review it, then run it in psql."
    requires_system_checks = []

    def add_arguments(self, parser):
        schema = settings.AGENT_SCHEMA or "public"
        parser.add_argument("--schema", default=schema, help="of the agent database (%(default)s)")
        parser.add_argument("--reader", default="desk_reader", metavar="NAME")
        parser.add_argument("--editor", default="desk_editor", metavar="NAME")
        parser.add_argument("--owner", default="desk", metavar="NAME", help="owns our own database")
        parser.add_argument(
            "--site", default="desk_site", metavar="NAME", help="the site's role there"
        )
        parser.add_argument(
            "--edits-only", action="store_true", help="without redacting, erasing and purging"
        )
        parser.add_argument(
            "--whole-tables",
            action="store_true",
            help="let the editor update all columns, because Citus has no rights on single ones",
        )

    def handle(self, *, schema, reader, editor, owner, site, edits_only, whole_tables, **options):
        self.whole_tables = whole_tables
        names = {"schema": schema, "reader": reader, "editor": editor, "owner": owner, "site": site}
        if any("\0" in name for name in names.values()):
            raise CommandError("A name contains characters that no database can hold.")
        quoted = {name: sql.Identifier(value) for name, value in names.items()}
        models = apps.get_app_config("conversations").get_models()
        tables = [*(model._meta.db_table for model in models), "alembic_version"]
        in_schema = sql.SQL(", ").join(sql.Identifier(schema, table) for table in tables)
        self.write(READER, tables=in_schema, **quoted)
        for model, fields in EDITABLE.items():
            columns = [model._meta.get_field(field).column for field in fields]
            self.grant_update(model._meta.db_table, columns, **quoted)
        if not edits_only:
            self.stdout.write("\n-- For redacting, erasing and purging as well:")
            for table, (_, texts, payloads) in PLACES.items():
                later = ADDED_LATER.get(table, set())
                columns = texts + payloads
                self.grant_update(table, [each for each in columns if each not in later], **quoted)
                if newer := [each for each in columns if each in later]:
                    self.stdout.write("-- Fails if the runtime does not have these columns yet:")
                    self.grant_update(table, newer, **quoted)
            # Foreign keys also delete runs, tasks and messages, whoever deletes the session.
            self.write("GRANT DELETE ON {schema}.sessions TO {editor};", **quoted)
        self.stdout.write()
        self.write(OURS, **quoted)
        self.stdout.write()
        tables = connections["default"].introspection.django_table_names(include_views=False)
        ours = sql.SQL(", ").join(map(sql.Identifier, [*sorted(tables), "django_migrations"]))
        self.write(SITE, ours=ours, **quoted)
        self.stdout.write(PASSWORDS)

    def grant_update(self, table, columns, **quoted):
        joined = sql.SQL(", ").join(map(sql.Identifier, columns))
        which = "" if self.whole_tables else " ({columns})"
        statement = f"GRANT UPDATE{which} ON {{schema}}.{{table}} TO {{editor}};"
        self.write(statement, columns=joined, table=sql.Identifier(table), **quoted)

    def write(self, statement: str, **values: sql.Composable):
        self.stdout.write(sql.SQL(statement).format(**values).as_string().strip("\n"))
