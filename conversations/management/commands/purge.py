"""
Erases old conversations for good, in batches: finished batches stay erased, so that it can be
stopped and started again.
"""

import uuid
from collections.abc import Iterator
from itertools import chain, islice

from django.conf import settings
from django.core.management.base import CommandError
from django.utils import timezone

from audit.commands import AuditedCommand
from audit.models import Entry
from audit.recording import Act, recorded_change
from backoffice.databases.text import is_storable
from backoffice.time_zones import moment
from conversations.agentdb import revision
from conversations.changes import erasure
from conversations.changes.forgetting import forgetting
from conversations.models import Agent, Session

BATCH = 500


def erased_ids() -> Iterator[uuid.UUID]:
    """Conversations that were erased, according to the audit trail."""
    entries = Entry.objects.filter(act__in=(Act.ERASED, Act.PURGED)).order_by("pk")
    for session_id, ids in entries.values_list("session_id", "details__ids").iterator():
        if session_id:
            yield session_id
        yield from map(uuid.UUID, ids or ())


def batched(ids: Iterator[uuid.UUID]) -> Iterator[list[uuid.UUID]]:
    while batch := list(islice(ids, BATCH)):
        yield batch


class Command(AuditedCommand):
    help = (
        "Erases conversations whose last activity was before a date: deletes their runs, tasks and "
        "messages, and keeps only the token counts of their model calls."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--before",
            type=moment,
            required=True,
            metavar="DATE",
            help="2026-01-31, or 2026-01-31T12:00+02:00; activity on or after it is kept",
        )
        parser.add_argument("--agent", type=uuid.UUID, metavar="ID", help="only of this agent")
        parser.add_argument("--external-id", metavar="TEXT", help="only with this external id")
        parser.add_argument("--dry-run", action="store_true", help="only count, erase nothing")

    def handle(self, *, before, agent, external_id, dry_run, **options):
        if before > timezone.now():
            raise CommandError("--before is in the future, and conversations may still continue.")
        if agent and not Agent.objects.filter(pk=agent).exists():
            raise CommandError(f"There is no agent {agent}.")
        if external_id is not None and not is_storable(external_id):
            raise CommandError("--external-id contains characters that no database can hold.")
        alias = "agents" if dry_run else "agents_write"
        if alias not in settings.DATABASES:
            raise CommandError("KAVALAI_DB_READ_ONLY is set: nothing can be erased.")
        # Reads the primary: a replica may not know yet what was just erased.
        sessions = Session.objects.using(alias).filter(updated_at__lt=before)
        if agent:
            sessions = sessions.filter(agent_id=agent)
        if external_id is not None:
            sessions = sessions.with_external_id(external_id)
        if dry_run:
            self.say(sessions.count(), "would be erased")
            self.handle_late_calls(dry_run=True)
            return
        erased = 0
        filters = {
            "before": before.isoformat(),
            "agent": agent and str(agent),
            "external_id": external_id is not None,
        }
        oldest_first = sessions.order_by("updated_at", "id").values_list("pk", flat=True)
        while ids := list(oldest_first[:BATCH]):
            with forgetting(ids), recorded_change(None, Act.PURGED, **filters) as details:
                counts = erasure.erase(ids, before)
                details |= counts.as_details()
                details["ids"] = [str(each) for each in counts.ids]
            erased += counts.going["conversations"]
            self.say(erased, "erased")
        if not erased:
            self.say(0, "erased")
        self.handle_late_calls(dry_run=False)

    def handle_late_calls(self, *, dry_run):
        """The runtime may write a model call while its conversation is being erased, or later."""
        if not revision.has_model_call_links():
            return
        numbers = {}
        alias = "agents" if dry_run else "agents_write"
        for ids in chain(batched(erased_ids()), erasure.sessions_of_old_calls(alias)):
            found = erasure.late_calls(ids, alias)
            if found and not dry_run:
                with recorded_change(None, Act.PURGED) as details:
                    details["model_calls_blanked"] = erasure.blank_late_calls(ids)
            numbers |= found
        if number := sum(numbers.values()):
            done = "would be blanked" if dry_run else "blanked"
            plural = "" if number == 1 else "s"
            self.stdout.write(f"{number:,} model call{plural} of erased conversations {done}.")

    def say(self, number, what):
        self.stdout.write(f"{number:,} conversation{'' if number == 1 else 's'} {what}.")
        self.stdout.flush()
