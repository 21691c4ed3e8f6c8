"""
Erase old conversations for good, in batches: what is done stays done, so it can be stopped and
started again.
"""

import uuid
from datetime import datetime, time

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from audit.recording import Act, recorded_change
from backoffice.databases.text import is_storable
from conversations.changes import erasure
from conversations.models import Agent, Session

BATCH = 500


def moment(text: str) -> datetime:
    day = parse_date(text)
    found = datetime.combine(day, time.min) if day else parse_datetime(text)
    if found is None:
        raise ValueError
    return timezone.make_aware(found) if timezone.is_naive(found) else found


class Command(BaseCommand):
    help = (
        "Erase conversations whose last activity was before a date: runs, tasks and messages go, "
        "model calls keep their token counts alone."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--before",
            type=moment,
            required=True,
            metavar="DATE",
            help="2026-01-31, or 2026-01-31T12:00+02:00; the date itself stays",
        )
        parser.add_argument("--agent", type=uuid.UUID, metavar="ID", help="only of this agent")
        parser.add_argument("--external-id", metavar="TEXT", help="only of this external id")
        parser.add_argument("--dry-run", action="store_true", help="count, and erase nothing")

    def handle(self, *, before, agent, external_id, dry_run, **options):
        if before > timezone.now():
            raise CommandError("--before lies in the future: conversations may still go on.")
        if agent and not Agent.objects.filter(pk=agent).exists():
            raise CommandError(f"There is no agent {agent}.")
        if external_id is not None and not is_storable(external_id):
            raise CommandError("--external-id holds what no database could.")
        alias = "agents" if dry_run else "agents_write"
        if alias not in settings.DATABASES:
            raise CommandError("KAVALAI_DB_READ_ONLY is set: nothing can be erased.")
        # The primary: a replica may not yet know what was erased a moment ago.
        sessions = Session.objects.using(alias).filter(updated_at__lt=before)
        if agent:
            sessions = sessions.filter(agent_id=agent)
        if external_id is not None:
            sessions = sessions.with_external_id(external_id)
        if dry_run:
            self.say(sessions.count(), "would be erased")
            return
        erased = 0
        filters = {
            "before": before.isoformat(),
            "agent": agent and str(agent),
            "external_id": external_id is not None,
        }
        oldest_first = sessions.order_by("updated_at", "id").values_list("pk", flat=True)
        while ids := list(oldest_first[:BATCH]):
            with recorded_change(None, Act.PURGED, **filters) as details:
                counts = erasure.erase(ids, before)
                details |= counts.as_details()
            erased += counts.going["conversations"]
            self.say(erased, "erased")
        if not erased:
            self.say(0, "erased")

    def say(self, number, what):
        self.stdout.write(f"{number:,} conversation{'' if number == 1 else 's'} {what}.")
        self.stdout.flush()
