"""
Allows five wrong guesses in 15 minutes, per account name and per address.

They are counted in the audit trail, which has the failures of all processes.
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
    The answer of `check`, which raises a ValidationError if a secret is wrong. Raises LockedOut
    instead of checking once too often.
    """
    # Somebody who is locked out already need not wait for the locks.
    refuse_locked_out(request, username)
    wrong = None
    with transaction.atomic():
        # Simultaneous guesses would all be checked before the first one is counted.
        take_turns(f"account {username}")
        if where := address(request):
            take_turns(f"address {where}")
        refuse_locked_out(request, username)
        try:
            answer = check()
        except ValidationError as error:
            # Raised again after the transaction, so that the entry is not rolled back.
            wrong = error
            # Any other name may be a password typed into the wrong field.
            known = get_user_model().objects.filter(username=username).exists()
            details = {"account": username if known else None, "guessed": guessed(username)}
            record(request, Act.SIGN_IN_FAILED, **details, how=how)
            if locked_until(request, username):
                record(request, Act.LOCKED_OUT, account=username if known else None)
    if wrong:
        raise wrong
    return answer


def take_turns(name: str):
    """Lock until the transaction ends: session locks would not work behind PgBouncer."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"guess: {name}"])


def refuse_locked_out(request, username: str):
    if until := locked_until(request, username):
        raise LockedOut(until)


def guessed(username: str) -> str:
    """
    A hash by which failures are counted. Names that nobody has are locked too, or lockouts would
    tell which ones exist; what was typed is not kept.
    """
    return salted_hmac("accounts.lockout", username, algorithm="sha256").hexdigest()[:32]


def locked_until(request, username: str) -> datetime | None:
    """When the fifth most recent failure of the name or address is a PERIOD old, if any."""
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
    """Record only an address's first few refusals: strangers can be refused any number of times."""
    where = address(request)
    with transaction.atomic():
        take_turns(f"refused {where}")
        told = Entry.objects.filter(act=Act.SIGN_IN_REFUSED, address=where, at__gt=Now() - PERIOD)
        if told[:GUESSES].count() < GUESSES:
            record(request, Act.SIGN_IN_REFUSED, **details)
