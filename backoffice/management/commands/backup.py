from pathlib import Path

from django.core.management.base import BaseCommand

from backoffice import backups


class Command(BaseCommand):
    help = "Writes our own database (users, roles, audit trail) to a new file."
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("file", type=Path)

    def handle(self, *, file, **options):
        backups.backup(file)
        self.stdout.write(f"Wrote {file}.")
