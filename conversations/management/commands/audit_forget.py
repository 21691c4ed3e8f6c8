from django.core.management.base import BaseCommand

from audit.models import Text
from conversations.changes.forgetting import forget_old


class Command(BaseCommand):
    help = (
        "Takes from the audit trail what is no longer to be read there: external ids that no "
        "conversation has, and searched texts older than AUDIT_TEXT_DAYS. The site does so hourly."
    )

    def handle(self, **options):
        before = Text.objects.count()
        forget_old()
        self.stdout.write(f"{before - Text.objects.count():,} texts are only fingerprints now.")
