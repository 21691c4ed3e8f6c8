"""SQL for PostgreSQL roles that may do what this site does, and nothing else."""

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from psycopg import sql

from conversations.agentdb.revision import ADDED_LATER
from conversations.changes.edits import EDITABLE
from conversations.changes.redaction import PLACES

READER = """
-- In the agent database, by the owner of its tables. For KAVALAI_DB_URI:
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
-- Our own database, by whoever may create one. For DATABASE_URL of migrate, audit_prune, backup and
-- restore:
CREATE ROLE {owner} LOGIN;
CREATE DATABASE {owner} OWNER {owner};
REVOKE CONNECT ON DATABASE {owner} FROM PUBLIC;

-- For DATABASE_URL of the site, which cannot touch the audit trail:
CREATE ROLE {site} LOGIN;
GRANT CONNECT ON DATABASE {owner} TO {site};
"""
# The rights on tables that a later release adds come by themselves.
SITE = """
-- In our own database, by its owner, after each manage.py migrate:
ALTER DEFAULT PRIVILEGES FOR ROLE {owner}
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {site};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT USAGE ON SEQUENCES TO {site};
GRANT SELECT, INSERT, UPDATE, DELETE ON {ours} TO {site};
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {site};
REVOKE INSERT, UPDATE, DELETE ON django_migrations FROM {site};
REVOKE UPDATE, DELETE ON audit_entry, audit_seal FROM {site};
-- Of a search that is being typed:
GRANT UPDATE (details) ON audit_entry TO {site};
"""
PASSWORDS = "\n-- Passwords are set in psql, where none is shown or logged: \\password NAME\n"


class Command(BaseCommand):
    help = "Prints the SQL that makes least-privilege roles; for psql, reviewed by its reader."
    requires_system_checks = []

    def add_arguments(self, parser):
        schema = settings.AGENT_SCHEMA or "public"
        parser.add_argument("--schema", default=schema, help="of the agent database (%(default)s)")
        parser.add_argument("--reader", default="desk_reader", metavar="NAME")
        parser.add_argument("--editor", default="desk_editor", metavar="NAME")
        parser.add_argument("--owner", default="desk", metavar="NAME", help="of our own database")
        parser.add_argument("--site", default="desk_site", metavar="NAME", help="the site's in it")
        parser.add_argument(
            "--edits-only", action="store_true", help="nothing is redacted, erased or purged"
        )

    def handle(self, *, schema, reader, editor, owner, site, edits_only, **options):
        names = {"schema": schema, "reader": reader, "editor": editor, "owner": owner, "site": site}
        if any("\0" in name for name in names.values()):
            raise CommandError("A name holds what no database could.")
        quoted = {name: sql.Identifier(value) for name, value in names.items()}
        models = apps.get_app_config("conversations").get_models()
        tables = [*(model._meta.db_table for model in models), "alembic_version"]
        in_schema = sql.SQL(", ").join(sql.Identifier(schema, table) for table in tables)
        self.write(READER, tables=in_schema, **quoted)
        for model, fields in EDITABLE.items():
            columns = [model._meta.get_field(field).column for field in fields]
            self.grant_update(model._meta.db_table, columns, **quoted)
        if not edits_only:
            self.stdout.write("\n-- To redact, erase and purge as well:")
            for table, (_, texts, payloads) in PLACES.items():
                later = ADDED_LATER.get(table, set())
                columns = texts + payloads
                self.grant_update(table, [each for each in columns if each not in later], **quoted)
                if newer := [each for each in columns if each in later]:
                    self.stdout.write("-- Fails where the runtime has not got these columns yet:")
                    self.grant_update(table, newer, **quoted)
            # The foreign keys delete runs, tasks and messages too, whoever deletes.
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
        statement = "GRANT UPDATE ({columns}) ON {schema}.{table} TO {editor};"
        self.write(statement, columns=joined, table=sql.Identifier(table), **quoted)

    def write(self, statement: str, **values: sql.Composable):
        self.stdout.write(sql.SQL(statement).format(**values).as_string().strip("\n"))
