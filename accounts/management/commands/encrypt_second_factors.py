from django.core.management.base import BaseCommand

from accounts import second_factors


class Command(BaseCommand):
    help = "Re-encrypts all second factors with SECRET_KEY, so that its fallbacks can be removed."

    def handle(self, **options):
        done, unreadable = second_factors.encrypt_anew()
        self.stdout.write(f"{done} encrypted with SECRET_KEY.")
        if unreadable:
            self.stdout.write(
                f"{unreadable} cannot be read: their key is not in SECRET_KEY_FALLBACKS."
            )
