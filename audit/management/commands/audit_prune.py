from datetime import datetime, time, timedelta

from django.core.management.base import CommandError
from django.db import transaction
from django.utils import timezone
from django.utils.dateparse import parse_date

from audit.commands import AuditedCommand
from audit.models import Entry
from audit.recording import Act, record
from audit.sealing import checkpoint

BATCH = 10_000


class Command(AuditedCommand):
    help = "Deletes old entries of the audit log, and adds one entry that says so."

    def add_arguments(self, parser):
        parser.add_argument(
            "--before", metavar="DATE", help="delete what is older than this day, 2026-01-31"
        )
        parser.add_argument("--days", metavar="N", help="delete what is older than N days")
        parser.add_argument("--dry-run", action="store_true", help="only count them")

    def handle(self, *, before, days, dry_run, **options):
        if (before is None) == (days is None):
            raise CommandError("Give either --before DATE or --days N.")
        bound = start_of(before) if days is None else days_ago(days)
        old = Entry.objects.filter(at__lt=bound)
        said = f"entries before {timezone.localtime(bound):%Y-%m-%d %H:%M %Z}"
        if dry_run:
            self.stdout.write(f"Would delete {old.count()} {said}.")
            return
        self.stdout.write(f"Deleted {prune(old, bound)} {said}.")


def start_of(text: str) -> datetime:
    try:
        day = parse_date(text)
    except ValueError:
        day = None
    if day is None:
        raise CommandError(f"--before must be a day like 2026-01-31, not {text!r}.")
    try:
        bound = timezone.make_aware(datetime.combine(day, time()))
        is_past = bound <= timezone.now()
    except OverflowError:
        is_past = False
    if not is_past:
        raise CommandError(f"--before must be a day in the past, not {text!r}.")
    return bound


def days_ago(text: str) -> datetime:
    wrong = CommandError(f"--days must be a number of days, at least 1, not {text!r}.")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise wrong
    try:
        return timezone.now() - timedelta(days=int(text))
    except OverflowError:
        # Before the year 1.
        raise wrong from None


def prune(old, bound) -> int:
    """
    Delete batch by batch, each with a checkpoint in the chain of seals. Each batch replaces the
    entry about the previous ones with one that counts all deleted so far, so that the audit log is
    right even if this is interrupted.
    """
    entry, deleted = None, 0
    while True:
        with transaction.atomic(using="default"):
            batch = list(old.order_by("at").values_list("pk", flat=True)[:BATCH])
            if not batch:
                return deleted
            former = [entry.pk] if entry else []
            checkpoint(batch + former)
            deleted += Entry.objects.filter(pk__in=batch).delete()[0]
            Entry.objects.filter(pk__in=former).delete()
            entry = record(None, Act.PRUNED, before=bound.isoformat(), entries=deleted)
