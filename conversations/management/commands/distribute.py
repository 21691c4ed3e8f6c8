"""Prints the SQL that turns an agent database into a distributed one (Citus)."""

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from conversations.agentdb.distributed import distribution_sql


class Command(BaseCommand):
    help = (
        "Prints the SQL that distributes the agent runtime's tables over the workers of a Citus "
        "cluster, at revision 0005 or later. Changes nothing: review it, then pass it to psql."
    )
    requires_system_checks = []

    def add_arguments(self, parser):
        schema = settings.AGENT_SCHEMA or "public"
        parser.add_argument("--print", action="store_true", required=True, help="print the SQL")
        parser.add_argument("--schema", default=schema, help="of the agent database (%(default)s)")
        parser.add_argument(
            "--shards", type=int, default=32, metavar="N", help="parts of each table (%(default)s)"
        )

    def handle(self, *, schema, shards, **options):
        if "\0" in schema:
            raise CommandError("The schema's name contains characters that no database can hold.")
        if shards < 1:
            raise CommandError("--shards must be at least 1.")
        self.stdout.write(distribution_sql(schema, shards), ending="")
