from django.core.management.base import BaseCommand

from audit.models import Text
from conversations.changes.forgetting import forget_old


class Command(BaseCommand):
    help = (
        "Removes from the audit trail the external ids that no conversation has any more, and "
        "searched texts older than AUDIT_TEXT_DAYS. The site does this every hour."
    )

    def handle(self, **options):
        before = Text.objects.count()
        forget_old()
        self.stdout.write(f"{before - Text.objects.count():,} texts are now only fingerprints.")
