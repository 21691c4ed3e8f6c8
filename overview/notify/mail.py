"""Sends a message by mail."""

import smtplib

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.mail import EmailMessage
from django.db.models.functions import Lower

from .not_sent import NotSent


def send(subject: str, text: str):
    recipients = allowed(settings.NOTIFY_EMAILS)
    if not recipients:
        raise NotSent("every address belongs to somebody who may see only some agents")
    headers = {"Auto-Submitted": "auto-generated"}
    try:
        EmailMessage(subject, text, to=recipients, headers=headers).send()
    except (smtplib.SMTPException, OSError) as error:
        # What a server answers may quote anything.
        raise NotSent(f"the mail server did not take it ({type(error).__name__})") from None


def allowed(addresses: list[str]) -> list[str]:
    """A message is about all agents, so those who may see only some of them get none."""
    wanted = [address.lower() for address in addresses]
    users = get_user_model().objects.annotate(address=Lower("email")).filter(address__in=wanted)
    limited = {user.address for user in users if user.agent_limit is not None}
    return [address for address in addresses if address.lower() not in limited]
