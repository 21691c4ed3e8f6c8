"""
What can be guessed is guessed five times in a quarter of an hour, by name and by address.

The audit trail is what counts: every failure is in it, whichever process it happened in.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils.crypto import salted_hmac

from audit.models import Act, Entry
from audit.recording import address, record

GUESSES = 5
PERIOD = timedelta(minutes=15)


class LockedOut(Exception):
    def __init__(self, until: datetime):
        super().__init__(f"locked out until {until}")
        self.until = until


def guess(request, username: str, how: str, check: Callable):
    """
    The answer of `check`, which raises a ValidationError where a secret is wrong. Raises LockedOut
    instead of asking it once too often.
    """
    # Those who are locked out already need not wait for others.
    refuse_locked_out(request, username)
    wrong = None
    with transaction.atomic():
        # Guesses that come at once would all be checked before the first one is counted.
        take_turns(f"account {username}")
        if where := address(request):
            take_turns(f"address {where}")
        refuse_locked_out(request, username)
        try:
            answer = check()
        except ValidationError as error:
            # Raised again outside, where it does not take the entry with it.
            wrong = error
            # Whatever else was typed may be a password in the wrong field.
            known = get_user_model().objects.filter(username=username).exists()
            details = {"account": username if known else None, "guessed": guessed(username)}
            record(request, Act.SIGN_IN_FAILED, **details, how=how)
            if locked_until(request, username):
                record(request, Act.LOCKED_OUT, account=username if known else None)
    if wrong:
        raise wrong
    return answer


def take_turns(name: str):
    """Until the end of the transaction; also behind PgBouncer, where a session is nobody's."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"guess: {name}"])


def refuse_locked_out(request, username: str):
    if until := locked_until(request, username):
        raise LockedOut(until)


def guessed(username: str) -> str:
    """
    A name by which failures are counted. Names that nobody has are locked like others, or it would
    tell which ones somebody has; what was typed is not kept.
    """
    return salted_hmac("accounts.lockout", username, algorithm="sha256").hexdigest()[:32]


def locked_until(request, username: str) -> datetime | None:
    """When the fifth last failure of the name or of the address will be a period old."""
    failures = Entry.objects.filter(act=Act.SIGN_IN_FAILED, at__gt=Now() - PERIOD).order_by("-at")
    by = [failures.filter(details__guessed=guessed(username))]
    if where := address(request):
        by.append(failures.filter(address=where))
    untils = []
    for each in by:
        times = list(each.values_list("at", flat=True)[:GUESSES])
        if len(times) == GUESSES:
            untils.append(times[-1] + PERIOD)
    return max(untils, default=None)


def record_refusal(request, **details):
    """Strangers are refused as often as they like; the first few times of an address are told."""
    where = address(request)
    with transaction.atomic():
        take_turns(f"refused {where}")
        told = Entry.objects.filter(act=Act.SIGN_IN_REFUSED, address=where, at__gt=Now() - PERIOD)
        if told[:GUESSES].count() < GUESSES:
            record(request, Act.SIGN_IN_REFUSED, **details)
