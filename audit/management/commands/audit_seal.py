from django.core.management.base import BaseCommand

from audit.sealing import seal


class Command(BaseCommand):
    help = "Seals all audit log entries that are ready. The site does this every minute anyway."

    def handle(self, **options):
        entries = seals = 0
        while made := seal(wait=True):
            entries, seals = entries + made.count, seals + 1
            newest = made
        if not seals:
            self.stdout.write("There is nothing to seal.")
            return
        self.stdout.write(f"Sealed {entries:,} entries. Newest seal: {newest.id}:{newest.hash}")
