import re

from django.core.management.base import BaseCommand, CommandError

from audit.verifying import Trail, moment


class Command(BaseCommand):
    help = "Shows what was removed, changed or backdated in the audit log since it was sealed."

    def add_arguments(self, parser):
        parser.add_argument(
            "--noted",
            action="append",
            default=[],
            metavar="SEAL",
            help="a seal that this command, audit_seal or the log printed earlier, as in 12:9f86…",
        )

    def handle(self, *, noted, **options):
        trail = Trail(dict(map(parsed, noted)))
        number = 0
        for problem in trail.problems():
            number += 1
            self.stdout.write(problem)
        self.stdout.write(
            f"{trail.sealed:,} entries in {trail.seals:,} seals, {trail.pruned:,} pruned since."
        )
        if trail.oldest_unsealed:
            since = moment(trail.oldest_unsealed)
            self.stdout.write(f"{trail.unsealed:,} not sealed yet, the oldest from {since}.")
        if trail.newest:
            self.stdout.write(f"Newest seal: {trail.newest.id}:{trail.newest.hash}")
        if number:
            found = "1 problem" if number == 1 else f"{number:,} problems"
            raise CommandError(f"The audit log has changed since it was sealed: {found}.")


def parsed(text: str) -> tuple[int, str]:
    if not (found := re.fullmatch(r"(\d{1,18}):([0-9a-f]{64})", text, re.ASCII)):
        raise CommandError(f"--noted must be like 12:9f86…, 64 digits after the colon: {text!r}.")
    return int(found[1]), found[2]
