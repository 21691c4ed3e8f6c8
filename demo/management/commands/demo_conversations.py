from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.utils.connection import ConnectionDoesNotExist

from demo import write_demo


class Command(BaseCommand):
    help = "Fills an empty agent database with demo conversations."

    def add_arguments(self, parser):
        parser.add_argument("--database", default="agents_write")
        parser.add_argument("--count", type=int, default=300)
        parser.add_argument("--seed", type=int, default=1)

    def handle(self, *, database, count, seed, **options):
        try:
            connection = connections[database]
        except ConnectionDoesNotExist:
            raise CommandError(f"There is no database {database!r} to write to.") from None
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM agents)")
            (has_agents,) = cursor.fetchone()
        if has_agents:
            raise CommandError(
                f"The database {database!r} has agents already; demo conversations are only "
                "written into an empty one."
            )
        connection.ensure_connection()
        written = write_demo(connection.connection, count=count, seed=seed)
        self.stdout.write(f"Wrote {written} demo conversations.")
