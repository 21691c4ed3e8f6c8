"""
Allows five wrong guesses in 15 minutes, per account name and per address. All IPv6 addresses of one
/64 count as one, because one client usually owns the whole block.

Failures are counted in the audit log, which all processes share.
"""

import ipaddress
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
    Return the answer of `check`, which raises a ValidationError if the secret is wrong. If there
    were too many wrong guesses already, raise LockedOut without checking.
    """
    # Whoever is already locked out need not wait for the locks.
    refuse_locked_out(request, username)
    wrong = None
    with transaction.atomic():
        # Without the locks, simultaneous guesses would all be checked before any is counted.
        take_turns(f"account {username}")
        if where := network(request):
            take_turns(f"address {where[0]}")
        refuse_locked_out(request, username)
        try:
            answer = check()
        except ValidationError as error:
            # Raised again after the transaction, so that the entry is not rolled back.
            wrong = error
            # Do not record an unknown name: it may be a password typed into the wrong field.
            known = get_user_model().objects.filter(username=username).exists()
            details = {"account": username if known else None, "guessed": guessed(username)}
            record(request, Act.SIGN_IN_FAILED, **details, how=how)
            if locked_until(request, username):
                record(request, Act.LOCKED_OUT, account=username if known else None)
    if wrong:
        raise wrong
    return answer


def network(request) -> tuple[str, str] | None:
    """The first and last address of the client's network; None for a Unix socket."""
    where = address(request)
    if where is None:
        return None
    bits = 64 if ":" in where else 32
    found = ipaddress.ip_network((where, bits), strict=False)
    return str(found[0]), str(found[-1])


def take_turns(name: str):
    """Hold a lock until the transaction ends. Session locks would not work behind PgBouncer."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"guess: {name}"])


def refuse_locked_out(request, username: str):
    if until := locked_until(request, username):
        raise LockedOut(until)


def guessed(username: str) -> str:
    """
    The hash under which an account name's failures are counted. Unknown names are locked out too,
    or lockouts would reveal which accounts exist. Only the hash is stored, not what was typed.
    """
    return salted_hmac("accounts.lockout", username, algorithm="sha256").hexdigest()[:32]


def locked_until(request, username: str) -> datetime | None:
    """When the fifth most recent failure of the name or address will be a PERIOD old, if any."""
    failures = Entry.objects.filter(act=Act.SIGN_IN_FAILED, at__gt=Now() - PERIOD).order_by("-at")
    by = [failures.filter(details__guessed=guessed(username))]
    if where := network(request):
        by.append(failures.filter(address__range=where))
    untils = []
    for each in by:
        times = list(each.values_list("at", flat=True)[:GUESSES])
        if len(times) == GUESSES:
            untils.append(times[-1] + PERIOD)
    return max(untils, default=None)


def record_refusal(request, **details):
    """Record only an address's first few refusals: a stranger could cause any number of them."""
    where = network(request)
    of_address = {"address__range": where} if where else {"address": None}
    with transaction.atomic():
        take_turns(f"refused {where and where[0]}")
        recent = Entry.objects.filter(act=Act.SIGN_IN_REFUSED, at__gt=Now() - PERIOD, **of_address)
        if recent[:GUESSES].count() < GUESSES:
            record(request, Act.SIGN_IN_REFUSED, **details)
