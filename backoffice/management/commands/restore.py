from pathlib import Path

from django.core.management.base import BaseCommand

from backoffice import backups


class Command(BaseCommand):
    help = "Fills our own database, which must be empty, from a file written by backup."
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("file", type=Path)

    def handle(self, *, file, **options):
        backups.restore(file)
        self.stdout.write(f"Restored {file}. Next, run: manage.py migrate.")
