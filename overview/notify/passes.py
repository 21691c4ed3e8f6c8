"""One run of `manage.py notify`: reads, decides what is to be told, and sends it."""

from datetime import datetime, timedelta

from django.db import Error, connections, transaction
from django.utils import timezone

from conversations.models import Agent
from conversations.selection.agents import labels

from .. import figures
from ..periods import quarter_start
from . import agents, episodes, errors, outbox, words
from .rules import LATE, UNREADABLE, Reading, Rule

LATE_AFTER = timedelta(hours=1)
NOT_READ = "The databases did not answer, or not in time: not everything was read."
TRY_LOCK = "SELECT pg_try_advisory_xact_lock(1684370290)"


def observe() -> list[str]:
    """
    Read everything and write the message about it, if there is any, into the outbox. Returns what
    whoever ran this should know.
    """
    with transaction.atomic(using="default"), connections["default"].cursor() as cursor:
        cursor.execute(TRY_LOCK)
        if not cursor.fetchone()[0]:
            # Another process is at it.
            return []
        found, remarks = readings()
        for rule, reading in found:
            episodes.note(rule, reading)
        write_message()
        episodes.forget_old_ones()
    return remarks


def readings() -> tuple[list[tuple[Rule, Reading]], list[str]]:
    found: list[tuple[Rule, Reading]] = []
    has_failed = False
    known = figures.known()
    for read in (errors.read, lambda: of_figures(known)):
        try:
            # A query that fails must not undo what is written here.
            with transaction.atomic(using="default"):
                found += read()
        except Error:
            has_failed = True
    # Failing in two quarters of an hour is no accident.
    found.append((UNREADABLE, holding(quarter_start(timezone.now()), has_failed)))
    remarks = [NOT_READ] if has_failed else []
    return found, remarks if known else [*remarks, figures.NONE_YET]


def of_figures(known: figures.Known | None) -> list[tuple[Rule, Reading]]:
    """Old figures are not read: their numbers would be told as if they were new."""
    if known is None:
        return []
    now = timezone.now()
    is_late = now - known.as_of > LATE_AFTER
    found = [(LATE, holding(now, is_late, as_of=known.as_of.isoformat()))]
    return found if is_late else found + agents.read(known.until)


def holding(at: datetime, holds: bool, **details: str) -> Reading:
    """Of a rule that is not about anything in particular."""
    return Reading(at, {"": details}) if holds else Reading(at, {}, recovered={"": {}})


def write_message():
    told = episodes.to_be_told()
    if told and not outbox.is_full():
        outbox.put(*words.message(told, names()))
        episodes.told(told)


def names() -> words.Names:
    try:
        return labels(list(Agent.objects.values_list("pk", "name")))
    except Error:
        # Their ids have to do while the agent database does not answer.
        return {}
