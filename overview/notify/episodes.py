"""Compares what rules find with what is known, and decides what is to be told."""

from datetime import timedelta

from django.db.models import Max
from django.utils import timezone

from audit.keys import key_name, keys

from ..models import Baseline, Episode, State
from . import errors
from .rules import Reading, Rule

# What is told once is remembered for so long.
KEPT = timedelta(days=60)
TO_BE_TOLD = (State.DUE, State.RECOVERED)


def note(rule: Rule, reading: Reading):
    """Needs a transaction under the lock."""
    is_old = rule.has_baseline and is_first_reading(rule)
    known = {each.subject: each for each in current(rule)}
    for subject, details in reading.holds.items():
        if episode := known.get(subject):
            still_holds(episode, reading, details)
        else:
            begin(rule, reading, subject, details, is_old)
    for subject in known.keys() - reading.holds.keys():
        holds_no_longer(known[subject], reading)


def current(rule: Rule):
    episodes = Episode.objects.filter(rule=rule.name)
    return episodes if rule.is_once else episodes.exclude(state=State.ENDED)


def is_first_reading(rule: Rule) -> bool:
    """With another key, subjects have other fingerprints: everything would look new."""
    key = key_name(keys(errors.PURPOSE)[0])
    if Baseline.objects.filter(rule=rule.name, key=key).exists():
        return False
    Baseline.objects.update_or_create(rule=rule.name, defaults={"key": key})
    Episode.objects.filter(rule=rule.name).delete()
    return True


def begin(rule: Rule, reading: Reading, subject: str, details: dict, is_old: bool):
    state = State.SEEN if rule.needs_second_reading else State.DUE
    last = Episode.objects.filter(rule=rule.name, subject=subject).aggregate(last=Max("number"))
    Episode.objects.create(
        rule=rule.name,
        subject=subject,
        number=(last["last"] or 0) + 1,
        state=State.OLD if is_old else state,
        since=reading.at,
        details=details,
    )


def still_holds(episode: Episode, reading: Reading, details: dict):
    if episode.state == State.SEEN and reading.at > episode.since:
        episode.state = State.DUE
    elif episode.state == State.RECOVERED:
        # It came back before anybody was told that it had gone.
        episode.state = State.TOLD
    if episode.state == State.DUE:
        episode.details = details
    episode.save()


def holds_no_longer(episode: Episode, reading: Reading):
    if episode.state == State.SEEN:
        episode.delete()
    elif episode.state in (State.OLD, State.DUE, State.TOLD) and reading.is_over(episode.subject):
        recovered = reading.recovered.get(episode.subject)
        is_told = episode.state == State.TOLD and recovered is not None
        episode.state = State.RECOVERED if is_told else State.ENDED
        if is_told:
            episode.details = recovered
        episode.save()


def to_be_told() -> list[Episode]:
    return list(Episode.objects.filter(state__in=TO_BE_TOLD).order_by("since", "pk"))


def told(episodes: list[Episode]):
    for episode in episodes:
        is_over = episode.state == State.RECOVERED
        episode.state = State.ENDED if is_over else State.TOLD
    Episode.objects.bulk_update(episodes, ["state"])


def forget_old_ones():
    # What still holds is never forgotten, or it would be told again.
    over = Episode.objects.filter(since__lt=timezone.now() - KEPT)
    over.filter(state=State.ENDED).delete()
    over.filter(rule__in=[errors.NEW.name]).exclude(state__in=TO_BE_TOLD).delete()
