from django.core.management import CommandError
from django.core.management.commands import check
from django.db import Error, connections


class Command(check.Command):
    """Django's own, which also checks both databases unless --database names some."""

    def handle(self, *app_labels, **options):
        if not options["databases"]:
            options["databases"] = ["agents"]
            try:
                connections["default"].ensure_connection()
            except Error as error:
                reason = str(error).strip().splitlines()[0]
                raise CommandError(f"Our own database does not answer: {reason}") from None
        super().handle(*app_labels, **options)
