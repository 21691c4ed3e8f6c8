from django.core.management.commands import check


class Command(check.Command):
    """Django's own, and a look at the agent database unless other databases are named."""

    def handle(self, *app_labels, **options):
        options["databases"] = options["databases"] or ["agents"]
        super().handle(*app_labels, **options)
