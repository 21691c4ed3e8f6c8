from django.contrib.auth import get_user_model
from django.core.management.base import CommandError

from accounts import second_factors
from audit.commands import AuditedCommand


class Command(AuditedCommand):
    help = "Takes all second factors and sessions from an account, which then signs in anew."

    def add_arguments(self, parser):
        parser.add_argument("username")

    def handle(self, *, username, **options):
        user = get_user_model().objects.filter(username=username).first()
        if not user:
            raise CommandError(f"There is no account {username!r}.")
        second_factors.reset(user)
        self.stdout.write(f"{username} has no second factor and no session any more.")
