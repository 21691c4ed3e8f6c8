import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.utils.connection import ConnectionDoesNotExist

from conversations.agentdb.agent_tables import create_agent_tables
from demo import write_demo


class Command(BaseCommand):
    help = "Fills an empty agent database with demo conversations."

    def add_arguments(self, parser):
        parser.add_argument("--database", default="agents_write")
        parser.add_argument("--count", type=int, default=300)
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument(
            "--local",
            action="store_true",
            help="Fill the agent database in the local PostgreSQL instead. Create its tables if "
            "they are missing, and do nothing if it has agents already.",
        )

    def handle(self, *, database, local, count, seed, **options):
        if local:
            return self.fill_local(count, seed)
        try:
            connection = connections[database]
        except ConnectionDoesNotExist:
            raise CommandError(f"There is no database {database!r} to write to.") from None
        connection.ensure_connection()
        if has_agents(connection.connection):
            raise CommandError(
                f"The database {database!r} already has agents. Demo conversations are only "
                "written to an empty one."
            )
        written = write_demo(connection.connection, count=count, seed=seed)
        self.stdout.write(f"Wrote {written} demo conversations.")

    def fill_local(self, count, seed):
        name = settings.LOCAL_DATABASES.get("agents")
        if not name:
            raise CommandError("KAVALAI_DB_URI is set, so the agent database is not the local one.")
        # Django's connections cannot be used: a read-only site has none for writing.
        with psycopg.connect(settings.LOCAL_POSTGRES.uri(name)) as connection:
            create_agent_tables(connection, settings.AGENT_SCHEMA)
            if not has_agents(connection):
                written = write_demo(connection, count=count, seed=seed)
                self.stdout.write(f"Wrote {written} demo conversations.")


def has_agents(connection: psycopg.Connection) -> bool:
    return connection.execute("SELECT EXISTS (SELECT FROM agents)").fetchone()[0]
