from django.core.management.base import BaseCommand, CommandError

from backoffice.words import counted
from overview.notify import outbox, passes


class Command(BaseCommand):
    help = (
        "Tells by mail or through a webhook what is new: errors, agents with many problems and "
        "silent agents. Run it every few minutes. The first run only notes what there is."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--test", action="store_true", help="only send a message that says that it is a test"
        )

    def handle(self, *, test, verbosity, **options):
        if not outbox.channels():
            raise CommandError("Set NOTIFY_EMAILS or NOTIFY_WEBHOOK.")
        if test:
            outbox.put("Conversation Desk: test", "Messages of Conversation Desk arrive here.\n")
            problems = []
        else:
            problems = passes.observe()
        number, failures = outbox.send_all()
        if verbosity:
            self.stdout.write(f"Sent {counted(number, 'message')}.")
        if problems or failures:
            raise CommandError("\n".join(problems + failures))
