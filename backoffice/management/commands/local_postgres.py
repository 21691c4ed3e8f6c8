import sys

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from backoffice.local_postgres.server import LocalPostgres, LocalPostgresError


class Command(BaseCommand):
    help = "Starts, stops or shows the local PostgreSQL; status exits with 1 if it is stopped."
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("action", choices=["start", "stop", "status"])

    def handle(self, *, action, **options):
        server = LocalPostgres(settings.LOCAL_DATA_DIR)
        try:
            getattr(self, action)(server)
        except LocalPostgresError as error:
            raise CommandError(str(error)) from error

    def start(self, server):
        started = server.start()
        state = "started" if started else "was already running"
        self.stdout.write(f"The local PostgreSQL {state}; its data is in {server.data}.")

    def stop(self, server):
        stopped = server.stop()
        self.stdout.write(f"The local PostgreSQL {'stopped' if stopped else 'was not running'}.")

    def status(self, server):
        if server.is_running():
            self.stdout.write(f"The local PostgreSQL is running; its data is in {server.data}.")
        else:
            self.stdout.write("The local PostgreSQL is not running.")
            sys.exit(1)
