from django.contrib.auth import get_user_model
from django.core.management.base import CommandError

from accounts import second_factors
from audit.commands import AuditedCommand


class Command(AuditedCommand):
    help = "Removes all second factors of an account and ends its sessions."

    def add_arguments(self, parser):
        parser.add_argument("username")

    def handle(self, *, username, **options):
        user = get_user_model().objects.filter(username=username).first()
        if not user:
            raise CommandError(f"There is no account {username!r}.")
        second_factors.reset(user)
        self.stdout.write(
            f"{username} no longer has a second factor, and all its sessions have ended."
        )
