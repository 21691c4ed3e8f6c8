from django.contrib.auth.management.commands import changepassword

from accounts.recorded_saves import recorded_saves
from audit.commands import AuditedCommand


class Command(AuditedCommand, changepassword.Command):
    """Django's command, plus an entry in the audit log."""

    def handle(self, *args, **options):
        with recorded_saves(lambda user: {"before": {}, "after": {"password": "changed"}}):
            return super().handle(*args, **options)
