from django.core.management.base import BaseCommand

from audit.sealing import seal


class Command(BaseCommand):
    help = "Seals all entries of the audit trail that are ready; the site does so every minute."

    def handle(self, **options):
        entries = seals = 0
        while made := seal(wait=True):
            entries, seals = entries + made.count, seals + 1
            newest = made
        if not seals:
            self.stdout.write("There is nothing to seal.")
            return
        self.stdout.write(f"Sealed {entries:,} entries. The newest seal: {newest.id}:{newest.hash}")
