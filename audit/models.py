from django.db import models
from django.db.models.functions import Now

from .sets import IdsField


class Act(models.TextChoices):
    SIGNED_IN = "signed_in", "signed in"
    SIGN_IN_FAILED = "sign_in_failed", "failed to sign in"
    SIGN_IN_REFUSED = "sign_in_refused", "was refused at sign-in"
    LOCKED_OUT = "locked_out", "was locked out"
    SIGNED_OUT = "signed_out", "signed out"
    SIGNED_OUT_EVERYWHERE = "signed_out_all", "signed out everywhere"
    FACTOR_ADDED = "factor_added", "added a second factor"
    FACTOR_REMOVED = "factor_removed", "removed a second factor"
    PASSWORD_CHANGED = "password_changed", "changed their password"
    VIEWED = "viewed", "viewed"
    SEARCHED = "searched", "searched"
    EXPORTED = "exported", "exported"
    REVEALED = "revealed", "revealed personal data"
    EDITED = "edited", "edited"
    REDACTED = "redacted", "redacted"
    ERASED = "erased", "erased"
    PURGED = "purged", "purged"
    PRUNED = "pruned", "pruned the audit log"
    UNDONE = "undone", "rolled back a change"


class Entry(models.Model):
    """
    Who did what, when and from where. A database trigger refuses any change to an entry, except to
    a search that is still being typed, and any deletion except by audit_prune. There are no foreign
    keys, because entries outlive the people and rows that they name.
    """

    at = models.DateTimeField("time", db_default=Now(), db_index=True)
    act = models.CharField("action", max_length=20, choices=Act)
    # None for commands, whose username is SYSTEM, and for failed sign-ins, which have no username.
    user_id = models.BigIntegerField(null=True)
    username = models.CharField(max_length=150, blank=True, db_index=True)
    # The names of the user's groups at that time. It has a default because during an upgrade,
    # processes of an older release write entries without it.
    role = models.TextField(blank=True, db_default="")
    # Why a command was run.
    reason = models.TextField(blank=True, db_default="")
    address = models.GenericIPAddressField("IP address", null=True)
    request_id = models.CharField(max_length=64, blank=True)
    session_id = models.UUIDField("conversation", null=True)
    details = models.JSONField(default=dict)

    class Meta:
        default_permissions = ("view",)
        verbose_name_plural = "entries"
        # For the admin panel's filters and searches.
        indexes = [
            models.Index(fields=["session_id", "-at"], name="audit_entry_of_conversation"),
            models.Index(fields=["act", "at"], name="audit_entry_of_act"),
            models.Index(fields=["address", "at"], name="audit_entry_from_address"),
            models.Index(fields=["request_id"], name="audit_entry_of_request"),
            models.Index(
                models.F("details__account"),
                condition=models.Q(act=Act.SIGN_IN_FAILED),
                name="audit_entry_of_failed_account",
            ),
            # accounts.lockout counts failures by this.
            models.Index(
                models.F("details__guessed"),
                condition=models.Q(act=Act.SIGN_IN_FAILED),
                name="audit_entry_of_guessed_name",
            ),
        ]

    def __str__(self):
        return f"{self.username or 'somebody'} {self.get_act_display()}"


class Seal(models.Model):
    """
    A link of the chain that proves whether entries were changed afterwards; see audit.sealing. The
    database refuses to change or delete seals. Their numbers have no gaps.
    """

    class Kind(models.TextChoices):
        SEALED = "sealed"
        PRUNED = "pruned"

    id = models.BigIntegerField("number", primary_key=True)
    at = models.DateTimeField("time")
    kind = models.CharField(max_length=6, choices=Kind)
    # The ids of the entries that this seal covers, or that audit_prune is deleting.
    entries = IdsField()
    count = models.IntegerField()
    # The highest id sealed so far, and the ids below it that may still be committed.
    last = models.BigIntegerField()
    missing = IdsField()
    # 16 bytes for each sealed entry, in the order of their ids.
    digests = models.BinaryField()
    # Which of audit.sealing.LINES the digests are made from, and the name of the key.
    form = models.SmallIntegerField()
    key = models.CharField(max_length=8)
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta:
        default_permissions = ()

    def __str__(self):
        return f"seal {self.pk}"


class Text(models.Model):
    """The text behind a fingerprint in entries, while it may be read; see audit.texts."""

    fingerprint = models.CharField(max_length=33, primary_key=True)
    # Masked if the site masks personal data. `folded` is empty if that changed the text.
    value = models.TextField()
    # A normalised spelling, to find texts that an external id begins with.
    folded = models.TextField()
    # False for a text that was typed into a search.
    is_external_id = models.BooleanField()
    # When it was last used.
    at = models.DateTimeField("time", db_index=True)

    class Meta:
        default_permissions = ()

    def __str__(self):
        return self.value
