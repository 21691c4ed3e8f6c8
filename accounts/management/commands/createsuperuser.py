from django.contrib.auth.management.commands import createsuperuser

from accounts.recorded_saves import recorded_saves
from audit.commands import AuditedCommand


class Command(AuditedCommand, createsuperuser.Command):
    """Django's command, plus an entry in the audit log."""

    def handle(self, *args, **options):
        with recorded_saves(lambda user: {"before": None, "after": user.audit_details()}):
            return super().handle(*args, **options)
