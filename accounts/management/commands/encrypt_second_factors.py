from django.core.management.base import BaseCommand

from accounts import second_factors


class Command(BaseCommand):
    help = "Encrypts all second factors anew by SECRET_KEY, so that its fallbacks can go."

    def handle(self, **options):
        done, unreadable = second_factors.encrypt_anew()
        self.stdout.write(f"{done} encrypted by SECRET_KEY.")
        if unreadable:
            self.stdout.write(
                f"{unreadable} cannot be read: their SECRET_KEY is not among SECRET_KEY_FALLBACKS."
            )
