from contextlib import contextmanager

from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.contrib.auth import get_user_model
from django.db import connection, transaction

from audit.models import Act
from audit.panel import RecordedViews
from audit.recording import record
from backoffice.admin import KnownFilters
from backoffice.error_pages import error_response

# Changes of accounts and groups happen one after the other. The number is the lock's.
LOCK = "SELECT pg_advisory_xact_lock(1684370287)"


OWN_ACCESS = (
    "That would lock you out",
    "Nothing was changed. You would lose your own access to the admin panel. Ask another admin to "
    "do it.",
)
LAST_SUPERUSER = (
    "This is the last active superuser",
    "Nothing was changed. Make somebody else one first.",
)
ROLE_CHANGED = ("Your role has changed", "Nothing was changed. You may no longer change accounts.")


class LockedOutByChange(Exception):
    """The arguments are the title and the text of the page that says so."""


def can_sign_in(user, *, without_password=False) -> bool:
    """Whether the account has a password, a passkey or an identity at the provider."""
    if user.has_usable_password() and not without_password:
        return True
    passkeys = Authenticator.objects.filter(user=user, type=Authenticator.Type.WEBAUTHN)
    return bool(user.identity) or passkeys.exists()


@contextmanager
def nobody_locked_out(request):
    """
    A transaction in which nobody takes their own access to the panel, nor the last active
    superuser. So one admin is always left: whoever makes the change.
    """
    users = get_user_model().objects

    def state() -> tuple[bool, bool, bool, bool]:
        """
        Whether whoever makes the change may use the panel and can sign in, and whether a superuser
        is left, and one who can.
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


class AuditedAdmin(RecordedViews, KnownFilters):
    """
    An admin form that records every change in the audit trail, in the same transaction. A row that
    did not exist before, or does not exist afterwards, is None.
    """

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
            # What the panel was about to say of its success.
            for _ in messages.get_messages(request):
                pass
            return error_response(request, 403, *refused.args)

    def told(self, row) -> dict:
        """What the audit trail records of a row: {name: value}, the row's name under "name"."""
        raise NotImplementedError

    def tell(self, request, before: dict | None, after: dict | None):
        if before and after:
            name = before["name"]
            changed = [each for each in after if before[each] != after[each]]
            before = {each: before[each] for each in changed}
            after = {each: after[each] for each in changed}
        else:
            name = (before or after)["name"]
        if before != after:
            table = self.opts.db_table
            record(request, Act.EDITED, table=table, row=name, before=before, after=after)

    def save_model(self, request, obj, form, change):
        obj.told_before = None
        if change:
            # As it is in the database: the form has changed `obj` already.
            row = self.model.objects.select_for_update().get(pk=obj.pk)
            obj.told_before = self.told(row)
        super().save_model(request, obj, form, change)

    def save_related(self, request, form, formsets, change):
        super().save_related(request, form, formsets, change)
        self.tell(request, form.instance.told_before, self.told(form.instance))

    @transaction.atomic
    def delete_model(self, request, obj):
        self.tell(request, self.told(obj), None)
        super().delete_model(request, obj)

    @transaction.atomic
    def delete_queryset(self, request, queryset):
        for each in queryset:
            self.tell(request, self.told(each), None)
        super().delete_queryset(request, queryset)
