from contextlib import contextmanager

from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.contrib.auth import get_user_model
from django.db import connection, transaction

from audit.panel import RecordedEdits, RecordedViews
from backoffice.admin import KnownFilters
from backoffice.error_pages import error_response

# Changes to accounts and groups take this lock, so they happen one at a time.
LOCK = "SELECT pg_advisory_xact_lock(1684370287)"


OWN_ACCESS = (
    "That would lock you out",
    "Nothing was changed. You would lose your own access to the admin panel. Ask another admin to "
    "do it.",
)
LAST_SUPERUSER = (
    "This is the last active superuser",
    "Nothing was changed. Make someone else a superuser first.",
)
ROLE_CHANGED = ("Your role has changed", "Nothing was changed. You can no longer change accounts.")


class LockedOutByChange(Exception):
    """The change would lock someone out. Its arguments are an error page's title and text."""


def can_sign_in(user, *, without_password=False) -> bool:
    """Whether the account has a password, a passkey or a sign-in at the provider."""
    if user.has_usable_password() and not without_password:
        return True
    passkeys = Authenticator.objects.filter(user=user, type=Authenticator.Type.WEBAUTHN)
    return bool(user.identity) or passkeys.exists()


@contextmanager
def nobody_locked_out(request):
    """
    A transaction that raises LockedOutByChange if the user making the change would lose their own
    access to the admin panel, or if no active superuser would be left. So at least one admin
    always remains: the one making the change.
    """
    users = get_user_model().objects

    def state() -> tuple[bool, bool, bool, bool]:
        """
        Four answers: whether the user making the change may use the panel, whether they can sign
        in, whether an active superuser exists, and whether one of them can sign in.
        """
        actor = users.filter(pk=request.user.pk).first()
        superusers = list(users.filter(is_active=True, is_superuser=True))
        return (
            actor is not None and actor.has_perm("accounts.use_admin"),
            actor is not None and can_sign_in(actor),
            bool(superusers),
            any(map(can_sign_in, superusers)),
        )

    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(LOCK)
        before = state()
        if not before[0]:
            raise LockedOutByChange(*ROLE_CHANGED)
        yield
        lost = [was and not still for was, still in zip(before, state(), strict=True)]
        if lost[0] or lost[1]:
            raise LockedOutByChange(*OWN_ACCESS)
        if lost[2] or lost[3]:
            raise LockedOutByChange(*LAST_SUPERUSER)


class AuditedAdmin(RecordedViews, RecordedEdits, KnownFilters):
    """An admin form of accounts: it records every change, and locks nobody out."""

    def changeform_view(self, request, *args, **kwargs):
        return self.guarded(super().changeform_view, request, *args, **kwargs)

    def delete_view(self, request, *args, **kwargs):
        return self.guarded(super().delete_view, request, *args, **kwargs)

    def changelist_view(self, request, *args, **kwargs):
        return self.guarded(super().changelist_view, request, *args, **kwargs)

    @staticmethod
    def guarded(view, request, *args, **kwargs):
        if request.method != "POST":
            return view(request, *args, **kwargs)
        try:
            with nobody_locked_out(request):
                return view(request, *args, **kwargs)
        except LockedOutByChange as refused:
            # Drop the success message that the admin has already queued.
            for _ in messages.get_messages(request):
                pass
            return error_response(request, 403, *refused.args)
