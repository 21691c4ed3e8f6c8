"""
Messages between being written and being sent. Whoever sends one claims it first and confirms it
afterwards: of several processes only one sends it, and one that was killed is followed by another.
"""

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from ..models import Notice
from . import mail, webhook
from .not_sent import NotSent

HOUR = timedelta(hours=1)
# Whoever claimed it this long ago was killed: sending takes less.
CLAIM = timedelta(minutes=10)
# After this, nobody wants to know any more.
GIVEN_UP = timedelta(days=1)
KEPT = timedelta(days=7)

CHANNELS = {"mail": mail.send, "webhook": webhook.send}


def channels() -> list[str]:
    """Those that are set up."""
    is_set = {"mail": settings.NOTIFY_EMAILS, "webhook": settings.NOTIFY_WEBHOOK_SECRET}
    return [name for name in CHANNELS if is_set[name]]


def is_full() -> bool:
    """Whether the last hour has had its messages: what there is to tell waits for the next one."""
    recent = Notice.objects.filter(made_at__gt=timezone.now() - HOUR)
    return recent.values("made_at").distinct().count() >= settings.NOTIFY_PER_HOUR


def put(subject: str, text: str):
    now = timezone.now()
    Notice.objects.bulk_create(
        Notice(channel=channel, subject=subject, text=text, made_at=now) for channel in channels()
    )


def send_all() -> tuple[int, list[str]]:
    """(how many were sent, why others were not)"""
    number, failures = 0, give_up()
    for pk in waiting().order_by("pk").values_list("pk", flat=True):
        if notice := claim(pk):
            try:
                CHANNELS[notice.channel](notice.subject, notice.text)
            except NotSent as reason:
                failures.append(f"{notice.channel}: {reason}")
                Notice.objects.filter(pk=pk).update(claimed_at=None)
            else:
                number += 1
                Notice.objects.filter(pk=pk).update(sent_at=timezone.now(), subject="", text="")
    return number, failures


def waiting():
    unclaimed = Q(claimed_at=None) | Q(claimed_at__lt=timezone.now() - CLAIM)
    return Notice.objects.filter(unclaimed, sent_at=None, channel__in=channels())


def claim(pk: int) -> Notice | None:
    with transaction.atomic(using="default"):
        notice = waiting().select_for_update(skip_locked=True).filter(pk=pk).first()
        if notice:
            notice.claimed_at = timezone.now()
            notice.save()
    return notice


def give_up() -> list[str]:
    now = timezone.now()
    Notice.objects.filter(sent_at__lt=now - KEPT).delete()
    number, _ = Notice.objects.filter(sent_at=None, made_at__lt=now - GIVEN_UP).delete()
    return [f"{number} could not be sent for a day and will not be tried again"] if number else []
