import time

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from backoffice.time_zones import moment
from backoffice.words import exact
from overview.models import Progress
from overview.rollup.passes import Pass, Stopped


class Command(BaseCommand):
    help = (
        "Brings the figures of Home up to date with the agent database, as the site does by "
        "itself. It can be stopped and started again, and run several times at once."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--from",
            dest="since",
            type=moment,
            metavar="DATE",
            help="make the figures of this time anew: 2026-01-31, or 2026-01-31T12:00+02:00",
        )
        parser.add_argument(
            "--until", type=moment, metavar="DATE", help="and before this one; default now"
        )

    def handle(self, *, since, until, verbosity, **options):
        if until and not since:
            raise CommandError("--until needs --from.")
        now = timezone.now()
        until = min(until or now, now)
        if since and since >= until:
            raise CommandError("--from must be before --until, and in the past.")
        began = time.monotonic()
        work = Pass(wait=True)
        try:
            if since:
                work.rebuild(since, until)
            else:
                work.run()
        except Stopped as stopped:
            raise CommandError(str(stopped)) from None
        if verbosity:
            self.say(work.read, time.monotonic() - began)

    def say(self, read: int, seconds: float):
        self.stdout.write(
            f"Read {read:,} conversation{'' if read == 1 else 's'} in {seconds:.1f} s."
        )
        if as_of := Progress.objects.values_list("as_of", flat=True).get():
            self.stdout.write(f"The figures hold what happened until {exact(as_of)}.")
